"""From settings to the arguments of every component: pure, apart from reading the folders of the images.

All that can be wrong with a stack is found here, before the first resource is registered, so that the user sees all
of it at once.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

from components.app_image import AppImageArgs, AppImageSpec
from components.connection_pool_config import ConnectionPoolConfigSpec, binding
from components.mcp_server import McpServerArgs, McpServerSpec, McpServerTuning
from components.objects import selector
from components.postgres_database import PostgresDatabaseArgs
from components.spec import InvalidArgsError, Problem, problems_of
from infra.ports import Allocation, PortRange, PortRequest, allocate
from infra.settings import McpServerSettings, PlatformSettings, PoolSettings, SettingsError

ROOT = Path(__file__).resolve().parent.parent
IMAGES_FOLDER = "app_images"

POSTGRES = "postgres"
POOLS = "connection-pools"

# Name of the database and of the role that owns it.
DATABASE = "sophia"


class ServerPlan(NamedTuple):
    """One MCP server: its arguments, and the image that is built for it, if any."""

    args: McpServerArgs
    image: str | None


class Plan(NamedTuple):
    """What `Platform` registers. Only the database password is still to be made."""

    namespace: str
    environment: str
    images: dict[str, AppImageArgs]
    postgres: PostgresDatabaseArgs | None
    """None where no server uses it."""
    pools: Mapping[str, Any]
    """Arguments of `ConnectionPoolConfig` without the password."""
    servers: dict[str, ServerPlan]
    notices: tuple[str, ...]


def plan(settings: PlatformSettings, stack: str) -> Plan:
    """The plan of one stack. Raises `SettingsError` with everything that cannot work."""
    problems: list[Problem] = []
    namespace = settings.namespace_of(stack)
    allocation = _ports(settings, problems)
    images = _images(settings, problems)
    pools = _pools(settings, namespace, allocation.ports.get(POSTGRES, 0))
    problems += [_in_settings(problem) for problem in problems_of(ConnectionPoolConfigSpec, pools)] if allocation.ports else []
    if problems:
        raise SettingsError(stack, problems)

    references = {name: AppImageSpec.parse(args).reference(name) for name, args in images.items()}
    bindings = ConnectionPoolConfigSpec.parse(pools)
    servers = {
        name: ServerPlan(
            args=_server(server, namespace, allocation.ports[name], server.image or references[name], bindings),
            image=None if server.image else name,
        )
        for name, server in sorted(settings.mcp_servers.items())
    }
    for name, server in servers.items():
        problems += [problem.under("mcp_servers", name) for problem in problems_of(McpServerSpec, server.args)]
    if problems:
        raise SettingsError(stack, problems)
    database = None
    if _uses_postgres(settings):
        image = settings.images.postgres or references[POSTGRES]
        database = _postgres(settings, namespace, allocation.ports[POSTGRES], image)
    return Plan(namespace, settings.environment.value, images, database, pools, servers, allocation.notices)


def _uses_postgres(settings: PlatformSettings) -> bool:
    return any(POSTGRES in server.pools for server in settings.mcp_servers.values())


def _ports(settings: PlatformSettings, problems: list[Problem]) -> Allocation:
    """Ports by service; none where they cannot be allocated, and then the problems say why."""
    requests = [PortRequest(name, PortRange.MCP_SERVER, s.port) for name, s in settings.mcp_servers.items()]
    try:
        return allocate([*requests, PortRequest(POSTGRES, PortRange.DATABASE)], settings.ports.all_exceptions())
    except InvalidArgsError as error:
        problems += [problem.under("mcp_servers") for problem in error.problems]
        return Allocation({}, ())


def _images(settings: PlatformSettings, problems: list[Problem]) -> dict[str, AppImageArgs]:
    """The images to build: one for each server without a reference, and Postgres where it is used."""
    needed: list[tuple[tuple[str, ...], str]] = [
        (("mcp_servers", name, "image"), name) for name, s in settings.mcp_servers.items() if s.image is None
    ]
    if _uses_postgres(settings) and settings.images.postgres is None:
        needed.append((("images", "postgres"), POSTGRES))
    images = {}
    for path, name in sorted(needed):
        dockerfile = ROOT / IMAGES_FOLDER / name.replace("-", "_") / "Dockerfile"
        if dockerfile.is_file():
            images[name] = _image(settings, dockerfile)
        else:
            where = dockerfile.relative_to(ROOT)
            problems.append(Problem(path, f"is left out, but there is no {where} to build it from. Give an image reference."))
    return images


def _image(settings: PlatformSettings, dockerfile: Path) -> AppImageArgs:
    """Paths are relative to the program's folder, where Pulumi runs it, so that two clones have the same state."""
    return {
        "registry": settings.images.registry,
        "context": os.path.relpath(ROOT / IMAGES_FOLDER),
        "dockerfile": os.path.relpath(dockerfile),
        "build_args": {"BASE": settings.images.base},
        "platform": settings.images.platform,
    }


def _pools(settings: PlatformSettings, namespace: str, port: int) -> dict[str, Any]:
    consumers = [
        {"name": name, "pools": list(server.pools), "max_replicas": server.max_replicas}
        for name, server in sorted(settings.mcp_servers.items())
        if server.pools
    ]
    if not _uses_postgres(settings):
        return {"namespace": namespace, "consumers": consumers}
    postgres = {
        **settings.connection_pools.postgres.model_dump(),
        "host": POSTGRES,
        "port": port,
        "database": DATABASE,
        "user": DATABASE,
        "labels": selector(POSTGRES),
        "max_connections": settings.postgres.max_connections,
        "reserved_connections": settings.postgres.reserved_connections,
    }
    return {"namespace": namespace, "postgres": postgres, "consumers": consumers}


def _in_settings(problem: Problem) -> Problem:
    """Where the user finds what the pools' component complains about."""
    return problem.under("connection_pools") if problem.path[0] in PoolSettings.model_fields else problem


def _server(server: McpServerSettings, namespace: str, port: int, image: str, pools: ConnectionPoolConfigSpec) -> McpServerArgs:
    tuning = server.model_dump(include=set(McpServerTuning.model_fields), exclude_unset=True)
    args: dict[str, Any] = {**tuning, "namespace": namespace, "image": image, "port": port}
    if server.pools:
        args["pools"] = binding(POOLS, pools, server.pools)
    return cast(McpServerArgs, args)


def _postgres(settings: PlatformSettings, namespace: str, port: int, image: str) -> PostgresDatabaseArgs:
    clients = [name for name, server in sorted(settings.mcp_servers.items()) if POSTGRES in server.pools]
    args: dict[str, Any] = {
        **settings.postgres.model_dump(exclude={"reserved_connections", "storage_class"}),
        "namespace": namespace,
        "image": image,
        "port": port,
        "database": DATABASE,
        "user": DATABASE,
        "clients": [{"labels": selector(name)} for name in clients],
    }
    if settings.postgres.storage_class:
        args["storage_class"] = settings.postgres.storage_class
    return cast(PostgresDatabaseArgs, args)
