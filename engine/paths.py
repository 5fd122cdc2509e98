"""Property paths: `a.b[0]["c.d"]`, with `*` as wildcard, as used by ignoreChanges, replaceOnChanges and detailed diffs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TypeAlias

from engine.values import Value, equal, unwrap

Path: TypeAlias = tuple[str | int, ...]

WILDCARD = "*"
_MISSING = object()
_TOKEN = re.compile(r"""\.?([^.\[\]"]+)|\[(\d+)\]|\["((?:[^"\\]|\\.)*)"\]|\[(\*)\]""")


def parse(text: str) -> Path:
    """Parses a path. Raises ValueError naming the path where it is malformed."""
    path: list[str | int] = []
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise ValueError(f"invalid property path {text!r} at character {position + 1}")
        name, index, quoted, star = match.groups()
        if index is not None:
            path.append(int(index))
        elif quoted is not None:
            path.append(re.sub(r"\\(.)", r"\1", quoted))
        else:
            path.append(star or name)
        position = match.end()
    if not path:
        raise ValueError("a property path cannot be empty")
    return tuple(path)


def render(path: Sequence[str | int]) -> str:
    """The inverse of `parse`, quoting what needs it."""
    out = ""
    for step in path:
        if isinstance(step, int):
            out += f"[{step}]"
        elif step and not re.search(r'[.\[\]"]', step):
            out += f".{step}" if out else step
        else:
            escaped = step.replace("\\", "\\\\").replace('"', '\\"')
            out += f'["{escaped}"]'
    return out


def get(value: Value, path: Path) -> tuple[bool, Value]:
    """(found, value) at a path without wildcards; secrets on the way are looked into."""
    for step in path:
        value = _child(unwrap(value), step)
        if value is _MISSING:
            return False, None
    return True, value


def _child(container: Value, step: str | int) -> Value:
    if isinstance(container, dict):
        return container.get(str(step), _MISSING) if isinstance(step, str) else _MISSING
    if isinstance(container, list) and isinstance(step, int) and 0 <= step < len(container):
        return container[step]
    return _MISSING


def expand(pattern: Path, *values: Value) -> Iterator[Path]:
    """Every concrete path that a pattern with wildcards names in any of the values."""
    seen: set[Path] = set()
    for value in values:
        for path in _expand(pattern, value):
            if path not in seen:
                seen.add(path)
                yield path


def _expand(pattern: Path, value: Value) -> Iterator[Path]:
    if not pattern:
        yield ()
        return
    step, rest = pattern[0], pattern[1:]
    value = unwrap(value)
    if step == WILDCARD:
        keys: list[str | int] = list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []
        for key in keys:
            for tail in _expand(rest, value[key]):
                yield (key, *tail)
        return
    child = _child(value, step)
    for tail in _expand(rest, None if child is _MISSING else child) if rest else [()]:
        yield (step, *tail)


def contains(pattern: Path, path: Path) -> bool:
    """Whether a path is what the pattern names or lies below it."""
    return len(pattern) <= len(path) and all(p in (WILDCARD, s) for p, s in zip(pattern, path, strict=False))


def reset(target: Value, source: Value, path: Path) -> Value:
    """A copy of `target` whose value at `path` is that of `source`: set, replaced, or removed where source has none.

    Raises ValueError when the place cannot be reached in target although source has a value for it.
    """
    found, old = get(source, path)
    present, _ = get(target, path)
    if not found and not present:
        return target
    return _assign(target, path, old if found else _MISSING, path)


def _assign(container: Value, path: Path, value: Value, whole: Path) -> Value:
    step, rest = path[0], path[1:]
    plain = unwrap(container)
    if isinstance(plain, dict) and isinstance(step, str):
        copy = dict(plain)
        if rest:
            if step not in copy:
                if value is _MISSING:
                    return container
                raise ValueError(f"cannot reach {render(whole)!r}")
            copy[step] = _assign(copy[step], rest, value, whole)
        elif value is _MISSING:
            copy.pop(step, None)
        else:
            copy[step] = value
        return _rewrap(container, copy)
    if isinstance(plain, list) and isinstance(step, int) and step < len(plain):
        items = list(plain)
        if rest:
            items[step] = _assign(items[step], rest, value, whole)
        elif value is _MISSING:
            raise ValueError(f"cannot remove the list element {render(whole)!r}")
        else:
            items[step] = value
        return _rewrap(container, items)
    if value is _MISSING:
        return container
    raise ValueError(f"cannot reach {render(whole)!r}")


def _rewrap(original: Value, value: Value) -> Value:
    return type(original)(value) if original is not unwrap(original) else value


def changed(old: Value, new: Value, prefix: Path = ()) -> Iterator[tuple[Path, str]]:
    """(path, add|delete|update) of every leaf that differs between two values."""
    a, b = unwrap(old), unwrap(new)
    if isinstance(a, dict) and isinstance(b, dict):
        for key in sorted({*a, *b}):
            yield from _changed_child(a.get(key, _MISSING), b.get(key, _MISSING), (*prefix, key))
    elif isinstance(a, list) and isinstance(b, list):
        for i in range(max(len(a), len(b))):
            yield from _changed_child(a[i] if i < len(a) else _MISSING, b[i] if i < len(b) else _MISSING, (*prefix, i))
    elif not equal(a, b):
        yield prefix, "update"


def _changed_child(old: Value, new: Value, path: Path) -> Iterator[tuple[Path, str]]:
    if old is _MISSING:
        yield path, "add"
    elif new is _MISSING:
        yield path, "delete"
    else:
        yield from changed(old, new, path)
