"""`ConnectionPoolConfig`: the connection pools of the whole fleet, declared once and checked against the servers."""

import base64
import json
from collections.abc import Iterable, Sequence
from typing import Any, NotRequired, TypedDict

import pulumi
from pulumi_kubernetes.core.v1 import ConfigMap, Secret
from pydantic import Field

from components.network import EdgeArgs
from components.objects import Children, Manifest, labels, metadata
from components.pool_budget import PoolUser, over_budget
from components.spec import Problem, Spec


class BreakerArgs(TypedDict):
    """When a client stops calling a failing backend."""

    failures: NotRequired[int]
    """Consecutive failures that open the circuit. Default 5."""
    recovery_seconds: NotRequired[int]
    """Seconds until one call is let through to try again. Default 60."""


class PostgresPoolArgs(TypedDict):
    """The pool that every replica of a consumer opens to Postgres."""

    host: str
    """Service name or address of the server."""
    port: NotRequired[int]
    """Port of the server. Default 5432."""
    database: NotRequired[str]
    """Database to connect to. Default "sophia"."""
    user: NotRequired[str]
    """Role to log in as. Default "sophia"."""
    password: pulumi.Input[str]
    """Password of the role. Kept in a Secret, mounted as a file, never in an environment variable."""
    labels: NotRequired[dict[str, str]]
    """Labels of the server's pods, for the consumers' NetworkPolicies. Default: none, the server is outside."""
    cidr: NotRequired[str]
    """Address block of a server outside the cluster, for the consumers' NetworkPolicies."""
    min: NotRequired[int]
    """Connections each replica keeps open. Default 2."""
    max: NotRequired[int]
    """Connections each replica opens at most. Default 10."""
    timeout_seconds: NotRequired[int]
    """Seconds a request waits for a free connection. Default 20."""
    breaker: NotRequired[BreakerArgs]
    """Circuit breaker of each replica. Default: 5 failures, 60 seconds."""
    health_interval_seconds: NotRequired[int]
    """Seconds between checks of idle connections. Default 30."""
    max_connections: NotRequired[int]
    """What the server allows in all. Default 100, Postgres' own default."""
    reserved_connections: NotRequired[int]
    """Connections kept for administration, backup and monitoring. Default 10: Postgres keeps 3 for superusers."""


class PoolConsumerArgs(TypedDict):
    """A workload that uses pools."""

    name: str
    """Name of the workload, as it appears in messages."""
    pools: list[str]
    """Names of the pools it opens: "postgres"."""
    max_replicas: int
    """Replicas at the most: the autoscaler's maximum, or the fixed number."""
    surge: NotRequired[int]
    """Replicas a rolling update adds for a while. Default 1."""


class ConnectionPoolConfigArgs(TypedDict):
    """The pools of the fleet and who uses them."""

    namespace: str
    """Namespace of the ConfigMap and the Secret."""
    postgres: NotRequired[PostgresPoolArgs]
    """Pool to Postgres. Leave it out where there is none."""
    consumers: NotRequired[list[PoolConsumerArgs]]
    """All workloads that open these pools; the connection budget is summed over them."""


class PoolBindingArgs(TypedDict):
    """What a workload needs to use pools: made by `ConnectionPoolConfig.binding`."""

    settings_json: str
    """JSON object of pool name to pool settings; becomes "pools" in the workload's settings.json."""
    secret_name: str
    """Secret that holds the passwords."""
    secret_keys: list[str]
    """Keys of that Secret to mount; no other password reaches the workload."""
    edges: list[EdgeArgs]
    """Destinations the NetworkPolicy must open."""


class BreakerSpec(Spec):
    """Checked form of `BreakerArgs`."""

    failures: int = Field(default=5, ge=1, le=1000)
    """1-1000 consecutive failures."""
    recovery_seconds: int = Field(default=60, ge=1, le=3600)
    """1-3600 seconds."""


