"""`metadata.managedFields`: who owns which field of an object, and how one manager inherits another's."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

Entry = dict[str, Any]

INHERITED = (
    ("kubectl", "Apply"),
    ("kubectl", "Update"),
    ("before-first-apply", "Update"),
    ("pulumi-kubernetes", "Update"),
    ("pulumi-kubernetes.exe", "Update"),
    ("pulumi-resource-kubernetes", "Update"),
)
"""Managers (by the start of their name) whose fields an update takes over: kubectl's and our own plain creation."""


def taken_over(entries: Sequence[Entry], manager: str) -> list[Entry] | None:
    """managedFields after `manager` has inherited the fields of those in INHERITED; None when there is nothing to inherit."""
    own = next((copy.deepcopy(e) for e in entries if _is(e, manager, "Apply")), None)
    others: list[Entry] = []
    inherited = False
    for entry in entries:
        if _is(entry, manager, "Apply"):
            continue
        if not _inherits(entry):
            others.append(entry)
        elif own is None:
            own = {**copy.deepcopy(entry), "manager": manager, "operation": "Apply"}
            inherited = True
        else:
            own["fieldsV1"] = _merged(own.get("fieldsV1") or {}, entry.get("fieldsV1") or {})
            inherited = True
    return [*others, own] if inherited and own is not None else None


def _is(entry: Entry, manager: str, operation: str) -> bool:
    return entry.get("manager") == manager and entry.get("operation") == operation and not entry.get("subresource")


def _inherits(entry: Entry) -> bool:
    name = str(entry.get("manager", ""))
    return not entry.get("subresource") and any(name.startswith(m) and entry.get("operation") == o for m, o in INHERITED)


def _merged(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, Any]:
    return {**a, **{k: _merged(a[k], v) if k in a else v for k, v in b.items()}}


class FieldSet:
    """The fields that some managers own, looked up by plain keys."""

    def __init__(self) -> None:
        self._fields: dict[str, Any] = {}

    def add(self, fields_v1: Mapping[str, Any]) -> None:
        self._fields = _merged(self._fields, fields_v1)

    def has(self, keys: Sequence[str]) -> bool:
        """Whether the field at the keys, or anything below it, is owned."""
        here: Any = self._fields
        for key in keys:
            here = here.get(f"f:{key}") if isinstance(here, dict) else None
            if here is None:
                return False
        return True
