"""One valid use of every component, for tests that look at all of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pulumi

from components import AppImage, ConnectionPoolConfig, McpServer, PostgresDatabase
from components.connection_pool_config import ConnectionPoolConfigSpec, binding
from tests.components.recording import Recorder, deploy

IMAGE = "localhost:5000/sophia/ai-memory:0123456789ab"
POOLS = {
    "namespace": "sophia-dev",
    "postgres": {"host": "postgres", "labels": {"app.kubernetes.io/name": "postgres"}},
    "consumers": [{"name": "ai-memory", "pools": ["postgres"], "max_replicas": 3}],
}


def server(**more: Any) -> dict[str, Any]:
    """Arguments of an `McpServer`; None removes a key."""
    args = {"namespace": "sophia-dev", "image": IMAGE, "port": 9001, "replicas": 1, **more}
    return {key: value for key, value in args.items() if value is not None}


def pool_binding() -> dict[str, Any]:
    """What `ConnectionPoolConfig` hands to a server."""
    return dict(binding("connection-pools", ConnectionPoolConfigSpec.parse(POOLS), ["postgres"]))


def postgres(**more: Any) -> dict[str, Any]:
    """Arguments of a `PostgresDatabase`."""
    image = "localhost:5000/sophia/postgres:0123456789ab"
    return {"namespace": "sophia-dev", "image": image, "clients": [{"labels": {"a": "b"}}], **more}


def pools(password: pulumi.Input[str] = "canary-8c1f") -> dict[str, Any]:
    """Arguments of a `ConnectionPoolConfig`."""
    return {**POOLS, "postgres": {**POOLS["postgres"], "password": password}}  # type: ignore[dict-item]


def image(folder: Path) -> dict[str, Any]:
    """Arguments of an `AppImage` with a context in `folder`."""
    (folder / "Dockerfile").write_text("ARG BASE\nFROM ${BASE}\n")
    return {"registry": "localhost:5000", "context": str(folder), "dockerfile": str(folder / "Dockerfile")}


def programs(folder: Path) -> dict[type[pulumi.ComponentResource], Callable[[], Any]]:
    """Every component and a program that makes one, named "sample"."""
    return {
        AppImage: lambda: AppImage("sample", image(folder)),  # type: ignore[arg-type]
        ConnectionPoolConfig: lambda: ConnectionPoolConfig("sample", pools()),  # type: ignore[arg-type]
        McpServer: lambda: McpServer("sample", server(replicas=None, autoscaling={}, pools=pool_binding())),  # type: ignore[arg-type]
        PostgresDatabase: lambda: PostgresDatabase("sample", postgres()),  # type: ignore[arg-type]
    }


def everything(folder: Path) -> Recorder:
    """All components, deployed once."""

    def program() -> None:
        for make in programs(folder).values():
            make()

    return deploy(program)
