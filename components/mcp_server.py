"""`McpServer`: one server of the Model Context Protocol, with everything that a production workload needs."""

from collections.abc import Iterable
from enum import StrEnum
from typing import NotRequired, TypedDict

import pulumi
from pulumi_kubernetes.apps.v1 import Deployment
from pulumi_kubernetes.autoscaling.v2 import HorizontalPodAutoscaler
from pulumi_kubernetes.core.v1 import ConfigMap, Service, ServiceAccount
from pulumi_kubernetes.networking.v1 import NetworkPolicy
from pulumi_kubernetes.policy.v1 import PodDisruptionBudget
from pydantic import Field

from components import mcp_server_objects as objects
from components.connection_pool_config import PoolBindingArgs
from components.network import GATEWAY, MONITORING, EdgeArgs, EdgeSpec, PeerArgs, PeerSpec
from components.objects import NAME_PATTERN, Children
from components.spec import InvalidArgsError, Problem, Spec
from components.workload import (
    QUANTITY_PATTERN,
    AutoscalingArgs,
    AutoscalingSpec,
    ResourcesArgs,
    ResourcesSpec,
    SloArgs,
    SloSpec,
)


class Transport(StrEnum):
    """How the server speaks to its clients."""

    STREAMABLE_HTTP = "streamable-http"
    """HTTP on `/mcp`; any number of replicas."""
    STDIO = "stdio"
    """A process on pipes behind a bridge in the same image; one replica, for the pipe is one conversation."""


class Era(StrEnum):
    """Which revision of the protocol decides about sessions."""

    STATELESS = "stateless"
    """2026-07-28: no sessions, and legacy clients are served without them. Any replica answers any request."""
    LEGACY_STATEFUL = "legacy-stateful"
    """2025-11-25 with sessions in the server's memory; one replica, until a gateway routes by session."""


class HealthCheckArgs(TypedDict):
    """How the kubelet decides that a running server is dead."""

    interval_seconds: NotRequired[int]
    """Seconds between liveness checks. Default 30."""
    timeout_seconds: NotRequired[int]
    """Seconds until a check counts as failed. Default 10; not above the interval."""
    retries: NotRequired[int]
    """Failed checks in a row until the container is restarted. Default 3."""


class McpServerArgs(TypedDict):
    """One MCP server of the fleet."""

    namespace: str
    """Namespace of all objects."""
    image: str
    """Image reference with tag or digest. Known at preview, so that policies can judge it."""
    port: int
    """Container and Service port, 9000-9100 unless the settings name an exception. The platform allocates it."""
    metrics_port: NotRequired[int]
    """Port of `/metrics`, a separate one because a NetworkPolicy cannot filter by path. Default 9464."""
    transport: NotRequired[Transport]
    """How the server speaks to its clients. Default streamable-http."""
    era: NotRequired[Era]
    """Which revision of the protocol decides about sessions. Default stateless."""
    replicas: NotRequired[int]
    """Fixed number of replicas. Default 2, unless autoscaling is given."""
    autoscaling: NotRequired[AutoscalingArgs]
    """A range of replicas that follows load. Default: a fixed number."""
    resources: NotRequired[ResourcesArgs]
    """Requests and limits. Default 250m-1 CPU, 512Mi-1Gi."""
    scratch_size: NotRequired[str]
    """Size of the writable /tmp; everything else is read-only. Default "64Mi"."""
    max_in_flight: NotRequired[int]
    """Requests a replica takes at once before it answers 503, so that overload sheds instead of queueing. Default 64."""
    startup_seconds: NotRequired[int]
    """Seconds a replica may take until it first answers, models loaded. Default 120."""
    drain_seconds: NotRequired[int]
    """Seconds a stopping replica still takes requests, until every node knows that it goes. Default 5."""
    shutdown_grace_seconds: NotRequired[int]
    """Seconds after that for requests in flight. Default 25."""
    health_check: NotRequired[HealthCheckArgs]
    """Liveness check. Default every 30 s, 10 s timeout, 3 retries."""
    slo: NotRequired[SloArgs]
    """Objective. Default 99.9 % of requests, 95 % of them within 200 ms."""
    pools: NotRequired[PoolBindingArgs]
    """Connection pools the server uses, from `ConnectionPoolConfig.binding`. Default: none."""
    clients: NotRequired[list[PeerArgs]]
    """Pods that may call the server. Default: the MCP gateway."""
    scrapers: NotRequired[list[PeerArgs]]
    """Pods that may read `/metrics`. Default: monitoring, in the same namespace."""
    egress: NotRequired[list[EdgeArgs]]
    """Destinations the server may connect to, besides DNS and its pools. Default: none."""
    hosts: NotRequired[list[str]]
    """Further names by which clients reach the server (gateway, ingress). Its Service names are always allowed."""


