"""Steps: the unit of change. A chain of steps serves one registration and runs in order."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.events import render_state
from engine.model import ResourceState
from engine.provider import PropertyDiff


class Op(enum.StrEnum):
    """What a step does, in Pulumi's words."""

    SAME = "same"
    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"
    REPLACE = "replace"
    CREATE_REPLACEMENT = "create-replacement"
    DELETE_REPLACED = "delete-replaced"
    READ = "read"
    READ_REPLACEMENT = "read-replacement"
    READ_DISCARD = "read-discard"
    DISCARD_REPLACED = "discard-replaced"
    REMOVE_PENDING_REPLACE = "remove-pending-replace"
    IMPORT = "import"
    IMPORT_REPLACEMENT = "import-replacement"
    REFRESH = "refresh"


DELETES = frozenset({Op.DELETE, Op.DELETE_REPLACED, Op.READ_DISCARD, Op.DISCARD_REPLACED, Op.REMOVE_PENDING_REPLACE})
PHYSICAL_HALVES = frozenset({Op.CREATE_REPLACEMENT, Op.DELETE_REPLACED, Op.DISCARD_REPLACED, Op.READ_REPLACEMENT, Op.IMPORT_REPLACEMENT})
"""Halves of a replacement: shown, but not counted as a change of their own."""


@dataclass(eq=False)
class Step:
    op: Op
    urn: str
    old: ResourceState | None = None
    new: ResourceState | None = None
    keys: Sequence[str] = ()
    """What forces a replacement."""
    diffs: Sequence[str] = ()
    detailed: dict[str, PropertyDiff] | None = None
    ignore_changes: Sequence[str] = field(default_factory=tuple)
    stables: Sequence[str] = ()
    pending_delete: bool = False
    """Replacement steps: the old one is deleted at the end (create first) rather than already (delete first).
    For delete-replaced: the deletion happens now and the replacement follows."""
    random_seed: bytes = b""

    @property
    def state(self) -> ResourceState:
        state = self.new or self.old
        assert state is not None, "a step has at least one state"
        return state

    @property
    def logical(self) -> bool:
        return self.op not in PHYSICAL_HALVES

    def metadata(self) -> dict[str, Any]:
        """The step as an event shows it at this moment."""
        detailed = None
        if self.detailed is not None:
            detailed = {k: {"diffKind": d.kind, "inputDiff": d.input_diff} for k, d in sorted(self.detailed.items())}
        body: dict[str, Any] = {
            "op": str(self.op),
            "urn": self.urn,
            "type": self.state.type,
            "old": render_state(self.old),
            "new": render_state(self.new),
        }
        if self.keys:
            body["keys"] = list(self.keys)
        if self.diffs:
            body["diffs"] = list(self.diffs)
        body["detailedDiff"] = detailed
        if self.logical:
            body["logical"] = True
        body["provider"] = self.state.provider
        return body
