"""The rules as Pulumi policies."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pulumi_policy import (
    EnforcementLevel,
    Policy,
    PolicyConfigSchema,
    ReportViolation,
    ResourceValidationArgs,
    ResourceValidationPolicy,
    Severity,
    StackValidationArgs,
    StackValidationPolicy,
)
from pulumi_policy.proxy import UnknownValueError

from . import ports, probes, resources
from .known import UNKNOWN, NotKnownError
from .rule import Rule, StackRule, judge, line, settings
from .workloads import Workload, workloads

NAME = "sophia"
RULES: tuple[Rule, ...] = (*ports.RULES, *resources.RULES, *probes.RULES)
STACK_RULES: tuple[StackRule, ...] = (*ports.STACK_RULES,)


def policies() -> list[Policy]:
    """All policies of the pack, in the order in which findings are most useful."""
    return [*map(resource_policy, RULES), *map(stack_policy, STACK_RULES)]


def resource_policy(rule: Rule) -> ResourceValidationPolicy:
    """A policy that puts one rule to one resource at a time."""

    def validate(args: ResourceValidationArgs, report: ReportViolation) -> None:
        verdict = judge(rule, args.resource_type, plain(args.props), args.get_config())
        for finding in verdict.findings:
            report(finding, args.urn)
        if verdict.unknown:
            # Pulumi shows this as "can't run policy … during preview". What is known has been judged before.
            raise could_not_judge(verdict.unknown)

    return ResourceValidationPolicy(validate=validate, **_described(rule))


def stack_policy(rule: StackRule) -> StackValidationPolicy:
    """A policy that puts one rule to all resources together."""

    def validate(args: StackValidationArgs, report: ReportViolation) -> None:
        urns: dict[int, str] = {}
        unknown: list[str] = []
        found = _stack_workloads(args, urns, unknown)
        for workload, finding in rule.validate(found, settings(rule, args.get_config())):
            report(line(rule, workload.name, finding), urns[id(workload)])
        if unknown:
            raise could_not_judge(unknown)

    return StackValidationPolicy(validate=validate, **_described(rule))


def _stack_workloads(args: StackValidationArgs, urns: dict[int, str], unknown: list[str]) -> list[Workload]:
    """All workloads whose pods are known, in the order of their URNs: the answer must not depend on who came first."""
    result = []
    for resource in sorted(args.resources, key=lambda item: item.urn):
        try:
            for workload in workloads(resource.resource_type, plain(resource.props)):
                list(workload.containers())
                urns[id(workload)] = resource.urn
                result.append(workload)
        except NotKnownError as error:
            unknown.append(error.path)
    return result


def could_not_judge(paths: Iterable[str]) -> UnknownValueError:
    """Pulumi's own exception for a rule that needs an unknown value."""
    return UnknownValueError("04da6b54-80e4-46f7-96ec-b56ff0331ba9", [", ".join(sorted(set(paths)))])


def plain(value: Any) -> Any:
    """Properties without Pulumi's proxies; what is unknown becomes `UNKNOWN`."""
    if isinstance(value, Mapping):
        return dict(_items(value, value))
    if isinstance(value, (str, bytes)) or not hasattr(value, "__len__"):
        return value
    return [item for _, item in _items(value, range(len(value)))]


def _items(holder: Any, keys: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
    for key in keys:
        try:
            yield key, plain(holder[key])
        except UnknownValueError:
            yield key, UNKNOWN


def _described(rule: Rule | StackRule) -> dict[str, Any]:
    return {
        "name": rule.name,
        "description": rule.description,
        "enforcement_level": EnforcementLevel(rule.level),
        "severity": Severity(rule.severity),
        "config_schema": PolicyConfigSchema({key: dict(value) for key, value in rule.parameters.items()}),
        "remediation_steps": rule.fix,
        "url": rule.url,
    }
