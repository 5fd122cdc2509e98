"""Symbols, verbs and small renderings that all views share."""

from __future__ import annotations

import json
from typing import Any

from engine import paths
from engine.model import display_type, urn_name, urn_type
from engine.values import SECRET_SIGNATURE, SIGNATURE_KEY, UNKNOWN_STRING

SYMBOLS = {
    "same": "  ",
    "create": "+ ",
    "update": "~ ",
    "delete": "- ",
    "replace": "+-",
    "create-replacement": "++",
    "delete-replaced": "--",
    "read": "> ",
    "read-replacement": ">>",
    "read-discard": "< ",
    "discard-replaced": "<<",
    "import": "= ",
    "import-replacement": "=>",
    "remove-pending-replace": "~ ",
    "refresh": "~ ",
}

_VERBS = {
    "create": ("create", "creating", "created"),
    "update": ("update", "updating", "updated"),
    "delete": ("delete", "deleting", "deleted"),
    "replace": ("replace", "replacing", "replaced"),
    "create-replacement": ("create replacement", "creating replacement", "created replacement"),
    "delete-replaced": ("delete original", "deleting original", "deleted original"),
    "read": ("read", "reading", "read"),
    "read-replacement": ("read for replacement", "reading for replacement", "read for replacement"),
    "read-discard": ("discard", "discarding", "discarded"),
    "discard-replaced": ("discard original", "discarding original", "discarded original"),
    "import": ("import", "importing", "imported"),
    "import-replacement": ("import replacement", "importing replacement", "imported replacement"),
    "remove-pending-replace": ("remove", "removing", "removed"),
    "same": ("", "", ""),
}


def planned(op: str) -> str:
    return _VERBS[op][0]


def doing(op: str) -> str:
    return _VERBS[op][1]


def done(op: str) -> str:
    return _VERBS[op][2]


def label(urn: str) -> str:
    """`kubernetes:core/v1:Namespace demo`."""
    return f"{display_type(urn_type(urn))} {urn_name(urn)}"


def titled(urn: str) -> str:
    """`kubernetes:core/v1:Namespace (demo)`, as headings have it."""
    return f"{display_type(urn_type(urn))} ({urn_name(urn)})"


def changed_keys(metadata: dict[str, Any]) -> str:
    """`[diff: ~data,+metadata]`: the top-level inputs that differ; empty when nothing is to be compared."""
    old, new = metadata.get("old"), metadata.get("new")
    if not old or not new or metadata["op"] in ("same", "read", "delete-replaced"):
        note = "[diff: ~protect]" if old and new and bool(old.get("protect")) != bool(new.get("protect")) else ""
        return note
    if metadata.get("detailedDiff"):
        return _note({_mark(path, body["diffKind"]) for path, body in metadata["detailedDiff"].items()})
    before, after = old.get("inputs") or {}, new.get("inputs") or {}
    marks = [f"-{k}" for k in before if k not in after]
    marks += [f"+{k}" for k in after if k not in before]
    marks += [f"~{k}" for k in after if k in before and before[k] != after[k]]
    return _note(set(marks))


def _mark(path: str, kind: str) -> str:
    """`~spec` for a change anywhere below spec; `+name` and `-name` for a whole property."""
    steps = paths.parse(path)
    sign = {"add": "+", "delete": "-"}.get(kind.removesuffix("-replace"), "~") if len(steps) == 1 else "~"
    return f"{sign}{steps[0]}"


def _note(marks: set[str]) -> str:
    shown = [m for m in sorted(marks, key=lambda m: m[1:]) if not m[1:].startswith("__")]
    return f"[diff: {','.join(shown)}]" if shown else ""


_HIDDEN = "\ue000"
"""Marks what is no text although JSON has to write it as one; a character for private use that no value has."""


def value_text(value: Any) -> str:
    """A value on one line: JSON, in which `[secret]` and `[unknown]` stand without quotes for what cannot be shown."""
    text = json.dumps(_plain(value), ensure_ascii=False)
    return text.replace(f'"{_HIDDEN}[', "[").replace(f']{_HIDDEN}"', "]")


def _marked(value: dict[str, Any]) -> bool:
    return value.get(SIGNATURE_KEY) == SECRET_SIGNATURE


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return f"{_HIDDEN}[secret]{_HIDDEN}" if _marked(value) else {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_plain(v) for v in value]
    return f"{_HIDDEN}[unknown]{_HIDDEN}" if value == UNKNOWN_STRING else value


def seconds(duration: float) -> str:
    """`0.12s` below a second, `12s` from there, as Pulumi shows durations."""
    return f"{duration:.2f}s" if 0 < duration < 1 else f"{int(duration)}s"
