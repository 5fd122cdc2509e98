"""Rules about requests and limits: what a container is promised and what it may take."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from .known import Node
from .rule import Finding, Parameters, Rule, Target
from .workloads import Container, Role

_SUFFIXES = {"": Decimal(1), "n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3"), "k": Decimal(10**3)}
_SUFFIXES |= {s: Decimal(10 ** (6 + 3 * i)) for i, s in enumerate("MGTPE")}
_SUFFIXES |= {f"{s}i": Decimal(2 ** (10 + 10 * i)) for i, s in enumerate("KMGTPE")}
_QUANTITY = re.compile(r"([+-]?\d+(?:\.\d*)?|[+-]?\.\d+)(?:([eE][+-]?\d+)|([a-zA-Z]*))")

_REQUIRED = {
    "type": "array",
    "items": {"enum": ["cpu", "memory", "ephemeral-storage"]},
    "description": "Resources that every container must name.",
    "default": ["cpu", "memory"],
}
_RATIOS = {
    "type": "object",
    "additionalProperties": {"type": "number", "minimum": 1},
    "description": "How many times its request a limit may be, by resource.",
    "default": {"memory": 4, "cpu": 10},
}


def quantity(value: Any) -> Decimal | None:
    """The number behind a Kubernetes quantity ("250m", "1Gi", 2, "1e3"); None where it is none."""
    match = _QUANTITY.fullmatch(str(value))
    if match is None or (match[3] or "") not in _SUFFIXES:
        return None
    return Decimal(match[1] + (match[2] or "")) * _SUFFIXES[match[3] or ""]


def _missing(kind: str, consequence: str, container: Container, parameters: Parameters) -> Iterator[Finding]:
    """Resources for which neither the container nor its pod names a request (or limit)."""
    if container.role is Role.EPHEMERAL:
        return
    own = container.spec.child("resources", kind)
    pod = container.workload.pod.child("resources", kind)
    for resource in parameters["required"]:
        if own.get(resource) is None and pod.get(resource) is None:
            yield Finding(
                own.at(resource),
                f"is missing. Without it, {consequence}. Set it to what the container was measured to need.",
            )


def _requests(container: Container, parameters: Parameters) -> Iterator[Finding]:
    yield from _missing(
        "requests",
        "the scheduler packs nodes blindly and the autoscaler has nothing to reckon with",
        container,
        parameters,
    )


def _limits(container: Container, parameters: Parameters) -> Iterator[Finding]:
    yield from _missing("limits", "one leak or one busy loop takes the whole node with it", container, parameters)


def _sane(container: Container, parameters: Parameters) -> Iterator[Finding]:
    if container.role is Role.EPHEMERAL:
        return
    requests, limits = container.spec.child("resources", "requests"), container.spec.child("resources", "limits")
    yield from _not_quantities(requests)
    yield from _not_quantities(limits)
    for resource in requests:
        request, limit = quantity(requests[resource]), quantity(limits.get(resource))
        if request is not None and limit is not None:
            yield from _compare(resource, request, limit, requests, limits, parameters)


def _not_quantities(amounts: Node) -> Iterator[Finding]:
    for resource in amounts:
        value = quantity(amounts[resource])
        if value is None:
            yield Finding(amounts.at(resource), f"{amounts[resource]!r} is no Kubernetes quantity. Write 250m, 1, 512Mi or 2Gi.")
        elif resource in ("cpu", "memory") and value <= 0:
            yield Finding(
                amounts.at(resource),
                f"{amounts[resource]!r} is nothing. Set it to what the container was measured to need.",
            )


def _compare(resource: str, request: Decimal, limit: Decimal, requests: Node, limits: Node, parameters: Parameters) -> Iterator[Finding]:
    where, shown, most = (
        requests.at(resource),
        f"{requests[resource]} and limit {limits[resource]}",
        parameters["max_ratio"].get(resource),
    )
    if request > limit:
        yield Finding(where, f"request {shown}: Kubernetes refuses a request above its limit. Raise the limit.")
    elif most is not None and request > 0 and limit > request * Decimal(str(most)):
        yield Finding(
            where,
            f"request {shown} are more than {most:g} times apart: nodes would be promised several times over. "
            "Raise the request or lower the limit.",
        )


requests_present = Rule(
    name="requests-present",
    description="Every container says what CPU and memory it needs; the scheduler and the autoscaler reckon with nothing else.",
    applies_to=Target.CONTAINER,
    validate=_requests,
    fix="Set resources.requests of the container.",
    parameters={"required": _REQUIRED},
    judges_absence=True,
)

limits_present = Rule(
    name="limits-present",
    description="Every container has a limit on CPU and memory, so that one that runs wild takes no neighbour with it.",
    applies_to=Target.CONTAINER,
    validate=_limits,
    fix="Set resources.limits of the container. Where throttling hurts more than noise, take cpu out of `required`.",
    parameters={"required": _REQUIRED},
    judges_absence=True,
)

resources_sane = Rule(
    name="resources-sane",
    description="Requests and limits are quantities above zero, no request is above its limit, and no limit is out of proportion.",
    applies_to=Target.CONTAINER,
    validate=_sane,
    fix="Bring request and limit together.",
    severity="medium",
    parameters={"max_ratio": _RATIOS},
)

RULES = (requests_present, limits_present, resources_sane)
