"""Property values as the engine holds them: plain Python, plus the few things JSON cannot say.

A value is `None`, `bool`, `int`, `float`, `str`, `list`, `dict[str, …]`, or one of the marker types below. Numbers are doubles
on the wire; whole ones are held as `int`, so that state files and diffs read `3`, as Pulumi's do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

Value: TypeAlias = Any
PropertyMap: TypeAlias = dict[str, Any]

SIGNATURE_KEY = "4dabf18193072939515e22adb298388d"
"""The key that marks a special object on the wire and in state (pulumi: sdk/go/common/resource/sig)."""
SECRET_SIGNATURE = "1b47061264138c4ac30d75fd1eb44270"  # noqa: S105 - a public type tag, not a credential
RESOURCE_SIGNATURE = "5cf8f73096256a8f31e491e813e4eb8e"
OUTPUT_SIGNATURE = "d0e6a833031e9bbcd3f4e8bde6ca49a4"
ASSET_SIGNATURE = "c44067f5952c0a294b673a41bacd8c17"
ARCHIVE_SIGNATURE = "0def7320c3a5731c473e5ecbe6d01bc7"
UNKNOWN_STRING = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
"""How an unknown value travels on the wire and in preview events."""


class _Unknown:
    """A value that is not known before the update. There is one instance, `UNKNOWN`."""

    _instance: _Unknown | None = None

    def __new__(cls) -> _Unknown:
        if cls._instance is None:
            cls._instance = super().__new__(cls)
        return cls._instance

    def __repr__(self) -> str:
        return "UNKNOWN"

    def __copy__(self) -> _Unknown:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> _Unknown:
        return self


UNKNOWN = _Unknown()


@dataclass(frozen=True, slots=True)
class Secret:
    """A value that is shown nowhere and encrypted in state. Never nested directly in another Secret."""

    value: Value
    sealed: tuple[str, str] | None = field(default=None, compare=False, repr=False)
    """(state of the key, ciphertext) it was read from; written back as it was, so that a state changes only where it must."""

    def __repr__(self) -> str:
        return "Secret([secret])"


@dataclass(frozen=True, slots=True)
class ResourceRef:
    """A reference to a resource of the stack; `id` is None for a component, UNKNOWN or "" while it is not created."""

    urn: str
    id: Any = None
    package_version: str = ""


@dataclass(frozen=True, slots=True)
class Asset:
    """A file-like value: exactly one of text, path, uri is set (or none, when only the hash is known, as in state)."""

    hash: str = ""
    text: str | None = None
    path: str | None = None
    uri: str | None = None


@dataclass(frozen=True, slots=True)
class Archive:
    """A folder-like value: exactly one of assets, path, uri is set (or none, when only the hash is known)."""

    hash: str = ""
    assets: Mapping[str, Any] | None = field(default=None)
    path: str | None = None
    uri: str | None = None


def is_number(value: Value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def unwrap(value: Value) -> Value:
    """The value without a Secret around it (one level; what it holds may contain further secrets)."""
    return value.value if isinstance(value, Secret) else value


def map_leaves(value: Value, leaf: Callable[[Value], Value]) -> Value:
    """A copy in which `leaf` was applied to everything that is not a plain dict or list."""
    if isinstance(value, dict):
        return {k: map_leaves(v, leaf) for k, v in value.items()}
    if isinstance(value, list):
        return [map_leaves(v, leaf) for v in value]
    return leaf(value)


def reveal(value: Value) -> Value:
    """A deep copy with every Secret replaced by what it holds. For providers; never for output."""
    return map_leaves(value, lambda v: reveal(v.value) if isinstance(v, Secret) else v)


def leaves(value: Value) -> Iterator[Value]:
    if isinstance(value, dict):
        for v in value.values():
            yield from leaves(v)
    elif isinstance(value, list):
        for v in value:
            yield from leaves(v)
    elif isinstance(value, Secret):
        yield value
        yield from leaves(value.value)
    else:
        yield value


def contains_unknown(value: Value) -> bool:
    return any(v is UNKNOWN or (isinstance(v, ResourceRef) and v.id is UNKNOWN) for v in leaves(value))


def contains_secret(value: Value) -> bool:
    return any(isinstance(v, Secret) for v in leaves(value))


def equal(a: Value, b: Value) -> bool:
    """Deep equality that ignores secretness, as Pulumi's DeepEquals does. Unknown equals only unknown."""
    a, b = unwrap(a), unwrap(b)
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(equal(v, b[k]) for k, v in a.items())
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(equal(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, Asset | Archive) and type(a) is type(b) and a.hash and b.hash:
        return bool(a.hash == b.hash)
    if isinstance(a, bool) != isinstance(b, bool):
        return False
    return bool(a == b)
