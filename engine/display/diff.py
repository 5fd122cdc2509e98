"""What would change inside a resource, property by property; secrets and unknowns by name only."""

from __future__ import annotations

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
        return [f"+ {key}: {value_text(after[key])}" for key in sorted(after)]
    found = []
    for path, kind in paths.changed(_leafed(before), _leafed(after)):
        name = paths.render(path)
        if kind == "add":
            found.append(f"+ {name}: {value_text(paths.get(after, path)[1])}")
        elif kind == "delete":
            found.append(f"- {name}: {value_text(paths.get(before, path)[1])}")
        else:
            found.append(f"~ {name}: {value_text(paths.get(before, path)[1])} => {value_text(paths.get(after, path)[1])}")
    return found


def _leafed(value: Any) -> Any:
    """A secret is one leaf, not an object with a signature."""
    if isinstance(value, dict):
        if value.get(SIGNATURE_KEY) == SECRET_SIGNATURE:
            return "[secret]"
        return {k: _leafed(v) for k, v in value.items()}
    return [_leafed(v) for v in value] if isinstance(value, list) else value
