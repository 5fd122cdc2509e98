"""`Platform`: the components of one stack and what they need of each other."""

from __future__ import annotations

from typing import Any, cast

import pulumi
from pulumi_kubernetes.core.v1 import Namespace

from components import AppImage, ConnectionPoolConfig, ConnectionPoolConfigArgs, McpServer, PostgresDatabase
from components.objects import metadata
from infra.plan import POOLS, POSTGRES, Plan, plan
from infra.settings import PlatformSettings

POD_SECURITY = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "audit", "warn")}


class Platform:
    """Registers everything that one stack consists of.

    Settings flow one way: settings to plan to components. A component waits for what it cannot run without (the
    namespace, its image's push, the database it asks at start), and for nothing else, so that the rest goes in parallel.
    """

    def __init__(self, settings: PlatformSettings, stack: str) -> None:
        self._plan = plan(settings, stack)
        for notice in self._plan.notices:
            pulumi.log.warn(notice)
        self._namespace = Namespace(self._plan.namespace, metadata=namespace_metadata(self._plan))
        self._images = {name: AppImage(name, args) for name, args in self._plan.images.items()}
        self._postgres = self._database()
        self._pools = self._connection_pools()
        self.servers = {name: self._server(name) for name in self._plan.servers}

    def exports(self) -> dict[str, Any]:
        """Stack outputs: where things are, for people and for the tools of day two."""
        return {
            "namespace": self._plan.namespace,
            "mcp_servers": {
                name: {"url": server.url, "service": server.service_name, "port": self._plan.servers[name].args["port"]}
                for name, server in self.servers.items()
            },
        }

    def _database(self) -> PostgresDatabase | None:
        if self._plan.postgres is None:
            return None
        return PostgresDatabase(POSTGRES, self._plan.postgres, self._after(self._images.get(POSTGRES)))

    def _connection_pools(self) -> ConnectionPoolConfig:
        args: dict[str, Any] = dict(self._plan.pools)
        if self._postgres:
            args["postgres"] = {**args["postgres"], "password": self._postgres.password}
        return ConnectionPoolConfig(POOLS, cast(ConnectionPoolConfigArgs, args), self._after())

    def _server(self, name: str) -> McpServer:
        server = self._plan.servers[name]
        image = self._images[server.image] if server.image else None
        pools = (self._pools, self._postgres) if "pools" in server.args else ()
        return McpServer(name, server.args, self._after(image, *pools))

    def _after(self, *others: pulumi.Resource | None) -> pulumi.ResourceOptions:
        """Options of a component that waits for the namespace and for `others`."""
        return pulumi.ResourceOptions(depends_on=[self._namespace, *(other for other in others if other)])


def namespace_metadata(planned: Plan) -> dict[str, Any]:
    """The namespace admits no pod that breaks Pod Security Standard "restricted", whoever sends it."""
    result = metadata(planned.namespace, "", {"app.kubernetes.io/part-of": "sophia", **POD_SECURITY})
    result["labels"] |= {"app.kubernetes.io/managed-by": "pulumi", "sophia.platform/environment": planned.environment}
    del result["namespace"]
    return result