class HealthCheckSpec(Spec):
    """Checked form of `HealthCheckArgs`."""

    interval_seconds: int = Field(default=30, ge=1, le=600)
    """1-600 seconds."""
    timeout_seconds: int = Field(default=10, ge=1, le=600)
    """1-600 seconds, not above interval_seconds."""
    retries: int = Field(default=3, ge=1, le=100)
    """1-100 failed checks."""

    def refusals(self) -> Iterable[Problem]:
        if self.timeout_seconds > self.interval_seconds:
            yield Problem(
                ("timeout_seconds",),
                f"{self.timeout_seconds} is above interval_seconds {self.interval_seconds}: checks would overlap. Lower it.",
            )


class PoolBindingSpec(Spec):
    """Checked form of `PoolBindingArgs`."""

    settings_json: str
    """JSON object of pools."""
    secret_name: str = Field(pattern=NAME_PATTERN)
    """Name of a Secret."""
    secret_keys: tuple[str, ...]
    """Keys of the Secret."""
    edges: tuple[EdgeSpec, ...]
    """A list of destinations."""


class McpServerTuning(Spec):
    """The part of a server that a person sets; the stack settings use it as it is."""

    transport: Transport = Transport.STREAMABLE_HTTP
    """streamable-http or stdio."""
    era: Era = Era.STATELESS
    """stateless or legacy-stateful."""
    replicas: int | None = Field(default=None, ge=0, le=1000)
    """0-1000 replicas, or leave it out and set autoscaling."""
    autoscaling: AutoscalingSpec | None = None
    """An object with min_replicas, max_replicas and cpu_percent."""
    resources: ResourcesSpec = ResourcesSpec()
    """An object with cpu_request, memory_request, cpu_limit, memory_limit."""
    scratch_size: str = Field(default="64Mi", pattern=QUANTITY_PATTERN)
    """A Kubernetes quantity of bytes: "64Mi"."""
    max_in_flight: int = Field(default=64, ge=1, le=10_000)
    """1-10000 requests at once in one replica."""
    startup_seconds: int = Field(default=120, ge=2, le=3600)
    """2-3600 seconds."""
    drain_seconds: int = Field(default=5, ge=1, le=60)
    """1-60 seconds; it delays every shutdown."""
    shutdown_grace_seconds: int = Field(default=25, ge=1, le=600)
    """1-600 seconds, longer than the longest request."""
    health_check: HealthCheckSpec = HealthCheckSpec()
    """An object with interval_seconds, timeout_seconds and retries."""
    slo: SloSpec = SloSpec()
    """An object with availability_percent, latency_ms and latency_percent."""
    egress: tuple[EdgeSpec, ...] = ()
    """A list of objects with port and labels or cidr."""
    hosts: tuple[str, ...] = ()
    """A list of host names."""

    @property
    def max_replicas(self) -> int:
        """Replicas at the most, for budgets."""
        return self.autoscaling.max_replicas if self.autoscaling else self.fixed_replicas

    @property
    def fixed_replicas(self) -> int:
        """The fixed number; two where nothing is said, so that one may be drained."""
        return 2 if self.replicas is None else self.replicas

    @property
    def scales(self) -> bool:
        """Whether more than one replica can work at all."""
        return self.transport is not Transport.STDIO and self.era is not Era.LEGACY_STATEFUL

    def refusals(self) -> Iterable[Problem]:
        if self.replicas is not None and self.autoscaling is not None:
            yield Problem(
                ("replicas",),
                f"{self.replicas} and autoscaling are both given: each deployment would undo what the autoscaler did. Remove one of them.",
            )
        if self.max_replicas > 1 and self.transport is Transport.STDIO:
            yield self._too_many("transport stdio is one process on one pipe, and only one replica would hold the conversation")
        if self.max_replicas > 1 and self.era is Era.LEGACY_STATEFUL:
            yield self._too_many(
                "era legacy-stateful keeps sessions in one replica's memory, and the others would answer 'Session not found'",
                "set era: stateless, or ",
            )

    def _too_many(self, reason: str, alternative: str = "") -> Problem:
        if self.autoscaling:
            path, fix = ("autoscaling",), "replace autoscaling by replicas: 1"
        else:
            path, fix = ("replicas",), "set replicas: 1"
        return Problem(path, f"{self.max_replicas} replicas cannot work: {reason}. To mend it, {alternative}{fix}.")