class PoolSizeSpec(Spec):
    """The part of a Postgres pool that a person tunes; the stack settings use it as it is."""

    min: int = Field(default=2, ge=0, le=1000)
    """0-1000 connections, not above max."""
    max: int = Field(default=10, ge=1, le=1000)
    """1-1000 connections a replica; the sum over the fleet must fit the server."""
    timeout_seconds: int = Field(default=20, ge=1, le=300)
    """1-300 seconds."""
    breaker: BreakerSpec = BreakerSpec()
    """An object with failures and recovery_seconds."""
    health_interval_seconds: int = Field(default=30, ge=1, le=3600)
    """1-3600 seconds."""

    def refusals(self) -> Iterable[Problem]:
        if self.min > self.max:
            yield Problem(("min",), f"{self.min} is above max {self.max}. Lower min or raise max.")


class PostgresPoolSpec(PoolSizeSpec):
    """Checked form of `PostgresPoolArgs` without the password."""

    host: str = Field(min_length=1)
    """Service name or address of the Postgres server."""
    port: int = Field(default=5432, ge=1, le=65535)
    """A port is a whole number from 1 to 65535."""
    database: str = Field(default="sophia", min_length=1)
    """Name of a database."""
    user: str = Field(default="sophia", min_length=1)
    """Name of a role."""
    labels: dict[str, str] = Field(default={})
    """Labels of the server's pods."""
    cidr: str | None = None
    """An address block such as 203.0.113.7/32."""
    max_connections: int = Field(default=100, ge=5, le=10_000)
    """5-10000 connections, the server's own setting."""
    reserved_connections: int = Field(default=10, ge=3, le=1000)
    """3-1000 connections; Postgres itself keeps 3 for superusers."""

    def client_settings(self) -> Manifest:
        """What a client reads in its settings.json."""
        own = {
            "host",
            "port",
            "database",
            "user",
            "min",
            "max",
            "timeout_seconds",
            "breaker",
            "health_interval_seconds",
        }
        return self.model_dump(include=own)

    def edges(self) -> list[EdgeArgs]:
        """The one destination of the pool."""
        if self.cidr:
            return [{"cidr": self.cidr, "port": self.port}]
        return [{"labels": self.labels, "port": self.port}] if self.labels else []


class PoolConsumerSpec(Spec):
    """Checked form of `PoolConsumerArgs`."""

    name: str
    """Name of the workload."""
    pools: tuple[str, ...]
    """Names of pools."""
    max_replicas: int = Field(ge=0)
    """A number of replicas."""
    surge: int = Field(default=1, ge=0)
    """A number of replicas."""


class ConnectionPoolConfigSpec(Spec):
    """Checked form of `ConnectionPoolConfigArgs`."""

    namespace: str
    """Name of a namespace."""
    postgres: PostgresPoolSpec | None = None
    """Settings of the Postgres pool."""
    consumers: tuple[PoolConsumerSpec, ...] = ()
    """A list of workloads."""

    def pools(self) -> dict[str, PostgresPoolSpec]:
        """The declared pools by name."""
        return {"postgres": self.postgres} if self.postgres else {}

    def refusals(self) -> Iterable[Problem]:
        pools = self.pools()
        for index, consumer in enumerate(self.consumers):
            for unknown in sorted(set(consumer.pools) - set(pools)):
                yield Problem(
                    ("consumers", str(index), "pools"),
                    f"{consumer.name} uses {unknown!r}, which is not declared. Declared: {', '.join(pools) or 'none'}.",
                )
        for name, pool in pools.items():
            users = [PoolUser(c.name, c.max_replicas, c.surge) for c in self.consumers if name in c.pools]
            problem = over_budget(users, pool.max, pool.max_connections, pool.reserved_connections)
            if problem:
                yield Problem((name, "max"), problem)


