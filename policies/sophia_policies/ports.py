"""Rules about ports: each service in the range of its kind, and no two on one port."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from .known import Node, NotKnownError
from .rule import Finding, Parameters, Rule, Service, StackRule, Target
from .workloads import Container, Workload, label

COMPONENT = "app.kubernetes.io/component"
NAME = "app.kubernetes.io/name"

_PORT = {"type": "integer", "minimum": 1, "maximum": 65535}
_RANGE = {"type": "array", "items": _PORT, "minItems": 2, "maxItems": 2}

RANGES = {
    "type": "object",
    "description": "First and last port for each value of the label app.kubernetes.io/component.",
    "additionalProperties": _RANGE,
    "default": {
        "mcp-server": [9000, 9100],
        "api": [8000, 8100],
        "mcp-gateway": [8000, 8100],
        "monitoring": [9200, 9300],
        "database": [5432, 5532],
    },
}
EXCEPTIONS = {
    "type": "object",
    "description": "Port outside its range that a service may have, by the label app.kubernetes.io/name.",
    "additionalProperties": _PORT,
    "default": {"prometheus": 9090, "code-analysis": 3008},
}
METRICS_PORT = {
    **_PORT,
    "description": "The port named `metrics`, which all services share: each pod has its own address.",
    "default": 9464,
}

PARAMETERS: Mapping[str, Mapping[str, Any]] = {"ranges": RANGES, "exceptions": EXCEPTIONS, "metrics_port": METRICS_PORT}

ADVICE = "Choose a port in the range of the service's kind, or name the service under exceptions in the pack's configuration."


def _outside(port: Any, where: str, labels: Mapping[str, str | None], parameters: Parameters) -> Iterator[Finding]:
    """What is wrong with one port of a service with these labels."""
    name, component, ranges = labels[NAME], labels[COMPONENT], parameters["ranges"]
    if name in parameters["exceptions"] and parameters["exceptions"][name] == port:
        return
    kinds = ", ".join(sorted(ranges))
    if component is None:
        yield Finding(where, f"{port} cannot be placed, for the label {COMPONENT} is missing. Set it to one of {kinds}.")
    elif component not in ranges:
        yield Finding(
            where,
            f"{port} cannot be placed, for {COMPONENT} is {component!r}, which has no range. "
            f"Use one of {kinds}, or add it to the ranges in the pack's configuration.",
        )
    elif not isinstance(port, int):
        yield Finding(where, f"{port!r} is not a port number. {ADVICE}")
    else:
        first, last = (int(bound) for bound in ranges[component])
        if not first <= port <= last:
            yield Finding(where, f"{port} is outside {first}-{last} ({component}). {ADVICE}")


def _container_ports(container: Container, parameters: Parameters) -> Iterator[Finding]:
    labels = {key: container.workload.label(key) for key in (NAME, COMPONENT)}
    for port in container.spec.nodes("ports"):
        if not _is_metrics(port, "containerPort", parameters) and "containerPort" in port:
            yield from _outside(_whole(port["containerPort"]), port.at("containerPort"), labels, parameters)


def _service_ports(service: Service, parameters: Parameters) -> Iterator[Finding]:
    labels = {key: label(service.object, key) for key in (NAME, COMPONENT)}
    for port in service.object.child("spec").nodes("ports"):
        if not _is_metrics(port, "port", parameters) and "port" in port:
            yield from _outside(_whole(port["port"]), port.at("port"), labels, parameters)


def _is_metrics(port: Node, key: str, parameters: Parameters) -> bool:
    return port.get("name") == "metrics" and port.get(key) == parameters["metrics_port"]


def _whole(port: Any) -> Any:
    """Numbers reach a policy as floats; a message says 8500, not 8500.0."""
    return int(port) if isinstance(port, float) and port.is_integer() else port


def _pod_ports(workload: Workload, parameters: Parameters) -> Iterator[Finding]:
    """Containers of one pod share its address, so that the same port twice is a crash at start."""
    seen: dict[tuple[str, str], str] = {}
    for container in workload.containers():
        for port in container.spec.nodes("ports"):
            if "containerPort" not in port:
                continue
            key = (str(_whole(port["containerPort"])), str(port.get("protocol", "TCP")))
            if key in seen:
                where = port.at("containerPort")
                yield Finding(where, f"{key[0]} is already at {seen[key]}: containers of a pod share its ports. Choose another.")
            seen.setdefault(key, port.at("containerPort"))


def _shared(workloads: Iterable[Workload], parameters: Parameters) -> Iterator[tuple[Workload, Finding]]:
    owners: dict[str, tuple[str, str]] = {}
    for workload in workloads:
        try:
            service, ports = workload.label(NAME) or workload.name, list(_own_ports(workload, parameters))
        except NotKnownError:
            continue  # The rule on single containers says so.
        for port, where in ports:
            owner, owner_name = owners.setdefault(port, (service, workload.name))
            if owner != service:
                reason = f"{port} belongs to {owner_name}: no two services of a stack share a port. Choose a free one."
                yield workload, Finding(where, reason)


def _own_ports(workload: Workload, parameters: Parameters) -> Iterator[tuple[str, str]]:
    """A workload's ports without the shared one for metrics, and where each is."""
    for container in workload.containers():
        for port in container.spec.nodes("ports"):
            if not _is_metrics(port, "containerPort", parameters) and "containerPort" in port:
                yield str(_whole(port["containerPort"])), port.at("containerPort")


ports_in_range = Rule(
    name="ports-in-range",
    description="Container ports are in the range of the service's kind: people, firewalls and tools find it there.",
    applies_to=Target.CONTAINER,
    validate=_container_ports,
    fix=ADVICE,
    parameters=PARAMETERS,
)

service_ports_in_range = Rule(
    name="service-ports-in-range",
    description="Service ports are in the range of the service's kind, as the ports behind them are.",
    applies_to=Target.SERVICE,
    validate=_service_ports,
    fix=ADVICE,
    parameters=PARAMETERS,
)

pod_ports_unique = Rule(
    name="pod-ports-unique",
    description="No port is used twice in a pod: its containers share one address, and the second would not start.",
    applies_to=Target.WORKLOAD,
    validate=_pod_ports,
    fix="Give each container of the pod ports of its own.",
)

stack_ports_unique = StackRule(
    name="stack-ports-unique",
    description="No two services of a stack have the same port, so that a port in a log or a firewall names one of them.",
    validate=_shared,
    fix="Give each service a port of its own.",
    parameters={"metrics_port": METRICS_PORT},
)

RULES = (ports_in_range, service_ports_in_range, pod_ports_unique)
STACK_RULES = (stack_ports_unique,)
