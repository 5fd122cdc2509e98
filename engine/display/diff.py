"""What would change inside a resource, property by property; secrets and unknowns by name only."""

from __future__ import annotations

import difflib
from typing import Any

from engine import paths
from engine.display.words import value_text
from engine.values import SECRET_SIGNATURE, SIGNATURE_KEY


def property_lines(metadata: dict[str, Any]) -> list[str]:
    """`~ spec.replicas: 1 => 2` for every leaf that differs; all inputs for something new."""
    old, new = metadata.get("old"), metadata.get("new")
    if metadata["op"] in ("same", "read", "delete", "delete-replaced") or new is None:
        return []
    before, after = (old or {}).get("inputs") or {}, new.get("inputs") or {}
    if old is None:
        return [f"+ {key}: {_short(value_text(after[key]))}" for key in sorted(after)]
    found: list[str] = []
    for path, kind in paths.changed(_leafed(before), _leafed(after)):
        name, was, now = paths.render(path), paths.get(before, path)[1], paths.get(after, path)[1]
        if kind == "add":
            found.append(f"+ {name}: {_short(value_text(now))}")
        elif kind == "delete":
            found.append(f"- {name}: {_short(value_text(was))}")
        elif isinstance(was, str) and isinstance(now, str) and "\n" in was + now:
            found += [f"~ {name}:", *(f"    {line}" for line in _changed_lines(was, now))]
        else:
            found.append(f"~ {name}: {_short(value_text(was))} => {_short(value_text(now))}")
    return found


LONGEST = 300
"""Characters of a value on one line; a dashboard in a ConfigMap has tens of thousands."""
MOST_LINES = 60
"""Lines of a text that changed."""


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}… ({len(text)} characters)"


def _changed_lines(was: str, now: str) -> list[str]:
    """The lines that went and came, with one around them."""
    lines = [line for line in difflib.unified_diff(was.splitlines(), now.splitlines(), lineterm="", n=1)][2:]
    shown = [_short("…" if line.startswith("@@") else line) for line in lines[:MOST_LINES]]
    return shown if len(lines) <= MOST_LINES else [*shown, f"… ({len(lines) - MOST_LINES} more lines)"]


def _leafed(value: Any) -> Any:
    """A secret is one leaf, not an object with a signature."""
    if isinstance(value, dict):
        if value.get(SIGNATURE_KEY) == SECRET_SIGNATURE:
            return "[secret]"
        return {k: _leafed(v) for k, v in value.items()}
    return [_leafed(v) for v in value] if isinstance(value, list) else value