class ConnectionPoolConfig(pulumi.ComponentResource):
    """Declares the connection pools of the fleet: sizes, breakers, and the passwords they need.

    The sum over all replicas at their autoscaling maximum, plus the extra replica of a rolling update, is checked
    against what the server allows, at preview: a fleet that fits on a quiet day and runs out of connections at its
    peak is the failure this component exists for.

    Pool settings are plain values, so that policies can judge them and a change of them restarts their users. The
    passwords are in one Secret with a key for each backend; each user mounts its own keys only. The Secret keeps its
    name when a password is rotated, so that running pods see the new file without a restart. The price: a rotation
    is not a rollout, and a client must read the file again when it opens a connection.
    """

    secret_name: pulumi.Output[str]
    """Name of the Secret with the passwords."""
    pools_json: pulumi.Output[str]
    """All pools as JSON, without passwords."""

    def __init__(self, name: str, args: ConnectionPoolConfigArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        spec = checked(args)
        super().__init__("sophia:platform:ConnectionPoolConfig", name, None, opts)
        self._name, self._spec = name, spec
        children = Children(self, opts)
        children.create(ConfigMap, name, config_map(name, self._spec))
        self._secret = children.create(Secret, name, secret(name, self._spec.namespace, _passwords(args)))
        self.secret_name = pulumi.Output.from_input(name)
        self.pools_json = pulumi.Output.from_input(_settings_json(self._spec, list(self._spec.pools())))
        self.register_outputs({"secret_name": self.secret_name, "pools_json": self.pools_json})

    def binding(self, pools: Sequence[str]) -> PoolBindingArgs:
        """What a workload that uses `pools` must be given."""
        return binding(self._name, self._spec, pools)


def checked(args: ConnectionPoolConfigArgs) -> ConnectionPoolConfigSpec:
    """The checked model of the plain part of `args`; the password may be an output and stays outside."""
    return ConnectionPoolConfigSpec.parse(plain(args))


def plain(args: ConnectionPoolConfigArgs) -> dict[str, Any]:
    """`args` without what may be unknown at preview."""
    result: dict[str, Any] = dict(args)
    if "postgres" in args:
        result["postgres"] = {key: value for key, value in args["postgres"].items() if key != "password"}
    return result


def binding(name: str, spec: ConnectionPoolConfigSpec, pools: Sequence[str]) -> PoolBindingArgs:
    """The settings, secret keys and network edges of `pools`."""
    return {
        "settings_json": _settings_json(spec, pools),
        "secret_name": name,
        "secret_keys": [f"{pool}-password" for pool in pools],
        "edges": [edge for pool in pools for edge in spec.pools()[pool].edges()],
    }


def config_map(name: str, spec: ConnectionPoolConfigSpec) -> Manifest:
    """The declaration itself, for services that this program does not deploy and for people."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(name, spec.namespace, labels(name, "configuration")),
        "data": {"pools.json": _settings_json(spec, list(spec.pools()))},
    }


def secret(name: str, namespace: str, passwords: dict[str, pulumi.Input[str]]) -> dict[str, Any]:
    """One Secret with a file for each password."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata(name, namespace, labels(name, "configuration")),
        "type": "Opaque",
        "data": {key: encoded(value) for key, value in passwords.items()},
    }


def encoded(value: pulumi.Input[str]) -> pulumi.Output[str]:
    """base64 of a secret, and still a secret."""
    return pulumi.Output.secret(value).apply(lambda text: base64.b64encode(text.encode()).decode())


def _passwords(args: ConnectionPoolConfigArgs) -> dict[str, pulumi.Input[str]]:
    return {"postgres-password": args["postgres"]["password"]} if "postgres" in args else {}


def _settings_json(spec: ConnectionPoolConfigSpec, pools: Sequence[str]) -> str:
    declared = spec.pools()
    return json.dumps({pool: declared[pool].client_settings() for pool in sorted(pools)}, sort_keys=True)
