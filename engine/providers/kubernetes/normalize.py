"""Objects in the one form the API server will give them: quantities canonical, fields at their zero value left out, Secrets encoded.

Pulumi's provider gets this by passing objects through the typed Go structs of client-go and back. Here the same is done from a table of
their fields (`fields.json`). Without it `cpu: "1000m"` or `hostNetwork: false` would be a change on every run.
"""

from __future__ import annotations

import base64
import binascii
import copy
import math
from fractions import Fraction

from engine.providers.kubernetes import kinds
from engine.providers.kubernetes.objects import Object, api_version_of, has_unknown, is_crd, is_secret, kind_of, metadata, prune
from engine.values import Value, is_number

READ_ONLY = (
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "generation",
    "managedFields",
    "resourceVersion",
    "uid",
)
_OMIT = object()
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_EXPONENT = "e"


class _MismatchError(Exception):
    """A value does not fit its field; the object is then left as it is and the API server will say why."""


def normalize(obj: Object) -> Object:
    """A normalized copy, without fields that only the server sets. Objects with unknown values keep their form."""
    result: Object = copy.deepcopy(obj)
    if not has_unknown(result) and api_version_of(result) in kinds.known_api_versions():
        result = prune(_typed(result), result)
    for key in READ_ONLY:
        metadata(result).pop(key, None)
    return result


def _typed(obj: Object) -> Object:
    if is_crd(obj):
        return _crd(obj)
    if is_secret(obj):
        return _secret(obj)
    entry = kinds.kinds().get(f"{api_version_of(obj)}/{kind_of(obj)}", "")
    struct = entry.partition(" ")[2]
    if not struct:
        return obj
    try:
        converted = _struct(obj, struct)
    except _MismatchError:
        return obj
    return converted


def _crd(obj: Object) -> Object:
    spec = obj.get("spec")
    if isinstance(spec, dict) and spec.get("preserveUnknownFields") is False:
        del spec["preserveUnknownFields"]
    obj.pop("status", None)
    return obj


def _secret(obj: Object) -> Object:
    """stringData becomes data, as the server does it; data is decoded and encoded again, which drops stray whitespace."""
    strings = obj.get("stringData")
    if isinstance(strings, dict) and strings and all(isinstance(v, str) for v in strings.values()):
        data = obj.get("data") if isinstance(obj.get("data"), dict) else {}
        obj["data"] = {**(data or {}), **{k: base64.b64encode(v.encode()).decode() for k, v in strings.items()}}
        del obj["stringData"]
    elif isinstance(obj.get("data"), dict):
        obj["data"] = {k: _reencoded(v) for k, v in obj["data"].items()}
    return obj


def _reencoded(value: Value) -> Value:
    if not isinstance(value, str):
        return value
    try:
        return base64.b64encode(base64.b64decode(value.replace("\n", "").replace("\r", ""), validate=True)).decode()
    except (binascii.Error, ValueError):
        return value


def _struct(value: Value, name: str) -> Object:
    if not isinstance(value, dict):
        raise _MismatchError
    fields = kinds.types()[name]
    result = {}
    for key, item in value.items():
        code = fields.get(key)
        if code is None:
            continue
        omit_empty = code.startswith("~")
        converted = _OMIT if item is None else _value(item, code.lstrip("~"))
        if converted is _OMIT or (omit_empty and _is_zero(converted, code.lstrip("~"))):
            continue
        result[key] = converted
    return result


def _is_zero(value: Value, code: str) -> bool:
    """Go's notion of empty for `omitempty`: pointers and structs never are."""
    if code.startswith(("[]", "{}")):
        return len(value) == 0
    if code in ("s", "y"):
        return bool(value == "")
    return code in ("b", "i", "f") and not value


def _value(value: Value, code: str) -> Value:
    if code.startswith("*"):
        return _value(value, code[1:])
    if code.startswith("[]"):
        if not isinstance(value, list):
            raise _MismatchError
        return [_value(v, code[2:]) for v in value]
    if code.startswith("{}"):
        if not isinstance(value, dict):
            raise _MismatchError
        return {k: _value(v, code[2:]) for k, v in value.items()}
    return _scalar(value, code) if len(code) == 1 else _struct(value, code)


def _scalar(value: Value, code: str) -> Value:
    if code in ("j", "t"):
        return value
    if code == "q":
        return quantity(value)
    if code == "i" and isinstance(value, float) and value.is_integer():
        return int(value)
    fits = {
        "s": isinstance(value, str),
        "y": isinstance(value, str),
        "b": isinstance(value, bool),
        "i": isinstance(value, int) and not isinstance(value, bool),
        "f": is_number(value),
        "p": isinstance(value, str) or is_number(value),
    }
    if not fits[code]:
        raise _MismatchError
    return value


def quantity(value: Value) -> str:
    """The canonical form of a resource quantity: no fractions, the largest suffix that keeps it exact ("0.5" is "500m", "1024Mi" "1Gi")."""
    text = str(value) if is_number(value) else value
    if not isinstance(text, str):
        raise _MismatchError
    number, suffix = _split_quantity(text.strip())
    if suffix in _BINARY:
        number *= 1 << _BINARY[suffix]
        return _binary(int(number)) if number.denominator == 1 else _decimal(number)
    return _decimal(number, exponent=suffix == _EXPONENT)


def _split_quantity(text: str) -> tuple[Fraction, str]:
    """(value, suffix); a decimal suffix is part of the value already."""
    head = text.rstrip("numkKMGTPEi")
    suffix = text[len(head) :]
    try:
        number = Fraction(head)
    except (ValueError, ZeroDivisionError):
        raise _MismatchError from None
    if "e" in head.lower() and not suffix:
        return number, _EXPONENT
    if suffix in _DECIMAL:
        return number * Fraction(10) ** _DECIMAL[suffix], ""
    if suffix not in _BINARY:
        raise _MismatchError
    return number, suffix


def _binary(whole: int) -> str:
    if abs(whole) < 1024:
        return str(whole)
    shift = 0
    while whole % 1024 == 0 and shift < 60:
        whole //= 1024
        shift += 10
    return f"{whole}{next((k for k, v in _BINARY.items() if v == shift), '')}"


def _decimal(number: Fraction, *, exponent: bool = False) -> str:
    scaled, power = math.ceil(number * 10**9), -9  # finer than nano is rounded up (k8s.io/apimachinery: resource.Quantity)
    if scaled == 0:
        return "0"
    while scaled % 1000 == 0 and power < 18:
        scaled //= 1000
        power += 3
    if exponent:
        return f"{scaled}{f'e{power}' if power else ''}"
    return f"{scaled}{next(k for k, v in _DECIMAL.items() if v == power)}"
