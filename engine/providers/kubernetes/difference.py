"""The detailed diff between an object's last known state and its new inputs, key by key as pulumi-kubernetes reports it.

The state is the live object reduced to the shape of the old inputs, so that what the cluster added is no difference but what somebody
changed on the cluster (and a refresh read) is.
"""

from __future__ import annotations

from collections.abc import Sequence

from engine.paths import Path, contains, parse, render
from engine.provider import PropertyDiff, ProviderError
from engine.providers.kubernetes.force_new import matches
from engine.providers.kubernetes.objects import Object
from engine.values import UNKNOWN, Value, equal, is_number

_MISSING = object()


def merge_patch(old: Object, new: Object) -> Object:
    """The JSON merge patch (RFC 7386) from one object to the other: None where a key goes, lists whole."""
    patch: Object = {}
    for key, value in new.items():
        if key not in old:
            patch[key] = value
        elif isinstance(value, dict) and isinstance(old[key], dict):
            if below := merge_patch(old[key], value):
                patch[key] = below
        elif not _same(value, old[key]):
            patch[key] = value
    patch.update({key: None for key in old if key not in new})
    return patch


def _same(a: Value, b: Value) -> bool:
    return a is not UNKNOWN and b is not UNKNOWN and equal(a, b)


def detailed(old: Object, new: Object, forced: Sequence[str]) -> dict[str, PropertyDiff]:
    """Differences by property path. `old`: pruned live state; `forced`: paths whose change replaces the object."""
    patch = merge_patch(old, new)
    found: dict[str, PropertyDiff] = {}
    if patch:
        _Converter(forced, found).mapping((), patch, old, new, in_list=False)
    return found


class _Converter:
    def __init__(self, forced: Sequence[str], found: dict[str, PropertyDiff]):
        self.forced, self.found = forced, found

    def mapping(self, path: Path, patch: Object, old: Object, new: Object, *, in_list: bool) -> None:
        for key in sorted(patch):
            self.value((*path, key), patch[key], old.get(key, _MISSING), new.get(key, _MISSING), in_list=in_list)
        if in_list:  # a merge patch holds lists whole, so what is gone from an element's object is not in it
            for key in sorted(old.keys() - patch.keys()):
                self.value((*path, key), None, old[key], new.get(key, _MISSING), in_list=in_list)

    def sequence(self, path: Path, patch: list[Value], old: list[Value], new: list[Value]) -> None:
        for i in range(max(len(patch), len(old))):
            after = new[i] if i < len(new) else _MISSING
            if i >= len(patch):
                self.value((*path, i), None, old[i], after, in_list=True)
            else:
                self.value((*path, i), patch[i], old[i] if i < len(old) else _MISSING, after, in_list=True)

    def value(self, path: Path, patch: Value, old: Value, new: Value, *, in_list: bool) -> None:
        kind, input_diff = "update", False
        if patch is UNKNOWN or new is UNKNOWN:
            kind = "add" if old is _MISSING else "update"
        elif patch is None:
            kind, input_diff = "delete", True
        elif old is _MISSING:
            kind = "add"
        elif isinstance(patch, dict) and isinstance(old, dict):
            return self.mapping(path, patch, old, new if isinstance(new, dict) else {}, in_list=in_list)
        elif isinstance(patch, list) and isinstance(old, list):
            return self.sequence(path, patch, old, new if isinstance(new, list) else [])
        elif equal(patch, old) and is_number(patch) == is_number(old):
            return None
        if any(matches(p, path, patch) for p in self.forced):
            kind += "-replace"
        self.found[render(path)] = PropertyDiff(kind, input_diff)
        return None


def without_ignored(found: dict[str, PropertyDiff], ignored: Sequence[str]) -> dict[str, PropertyDiff]:
    """What is left after ignoreChanges. Raises ProviderError for a path that cannot be parsed."""
    try:
        patterns = [parse(p) for p in ignored]
    except ValueError as error:
        raise ProviderError(f"ignoreChanges: {error}") from None
    return {k: v for k, v in found.items() if not any(contains(p, parse(k)) for p in patterns)}


def replacements(found: dict[str, PropertyDiff]) -> list[str]:
    """Paths that force a replacement."""
    return sorted(k for k, v in found.items() if v.kind.endswith("-replace") or (k == "metadata" and v.kind == "delete"))
