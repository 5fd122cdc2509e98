"""The settings of one stack: config key `sophia:platform`, typed, checked as a whole before anything is done."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field

from components.connection_pool_config import PoolSizeSpec
from components.mcp_server import McpServerTuning
from components.objects import NAME_PATTERN, NAME_RULE
from components.postgres_database import PostgresDatabaseSpec
from components.spec import InvalidArgsError, Problem, Spec
from components.workload import QUANTITY_PATTERN, ResourcesSpec
from infra.ports import EXCEPTIONS

CONFIG_KEY = "sophia:platform"

Name = Annotated[str, Field(pattern=NAME_PATTERN, description=f"{NAME_RULE}.")]


class Environment(StrEnum):
    """What a stack is for."""

    DEV = "dev"
    STAGING = "staging"
    PROD = "prod"


class ImageSettings(Spec):
    """Where images come from and go to."""

    registry: str = Field(default="localhost:5000", pattern=r"^[a-z0-9.-]+(:\d+)?(/[a-z0-9._-]+)*$")
    """Registry that images are pushed to and the cluster pulls from, without scheme: "localhost:5000", "ghcr.io/acme"."""
    base: str = Field(default="python:3.11-slim-bookworm", min_length=1)
    """Base image of the images that are built here, with tag or digest."""
    platform: str = Field(default="linux/amd64", pattern=r"^[a-z0-9]+/[a-z0-9]+(/[a-z0-9]+)?$")
    """Platform that images are built for: "linux/amd64", "linux/arm64"."""
    postgres: str | None = Field(default=None, min_length=1)
    """Reference of a Postgres image with pgvector, for example "pgvector/pgvector:pg16". Left out: built from
    app_images/postgres."""


class PoolSettings(Spec):
    """Pools that every replica of a server opens."""

    postgres: PoolSizeSpec = PoolSizeSpec()
    """An object with min, max, timeout_seconds, breaker and health_interval_seconds."""


class PostgresSettings(Spec):
    """The Postgres server of the stack."""

    storage: str = Field(default="10Gi", pattern=QUANTITY_PATTERN)
    """Size of the volume, a Kubernetes quantity such as "10Gi". It is set when the database is made: a StatefulSet
    cannot change it afterwards. To grow, edit the PersistentVolumeClaim where the storage class allows it, then this."""
    storage_class: str | None = Field(default=None, pattern=NAME_PATTERN)
    """Name of a StorageClass, or leave it out for the cluster's default."""
    max_connections: int = Field(default=100, ge=5, le=10_000)
    """5-10000 connections; the pools of the fleet are checked against it."""
    reserved_connections: int = Field(default=10, ge=3, le=1000)
    """3-1000 connections kept for administration, backup and monitoring."""
    resources: ResourcesSpec = ResourcesSpec()
    """An object with cpu_request, memory_request, cpu_limit, memory_limit."""
    run_as: int = Field(default=PostgresDatabaseSpec.model_fields["run_as"].default, ge=1, le=2**31 - 1)
    """A user id above 0: 10001 for our image, 999 for pgvector/pgvector."""


class McpServerSettings(McpServerTuning):
    """One MCP server. Everything has a default; `{}` deploys two replicas of the image built from app_images/<name>."""

    image: str | None = Field(default=None, min_length=1)
    """Image reference with tag or digest. Left out: built from app_images/<name>."""
    port: int | None = Field(default=None, ge=1, le=65535)
    """A port in 9000-9100, or leave it out to have one allocated."""
    pools: tuple[str, ...] = ()
    """A list of pools: postgres."""

    def refusals(self) -> Iterable[Problem]:
        yield from super().refusals()
        for pool in self.pools:
            if pool not in PoolSettings.model_fields:
                known = ", ".join(PoolSettings.model_fields)
                yield Problem(("pools",), f"{pool!r} is not a pool. Known pools: {known}.")


class PortSettings(Spec):
    """Deviations from the port ranges."""

    exceptions: dict[Name, Annotated[int, Field(ge=1024, le=65535)]] = Field(default={})
    """An object of service name and port (1024-65535), for services that must keep a port outside their range. The policy pack
    needs the same names in its own config."""

    def all_exceptions(self) -> Mapping[str, int]:
        """The built-in exceptions and the stack's own."""
        return {**EXCEPTIONS, **self.exceptions}


class PlatformSettings(Spec):
    """Everything about a stack that a person decides."""

    environment: Environment
    """dev, staging or prod."""
    namespace: str | None = Field(default=None, pattern=NAME_PATTERN)
    """Namespace of the platform. Left out: sophia-<stack>."""
    images: ImageSettings = ImageSettings()
    """An object with registry, base, platform and postgres."""
    connection_pools: PoolSettings = PoolSettings()
    """An object with the key postgres."""
    postgres: PostgresSettings = PostgresSettings()
    """An object with storage, storage_class, max_connections, reserved_connections, resources and run_as."""
    mcp_servers: dict[Name, McpServerSettings] = Field(default={})
    """An object of server name and settings."""
    ports: PortSettings = PortSettings()
    """An object with exceptions."""

    def namespace_of(self, stack: str) -> str:
        """The namespace of the platform."""
        return self.namespace or f"sophia-{stack}"

    def refusals(self) -> Iterable[Problem]:
        if self.environment is Environment.PROD:
            for name, server in self.mcp_servers.items():
                if server.max_replicas == 1 and server.scales:
                    yield Problem(
                        ("mcp_servers", name, "replicas"),
                        "1 in environment prod means an outage with every update of a node. Set 2 or more, or autoscaling.",
                    )


class SettingsError(Exception):
    """Settings a stack cannot be planned with: one line for each problem, each naming file, key, value and fix."""

    def __init__(self, stack: str, problems: Iterable[Problem]) -> None:
        self.lines = tuple(settings_line(stack, problem) for problem in problems)
        super().__init__("\n".join(self.lines))


def settings_line(stack: str, problem: Problem) -> str:
    """The problem as a user of the stack file reads it."""
    key = ".".join((CONFIG_KEY, *problem.path))
    return f"Pulumi.{stack}.yaml: {key}: {problem.message}"


def parse_settings(raw: Any, stack: str) -> PlatformSettings:
    """The typed settings of `stack`. Raises `SettingsError` with everything that is wrong."""
    if raw is None:
        message = "is missing. It is an object; the least that works is {environment: dev, mcp_servers: {ai-memory: {}}}."
        raise SettingsError(stack, [Problem((), message)])
    if not isinstance(raw, Mapping):
        raise SettingsError(stack, [Problem((), f"{raw!r} is not an object with keys such as environment and mcp_servers.")])
    try:
        return PlatformSettings.parse(raw)
    except InvalidArgsError as error:
        raise SettingsError(stack, error.problems) from None
