"""What a rule is, and how one is put to a resource."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple

from .known import Node, NotKnownError
from .workloads import Container, Workload, described, objects, workloads

Parameters = Mapping[str, Any]


class Target(Enum):
    """What a rule looks at, one at a time."""

    CONTAINER = "container"
    WORKLOAD = "workload"
    SERVICE = "service"


class Finding(NamedTuple):
    """One thing that is wrong."""

    path: str
    """Where, from the object's root: "spec.template.spec.containers[0].ports[0].containerPort"."""
    message: str
    """The value, why it is refused, what to do."""


class Service(NamedTuple):
    """A Kubernetes Service."""

    object: Node


@dataclass(frozen=True)
class Rule:
    """One requirement. The name is what configuration and findings call it."""

    name: str
    description: str
    """One line: what must hold, and what goes wrong otherwise."""
    applies_to: Target
    validate: Callable[[Any, Parameters], Iterable[Finding]]
    """Findings in one container, workload or service. Pure: it may run many times and at once."""
    fix: str
    """What to do about a finding, in general."""
    severity: str = "high"
    level: str = "mandatory"
    parameters: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """JSON schemas of what the pack's configuration may set, each with its default."""
    judges_absence: bool = False
    """Whether a missing key is a finding; such a rule cannot judge a patch."""
    url: str | None = None


@dataclass(frozen=True)
class StackRule:
    """A requirement on all resources together."""

    name: str
    description: str
    validate: Callable[[Iterable[Workload], Parameters], Iterable[tuple[Workload, Finding]]]
    fix: str
    severity: str = "high"
    level: str = "mandatory"
    parameters: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    url: str | None = None


class Verdict(NamedTuple):
    """What came of putting a rule to a resource."""

    findings: tuple[str, ...]
    """One complete line each: rule, object, path, value, reason, fix."""
    unknown: tuple[str, ...]
    """Paths that a judgement needed and that are not known yet."""


def settings(rule: Rule | StackRule, config: Parameters) -> Parameters:
    """The rule's parameters: the configured ones, and the defaults of the others."""
    defaults = {name: schema.get("default") for name, schema in rule.parameters.items()}
    return {**defaults, **{key: value for key, value in config.items() if key in rule.parameters}}


def judge(rule: Rule, resource_type: str, props: Mapping[str, Any], config: Parameters) -> Verdict:
    """Puts `rule` to everything in the resource that it applies to. Never raises for a property's value."""
    findings: list[str] = []
    unknown: list[str] = []
    parameters = settings(rule, config)
    subjects = _subjects(rule, resource_type, props)
    while True:
        try:
            name, subject = next(subjects)
        except StopIteration:
            return Verdict(tuple(findings), tuple(unknown))
        except NotKnownError as error:
            return Verdict(tuple(findings), (*unknown, error.path))
        try:
            for found in rule.validate(subject, parameters):
                findings.append(line(rule, name, found))
        except NotKnownError as error:
            unknown.append(error.path)


def line(rule: Rule | StackRule, subject: str, finding: Finding) -> str:
    """The finding as a person reads it."""
    return f"{rule.name}: {subject}: {finding.path}: {finding.message}"


def _subjects(rule: Rule, resource_type: str, props: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    if rule.applies_to is Target.SERVICE:
        yield from _services(rule, resource_type, props)
        return
    for workload in workloads(resource_type, props):
        if workload.partial and rule.judges_absence:
            continue
        if rule.applies_to is Target.WORKLOAD:
            yield workload.name, workload
        else:
            yield from _containers(workload)


def _services(rule: Rule, resource_type: str, props: Mapping[str, Any]) -> Iterator[tuple[str, Service]]:
    for kind, node, partial in objects(resource_type, props):
        if kind == "Service" and not (partial and rule.judges_absence):
            yield described(kind, node), Service(node)


def _containers(workload: Workload) -> Iterator[tuple[str, Container]]:
    for container in workload.containers():
        yield f"{workload.name}, container {container.spec.shown('name')}", container
