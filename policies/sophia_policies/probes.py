"""Rules about probes: how Kubernetes knows that a container is started, ready and alive."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .known import Node
from .rule import Finding, Parameters, Rule, Target
from .workloads import Container

STARTUP, READINESS, LIVENESS = "startupProbe", "readinessProbe", "livenessProbe"
PROBES = (STARTUP, READINESS, LIVENESS)

_WITHOUT = {
    STARTUP: "a slow start is taken for death and restarted for ever",
    READINESS: "requests are sent to it before it can answer them",
    LIVENESS: "a process that hangs is never restarted",
}

# Kubernetes' own defaults, for a probe that leaves them out.
_PERIOD_SECONDS, _TIMEOUT_SECONDS = 10, 1

_ACTIONS = ("httpGet", "tcpSocket", "exec", "grpc")


def _present(container: Container, parameters: Parameters) -> Iterator[Finding]:
    if not container.stays:
        return
    for probe in parameters["required"]:
        if not _action(container.spec.child(probe)):
            yield Finding(
                container.spec.at(probe),
                f"is missing. Without it, {_WITHOUT.get(probe, 'Kubernetes does not know its state')}. "
                "Add one that asks what the container really serves.",
            )


def _differ(container: Container, parameters: Parameters) -> Iterator[Finding]:
    readiness, liveness = container.spec.child(READINESS), container.spec.child(LIVENESS)
    if container.stays and _action(liveness) and _resolved(readiness, container) == _resolved(liveness, container):
        yield Finding(
            container.spec.at(LIVENESS),
            "is the same check as readinessProbe: what should only take the pod out of rotation would restart it. "
            "Let liveness ask less, for example whether the port opens.",
        )


def _ports_exist(container: Container, parameters: Parameters) -> Iterator[Finding]:
    """A name is looked up in the container's own ports, a number in the pod's: its containers share one address."""
    for probe in PROBES:
        for action in ("httpGet", "tcpSocket", "grpc"):
            node = container.spec.child(probe, action)
            if "port" not in node:
                continue
            port = node["port"]
            own = isinstance(port, str) and not port.isdecimal()
            known = _names(container) if own else _numbers(container)
            if _text(port) not in known:
                there = ", ".join(sorted(known)) or "none"
                yield Finding(
                    node.at("port"),
                    f"{_text(port)} is not a port of {'the container' if own else 'the pod'} (it has {there}), "
                    "and the probe would fail for ever. Name one of them, or declare the port.",
                )


def _timing(container: Container, parameters: Parameters) -> Iterator[Finding]:
    for probe in PROBES:
        node = container.spec.child(probe)
        if not node:
            continue
        period = _seconds(node.get("periodSeconds"), _PERIOD_SECONDS)
        timeout = _seconds(node.get("timeoutSeconds"), _TIMEOUT_SECONDS)
        if timeout > period:
            yield Finding(
                node.at("timeoutSeconds"),
                f"{_text(timeout)} is above periodSeconds {_text(period)}: the next check is due before this one is over. "
                "Lower the timeout or raise the period.",
            )


def _action(probe: Node) -> dict[str, Any]:
    """What the probe does, without its timing."""
    return {key: probe.child(key).plain() for key in _ACTIONS if key in probe}


def _resolved(probe: Node, container: Container) -> dict[str, Any]:
    """The action with port names turned into numbers, so that the same check is recognised in both spellings."""
    numbers = {str(p["name"]): p.get("containerPort") for p in container.spec.nodes("ports") if "name" in p}
    action = _action(probe)
    for details in action.values():
        if "port" in details:
            details["port"] = numbers.get(str(details["port"]), details["port"])
    return action


def _names(container: Container) -> set[str]:
    return {str(port["name"]) for port in container.spec.nodes("ports") if port.get("name")}


def _numbers(container: Container) -> set[str]:
    every = [port for other in container.workload.containers() for port in other.spec.nodes("ports")]
    return {_text(port["containerPort"]) for port in every if "containerPort" in port}


def _seconds(value: Any, default: float) -> float:
    return value if isinstance(value, (int, float)) else default


def _text(value: Any) -> str:
    """Numbers reach a policy as floats; 9001 and 9001.0 are one port."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


# Never mended for the user: an invented probe is worse than a finding, for it hides that nobody knows whether the
# container works.
probes_present = Rule(
    name="probes-present",
    description="Every container that stays has a startup, a readiness and a liveness probe; without them Kubernetes guesses.",
    applies_to=Target.CONTAINER,
    validate=_present,
    fix="Add the missing probe.",
    parameters={
        "required": {
            "type": "array",
            "items": {"enum": list(PROBES)},
            "description": "Probes that every container must have, except in Jobs and init containers.",
            "default": list(PROBES),
        }
    },
    judges_absence=True,
)

probes_differ = Rule(
    name="probes-differ",
    description="Readiness and liveness must not be the same check: a failing backend would restart the pod.",
    applies_to=Target.CONTAINER,
    validate=_differ,
    fix="Let liveness ask less than readiness.",
    judges_absence=True,
)

probe_ports_exist = Rule(
    name="probe-ports-exist",
    description="A probe asks a port that the pod declares; on any other it fails for ever.",
    applies_to=Target.CONTAINER,
    validate=_ports_exist,
    fix="Name a declared port in the probe.",
    judges_absence=True,
)

probe_timing = Rule(
    name="probe-timing",
    description="A probe's timeout is not above its period: checks must not overlap.",
    applies_to=Target.CONTAINER,
    validate=_timing,
    fix="Lower timeoutSeconds or raise periodSeconds.",
    severity="medium",
)

RULES = (probes_present, probes_differ, probe_ports_exist, probe_timing)
