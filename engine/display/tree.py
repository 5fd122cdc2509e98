"""A plan as a tree: children below their parents, each with what would happen to it."""

from __future__ import annotations

from typing import Any

from engine.display.diff import property_lines
from engine.display.words import SYMBOLS, changed_keys, label, planned

_HALVES = ("create-replacement", "delete-replaced", "discard-replaced", "import-replacement", "read-replacement")


def rows(steps: list[dict[str, Any]], *, diff: bool = False) -> list[str]:
    """One row a resource. Halves of a replacement are left to the row that says `replace`."""
    shown: dict[str, dict[str, Any]] = {}
    for step in steps:
        if step["op"] in _HALVES and step["urn"] in shown:
            continue
        if shown.get(step["urn"], {}).get("op") not in (None, *_HALVES):
            continue
        shown[step["urn"]] = step
    children: dict[str, list[str]] = {}
    for urn, step in shown.items():
        parent = (step.get("new") or step.get("old") or {}).get("parent", "")
        children.setdefault(parent if parent in shown else "", []).append(urn)
    found: list[str] = []
    for urn in children.get("", []):
        _walk(urn, "", "", shown, children, found, diff)
    return found


def _walk(
    urn: str, lead: str, below: str, shown: dict[str, dict[str, Any]], children: dict[str, list[str]], found: list[str], diff: bool
) -> None:
    """Adds the rows of a resource, led by its branch, and of those below it, led by what `below` continues."""
    step, own = shown[urn], children.get(urn, [])
    parts = [f" {SYMBOLS[step['op']]} {lead}{label(urn)}", planned(step["op"]), changed_keys(step)]
    found.append(" ".join(part for part in parts if part))
    if diff:
        found += [f"    {below}{'│' if own else ' '}    {line}" for line in property_lines(step)]
    for child in own:
        last = child == own[-1]
        _walk(child, below + ("└─ " if last else "├─ "), below + ("   " if last else "│  "), shown, children, found, diff)
