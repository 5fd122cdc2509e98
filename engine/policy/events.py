"""What policies found, as engine events: pure functions from results to (kind, body) pairs in the CLI's JSON form."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from engine.events import render
from engine.policy.model import Analysis, PolicyDiagnostic, PolicyInfo, Remediated, violates
from engine.values import PropertyMap

__all__ = ["PolicyEvent", "analysis_events", "remediation_events", "stack_analysis_events", "violates"]

PolicyEvent = tuple[str, dict[str, Any]]
"""The kind of an event (policyEvent, policyAnalyzeSummaryEvent, ...) and its body."""


class Pack(Protocol):
    """What an event says of the pack."""

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def policies(self) -> Iterable[PolicyInfo]: ...


def remediation_events(pack: Pack, urn: str, before: PropertyMap, result: Remediated) -> list[PolicyEvent]:
    """One event a remediation, then the summary. Policies that remediated count as failed."""
    events: list[PolicyEvent] = []
    for remediation in result.remediations:
        if remediation.diagnostic:
            # It could not run, mostly for unknown values in a preview: a hint, not a violation.
            body = {"message": remediation.diagnostic + "\n", "color": "never", "policyName": remediation.policy}
            events.append(("policyEvent", {"resourceUrn": urn, **body, **_pack(pack), "enforcementLevel": "advisory"}))
        elif remediation.properties is not None:
            body = {"color": "raw", "policyName": remediation.policy, **_pack(pack)}
            values = {"before": render(before), "after": render(remediation.properties)}
            events.append(("policyRemediationEvent", {"resourceUrn": urn, **body, **values}))
            before = remediation.properties
    failed = {r.policy for r in result.remediations}
    summary = {"resourceUrn": urn, **_pack(pack), **_counts(pack, "resource", failed, result.not_applicable)}
    return [*events, ("policyRemediateSummaryEvent", summary)]


def analysis_events(pack: Pack, urn: str, result: Analysis) -> list[PolicyEvent]:
    """One event a finding, then the summary of the resource's policies."""
    events: list[PolicyEvent] = [_finding(pack, urn, d) for d in result.diagnostics]
    counts = _counts(pack, "resource", {d.policy_name for d in result.diagnostics}, result.not_applicable)
    return [*events, ("policyAnalyzeSummaryEvent", {"resourceUrn": urn, **_pack(pack), **counts})]


def stack_analysis_events(pack: Pack, stack_urn: str, result: Analysis) -> list[PolicyEvent]:
    """As `analysis_events` for the stack policies; a finding that names no resource is one of the stack."""
    events: list[PolicyEvent] = [_finding(pack, stack_urn, d) for d in result.diagnostics]
    counts = _counts(pack, "stack", {d.policy_name for d in result.diagnostics}, result.not_applicable)
    return [*events, ("policyAnalyzeStackSummaryEvent", {**_pack(pack), **counts})]


def _finding(pack: Pack, urn: str, diagnostic: PolicyDiagnostic) -> PolicyEvent:
    body = {
        "resourceUrn": diagnostic.urn or urn,
        "message": diagnostic.message + "\n",
        "color": "never",
        "policyName": diagnostic.policy_name,
        **_pack(pack),
        "enforcementLevel": diagnostic.level,
    }
    return "policyEvent", {**body, "severity": diagnostic.severity} if diagnostic.severity else body


def _pack(pack: Pack) -> dict[str, str]:
    return {"policyPackName": pack.name, "policyPackVersion": pack.version, "policyPackVersionTag": pack.version}


def _counts(pack: Pack, kind: str, failed: set[str], not_applicable: Mapping[str, str]) -> dict[str, list[str]]:
    """Passed: the policies of a kind that are neither disabled, not applicable nor failed. Empty lists are left out."""
    judged = {p.name for p in pack.policies if p.kind in (kind, "") and p.level != "disabled"}
    passed = judged - failed - set(not_applicable)
    counts = {"passed": sorted(passed), "failed": sorted(failed)}
    return {name: names for name, names in counts.items() if names}
