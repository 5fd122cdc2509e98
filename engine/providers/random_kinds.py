"""The resource types of the random package: their properties, rules and how a value is made.

The facts follow pulumi-random 4.21 (terraform-provider-random 3.x): defaults, schema versions, which property is named
otherwise inside the provider, what can be imported.
"""

from __future__ import annotations

import base64
import binascii
import secrets
import string
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field

import bcrypt
import petname  # type: ignore[import-untyped]  # ships no type marker

from engine.provider import ProviderError
from engine.providers.random_go import GoRandom
from engine.values import PropertyMap, Value

SPECIAL = "!@#$%&*()-_=+[]{}<>:?"
_BCRYPT_LIMIT = 72
"""bcrypt hashes no more than 72 bytes; the provider cuts a longer password there."""
_BCRYPT_COST = 10

Reasons = list[tuple[str, str]]


@dataclass(frozen=True)
class Kind:
    """One resource type. `options` maps each property a program may set to its type and default (None: unset)."""

    options: dict[str, tuple[str, Value]]
    computed: tuple[str, ...]
    make: Callable[[PropertyMap], PropertyMap]
    """From complete inputs to the computed properties."""
    required: tuple[str, ...] = ()
    sensitive: frozenset[str] = frozenset()
    schema_version: int = 0
    renamed: dict[str, str] = field(default_factory=dict)
    resource_id: Callable[[PropertyMap], str] = lambda outputs: str(outputs["id"])
    check: Callable[[PropertyMap], Reasons] = lambda inputs: []
    import_: Callable[[str], PropertyMap] | None = None
    """From an import id to inputs and computed properties; None: the type cannot be imported or read by id."""


KEEPERS = {"keepers": ("map", None)}


def random_text(given: PropertyMap) -> str:
    """A string that keeps the length and minimum rules. Characters and order come from the system's generator."""
    sets = {
        "upper": string.ascii_uppercase,
        "lower": string.ascii_lowercase,
        "numeric": string.digits,
        "special": given.get("overrideSpecial") or SPECIAL,
    }
    chosen: list[str] = []
    for name, characters in sets.items():
        chosen += (secrets.choice(characters) for _ in range(given[f"min{name.capitalize()}"]))
    everything = "".join(characters for name, characters in sets.items() if given[name])
    chosen += (secrets.choice(everything) for _ in range(given["length"] - len(chosen)))
    secrets.SystemRandom().shuffle(chosen)
    return "".join(chosen)


def _bcrypt(text: str) -> str:
    salt = bcrypt.gensalt(_BCRYPT_COST, prefix=b"2a")
    return bcrypt.hashpw(text.encode()[:_BCRYPT_LIMIT], salt).decode()


def _password(given: PropertyMap) -> PropertyMap:
    text = random_text(given)
    return {"id": "none", "result": text, "bcryptHash": _bcrypt(text)}


def _string(given: PropertyMap) -> PropertyMap:
    text = random_text(given)
    return {"id": text, "result": text}


_MINIMUMS = ("minUpper", "minLower", "minNumeric", "minSpecial")
_CLASSES = ("special", "upper", "lower", "numeric")
_TEXT_OPTIONS: dict[str, tuple[str, Value]] = {
    **KEEPERS,
    "length": ("int", None),
    **dict.fromkeys(("special", "upper", "lower", "number", "numeric"), ("bool", True)),
    **dict.fromkeys(_MINIMUMS, ("int", 0)),
    "overrideSpecial": ("str", None),
}


def _check_text(given: PropertyMap) -> Reasons:
    """Rules over the known values (`given` holds no unknowns)."""
    reasons: Reasons = []
    minimum = sum(given.get(name, 0) for name in _MINIMUMS)
    length = given.get("length")
    if length is not None and length < 1:
        reasons.append(("length", f"must be at least 1, got: {length}"))
    elif length is not None and length < minimum:
        reasons.append(("length", f"must be at least the sum of {' + '.join(_MINIMUMS)}: {minimum}, got: {length}"))
    if all(given.get(name) is False for name in _CLASSES):
        reasons.append(("special", f"at least one of {', '.join(_CLASSES)} must be true"))
    return reasons


def _import_text(text: str) -> PropertyMap:
    defaults = {name: default for name, (_, default) in _TEXT_OPTIONS.items() if default is not None}
    return {**defaults, "length": len(text.encode()), "result": text}


def _bytes_of(given: PropertyMap) -> PropertyMap:
    return _show_bytes(secrets.token_bytes(given["length"]))


def _show_bytes(data: bytes) -> PropertyMap:
    return {"base64": base64.b64encode(data).decode(), "hex": data.hex()}


def _import_bytes(text: str) -> PropertyMap:
    try:
        data = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ProviderError(f"the import id is not base64 ({error}); a RandomBytes is imported by its bytes in base64") from None
    return {"length": len(data), **_show_bytes(data)}


def _id(given: PropertyMap) -> PropertyMap:
    return _show_id(secrets.token_bytes(given["byteLength"]), given.get("prefix") or "")


def _show_id(data: bytes, prefix: str) -> PropertyMap:
    short = base64.urlsafe_b64encode(data).decode().rstrip("=")
    return {
        "id": short,
        "b64Url": prefix + short,
        "b64Std": prefix + base64.b64encode(data).decode(),
        "hex": prefix + data.hex(),
        "dec": f"{prefix}{int.from_bytes(data, 'big')}",
    }


