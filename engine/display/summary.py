"""The end of an operation: policies, diagnostics, outputs, counts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from engine.display.words import titled, value_text
from engine.model import ROOT_STACK_TYPE, urn_type

_COUNTED = (
    ("create", "+ ", "to create", "created"),
    ("update", "~ ", "to update", "updated"),
    ("delete", "- ", "to delete", "deleted"),
    ("replace", "+-", "to replace", "replaced"),
    ("import", "= ", "to import", "imported"),
    ("read-discard", "< ", "to discard", "discarded"),
)
_MARK = {"mandatory": "❌", "advisory": "⚠️", "remediate": "🔧"}


@dataclass
class Collected:
    """What the sections are made of, gathered while events come in."""

    preview: bool = False
    policies: dict[tuple[str, str], list[dict[str, Any]]] = field(default_factory=dict)
    remediated: dict[tuple[str, str, str], set[str]] = field(default_factory=dict)
    packs: dict[str, str] = field(default_factory=dict)
    diagnostics: dict[str, list[str]] = field(default_factory=dict)
    stack: dict[str, Any] | None = None
    failed: int = 0
    summary: dict[str, Any] | None = None

    def take(self, event: dict[str, Any]) -> None:
        """Remembers what the end will need."""
        for kind, body in event.items():
            handler = getattr(self, f"_take_{kind}", None)
            if handler is not None:
                handler(body)

    def _take_policyEvent(self, body: dict[str, Any]) -> None:
        self.policies.setdefault((body["policyPackName"], body["policyPackVersion"]), []).append(body)

    def _take_policyRemediationEvent(self, body: dict[str, Any]) -> None:
        key = (body["policyPackName"], body["policyPackVersion"], body["policyName"])
        self.remediated.setdefault(key, set()).add(body["resourceUrn"])

    def _take_diagnosticEvent(self, body: dict[str, Any]) -> None:
        text = body["message"].rstrip("\n")
        if body.get("ephemeral") or not text.strip() or body["severity"] == "debug":
            return
        self.diagnostics.setdefault(body.get("urn", ""), []).append(f"{body.get('prefix', '')}{text}")

    def _take_resOutputsEvent(self, body: dict[str, Any]) -> None:
        if urn_type(body["metadata"]["urn"]) == ROOT_STACK_TYPE:
            self.stack = body["metadata"]

    def _take_resOpFailedEvent(self, body: dict[str, Any]) -> None:
        self.failed += 1

    def _take_summaryEvent(self, body: dict[str, Any]) -> None:
        self.summary, self.packs = body, body["PolicyPacks"]
        self.preview = body["isPreview"]


def lines(collected: Collected, *, outputs: bool = True) -> list[str]:
    """All sections that have something to say, in Pulumi's order."""
    sections = [_policy_lines(collected), _diagnostic_lines(collected)]
    if outputs:
        sections.append(_output_lines(collected))
    sections.append(_count_lines(collected))
    return [line for section in sections if section for line in [*section, ""]]


def _policy_lines(collected: Collected) -> list[str]:
    if not collected.packs:
        return []
    found = ["Policies:"]
    for key, version in sorted(collected.packs.items()):
        name, _, path = key.replace("|local|", "|").partition("|")
        findings = collected.policies.get((name, version), [])
        worst = "mandatory" if any(f["enforcementLevel"] == "mandatory" for f in findings) else "advisory" if findings else ""
        found.append(f"    {_MARK.get(worst, '✅')} {name}@v{version} (local: {path})")
        for (pack, pack_version, policy), urns in sorted(collected.remediated.items()):
            if (pack, pack_version) == (name, version):
                found.append(f"        - [remediate]  {policy}  ({len(urns)} resources)")
        for finding in sorted(findings, key=lambda f: f["enforcementLevel"] != "mandatory"):
            found.append(
                f"        - [{finding['enforcementLevel']}]  {finding['policyName']}  ({titled(finding['resourceUrn']).replace(' (', ': ')}"
            )
            found += [f"          {line}" for line in finding["message"].rstrip("\n").splitlines()]
    return found


def _diagnostic_lines(collected: Collected) -> list[str]:
    if not collected.diagnostics:
        return []
    found = ["Diagnostics:"]
    for urn, messages in collected.diagnostics.items():
        found.append(f"  {titled(urn)}:" if urn else "  the operation:")
        for message in messages:
            found += [f"    {line}" for line in message.splitlines()]
    return found


def _output_lines(collected: Collected) -> list[str]:
    if not collected.stack or not collected.stack.get("new"):
        return []
    old = (collected.stack.get("old") or {}).get("outputs") or {}
    new = collected.stack["new"].get("outputs") or {}
    fresh = not collected.stack.get("old")
    width = max((len(k) for k in {*old, *new}), default=0)
    found = []
    for key in sorted({*old, *new}):
        name = key.ljust(width)
        if key not in new:
            found.append(f"  - {name}: {value_text(old[key])}")
        elif key not in old:
            found.append(f"  {' ' if fresh else '+'} {name}: {value_text(new[key])}")
        elif old[key] != new[key]:
            found.append(f"  ~ {name}: {value_text(old[key])} => {value_text(new[key])}")
        else:
            found.append(f"    {name}: {value_text(new[key])}")
    return ["Outputs:", *found] if found else []


def _count_lines(collected: Collected) -> list[str]:
    summary = collected.summary
    if summary is None:
        return []
    changes, preview = summary["resourceChanges"], summary["isPreview"]
    rows = [f"    {symbol}{changes[op]} {plan if preview else past}" for op, symbol, plan, past in _COUNTED if changes.get(op)]
    if collected.failed:
        rows.append(f"    {collected.failed} errored")
    changed = sum(changes.get(op, 0) for op, *_ in _COUNTED)
    same = changes.get("same", 0)
    if len(rows) > 1 and not collected.failed:
        rows.append(f"    {changed} changes. {same} unchanged" if same else f"    {changed} changes")
    elif same:
        rows.append(f"    {same} unchanged")
    return ["Resources:", *rows, "", f"Duration: {summary['durationSeconds']}s"] if rows else [f"Duration: {summary['durationSeconds']}s"]