class McpServerSpec(McpServerTuning):
    """Checked form of `McpServerArgs`."""

    namespace: str
    """Name of a namespace."""
    image: str = Field(pattern=r"^[^\s:@]+(:\d+)?[^\s:@]*(:[\w][\w.-]{0,127}|@sha256:[0-9a-f]{64})$")
    """An image reference with a tag or a digest: without one, nobody knows what runs."""
    port: int = Field(ge=1024, le=65535)
    """A port from 1024 to 65535: the server does not run as root."""
    metrics_port: int = Field(default=9464, ge=1024, le=65535)
    """A port from 1024 to 65535, other than port."""
    pools: PoolBindingSpec | None = None
    """What ConnectionPoolConfig.binding returns."""
    clients: tuple[PeerSpec, ...] = (PeerSpec(labels=GATEWAY),)
    """A list of objects with labels and, where it is another one, namespace."""
    scrapers: tuple[PeerSpec, ...] = (PeerSpec(labels=MONITORING),)
    """A list of objects with labels and, where it is another one, namespace."""

    def refusals(self) -> Iterable[Problem]:
        yield from super().refusals()
        if self.port == self.metrics_port:
            yield Problem(("metrics_port",), f"{self.metrics_port} is the server's own port. Choose another one.")


class McpServer(pulumi.ComponentResource):
    """Deploys one MCP server: workload, Service, autoscaling, disruption budget, network policy, objectives.

    Liveness is a TCP connect, not HTTP: an HTTP liveness check shares the worker with traffic, and an overloaded
    server would be restarted exactly when it is needed. The price: a wedged event loop is found by the readiness
    probe only, which takes the pod out of rotation without restarting it. Startup asks `/health`, which answers once
    the process is up, so that a slow model load is not mistaken for death.

    A replica stops without dropping a request: it keeps serving for `drain_seconds` (a native `sleep`, no shell in
    the image; Kubernetes 1.30 or later, stable since 1.34) while the nodes forget it, then gets SIGTERM and
    `shutdown_grace_seconds` for what is in flight. An update starts the new replica before it stops the old one;
    the price is room for one more replica.

    With autoscaling, `replicas` is left to the autoscaler: unset here, and ignored where an earlier deployment has set
    it, because unsetting a field that Pulumi owns would drop the Deployment to one replica for a moment.

    The server accepts the host names of its own Service and refuses all others, which is what stops DNS rebinding;
    who calls it by address must send one of those names as `Host`.
    """

    url: pulumi.Output[str]
    """Address of the MCP endpoint inside the cluster."""
    service_name: pulumi.Output[str]
    """Name of the Service."""
    slo: pulumi.Output[dict[str, str]]
    """The objective, as it is annotated on the Service: keys slo_availability_percent, slo_latency_ms, slo_latency_percent."""

    def __init__(self, name: str, args: McpServerArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        server = objects.Server(name, parse(name, args))
        super().__init__("sophia:platform:McpServer", name, None, opts)
        children = Children(self, opts)
        account = children.create(ServiceAccount, name, server.service_account())
        policy = children.create(NetworkPolicy, name, server.network_policy())
        config = children.create(ConfigMap, server.config_name, server.config_map())
        children.create(Service, name, server.service())
        children.create(
            Deployment,
            name,
            server.deployment(),
            after=[account, policy, config],
            ignore_changes=["spec.replicas"] if server.spec.autoscaling else None,
        )
        children.create(PodDisruptionBudget, name, server.disruption_budget())
        if server.spec.autoscaling:
            children.create(HorizontalPodAutoscaler, name, server.autoscaler(server.spec.autoscaling))
        self.url = pulumi.Output.from_input(server.url)
        self.service_name = pulumi.Output.from_input(name)
        self.slo = pulumi.Output.from_input(server.spec.slo.annotations())
        self.register_outputs({"url": self.url, "service_name": self.service_name, "slo": self.slo})


def parse(name: str, args: McpServerArgs) -> McpServerSpec:
    """The checked model; all problems carry the server's name."""
    try:
        return McpServerSpec.parse(args)
    except InvalidArgsError as error:
        raise InvalidArgsError(error.problems, where=f"McpServer {name}") from None