def _import_id(text: str) -> PropertyMap:
    prefix, _, short = text.rpartition(",")
    try:
        data = base64.b64decode(short + "=" * (-len(short) % 4), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise ProviderError(
            f"import id {text!r}: not URL-safe base64 ({error}); a RandomId is imported by its id, or `prefix,id`"
        ) from None
    return {"keepers": {}, "byteLength": len(data), **({"prefix": prefix} if prefix else {}), **_show_id(data, prefix)}


def _integer(given: PropertyMap) -> PropertyMap:
    low, high = given["min"], given["max"]
    if high < low:
        raise ProviderError(f"min ({low}) must not be above max ({high})")
    span = high + 1 - low
    result = low + (GoRandom(given["seed"]).below(span) if given.get("seed") else secrets.randbelow(span))
    return {"id": str(result), "result": result}


def _import_integer(text: str) -> PropertyMap:
    parts = text.split(",")
    try:
        if len(parts) not in (3, 4):
            raise ValueError
        result, low, high = (int(part) for part in parts[:3])
    except ValueError:
        raise ProviderError(f"import id {text!r}: a RandomInteger is imported by `result,min,max[,seed]`") from None
    seed = {"seed": parts[3]} if len(parts) == 4 else {}
    return {"min": low, "max": high, **seed, "id": parts[0], "result": result}


_ANY_LENGTH = 1000
"""The petname library limits the letters of a word; the provider does not."""


def _pet(given: PropertyMap) -> PropertyMap:
    separator, prefix = given["separator"], given.get("prefix")
    words = petname.generate(given["length"], separator, _ANY_LENGTH).lower()
    return {"id": f"{prefix}{separator}{words}" if prefix else words}


def _permutation(size: int) -> list[int]:
    return secrets.SystemRandom().sample(range(size), size)


def _shuffle(given: PropertyMap) -> PropertyMap:
    items: list[str] = given["inputs"]
    wanted = given.get("resultCount") or len(items)
    permutation = GoRandom(given["seed"]).permutation if given.get("seed") else _permutation
    results: list[str] = []
    while items and len(results) < wanted:
        order = permutation(len(items))
        results += [items[i] for i in order][: wanted - len(results)]
    return {"id": "-", "results": results}


def _uuid7() -> uuid.UUID:
    """RFC 9562: 48 bits of Unix milliseconds, then random bits, with the version and variant marks."""
    value = int.from_bytes(secrets.token_bytes(16), "big") & ((1 << 80) - 1) | (time.time_ns() // 1_000_000) << 80
    value = value & ~(0xF << 76) | 0x7 << 76
    return uuid.UUID(int=value & ~(0x3 << 62) | 0x2 << 62)


def _import_uuid(text: str) -> PropertyMap:
    try:
        value = str(uuid.UUID(text))
    except ValueError:
        raise ProviderError(f"import id {text!r}: not a UUID") from None
    return {"id": value, "result": value}


def _uuid_kind(make: Callable[[], uuid.UUID]) -> Kind:
    def values(_: PropertyMap) -> PropertyMap:
        text = str(make())
        return {"id": text, "result": text}

    return Kind(dict(KEEPERS), ("id", "result"), values, import_=_import_uuid)


def _at_least_one(name: str) -> Callable[[PropertyMap], Reasons]:
    return lambda given: [(name, f"must be at least 1, got: {given[name]}")] if given.get(name, 1) < 1 else []


def _type(name: str) -> str:
    return f"random:index/{name[0].lower()}{name[1:]}:{name}"


KINDS: dict[str, Kind] = {
    _type("RandomPassword"): Kind(
        _TEXT_OPTIONS,
        ("id", "result", "bcryptHash"),
        _password,
        required=("length",),
        sensitive=frozenset({"result", "bcryptHash"}),
        schema_version=3,
        check=_check_text,
        import_=lambda text: {**_import_text(text), "id": "none", "bcryptHash": _bcrypt(text)},
    ),
    _type("RandomString"): Kind(
        _TEXT_OPTIONS,
        ("id", "result"),
        _string,
        required=("length",),
        schema_version=2,
        check=_check_text,
        import_=lambda text: {**_import_text(text), "id": text},
    ),
    _type("RandomBytes"): Kind(
        {**KEEPERS, "length": ("int", None)},
        ("base64", "hex"),
        _bytes_of,
        required=("length",),
        sensitive=frozenset({"base64", "hex"}),
        resource_id=lambda outputs: str(outputs["base64"]),
        check=_at_least_one("length"),
        import_=_import_bytes,
    ),
    _type("RandomId"): Kind(
        {**KEEPERS, "byteLength": ("int", None), "prefix": ("str", None)},
        ("id", "b64Url", "b64Std", "hex", "dec"),
        _id,
        required=("byteLength",),
        check=_at_least_one("byteLength"),
        import_=_import_id,
    ),
    _type("RandomInteger"): Kind(
        {**KEEPERS, "min": ("int", None), "max": ("int", None), "seed": ("str", None)},
        ("id", "result"),
        _integer,
        required=("min", "max"),
        import_=_import_integer,
    ),
    _type("RandomPet"): Kind(
        {**KEEPERS, "length": ("int", 2), "prefix": ("str", None), "separator": ("str", "-")},
        ("id",),
        _pet,
        check=_at_least_one("length"),
    ),
    _type("RandomShuffle"): Kind(
        {**KEEPERS, "inputs": ("list", None), "resultCount": ("int", None), "seed": ("str", None)},
        ("id", "results"),
        _shuffle,
        required=("inputs",),
        renamed={"inputs": "input", "results": "result"},
    ),
    _type("RandomUuid"): _uuid_kind(uuid.uuid4),
    _type("RandomUuid4"): _uuid_kind(uuid.uuid4),
    _type("RandomUuid7"): _uuid_kind(_uuid7),
}
