"""Automatic names: `<resource name>-<8 hex digits>`, marked by an annotation and kept for the life of the object."""

from __future__ import annotations

import hashlib
import secrets

from engine.model import urn_name
from engine.providers.kubernetes.objects import AUTONAMED, Object, annotate, is_true, metadata, name_is_unknown, name_of, set_metadata
from engine.values import UNKNOWN

HEX_DIGITS = 8


def generate_name(obj: Object) -> bool:
    """Whether the server is asked to choose the name (`metadata.generateName`)."""
    return not name_of(obj) and not name_is_unknown(obj) and bool(metadata(obj).get("generateName"))


def assign(obj: Object, urn: str, seed: bytes) -> None:
    """Names an object that has no name. The seed makes previews and updates of one plan agree."""
    if obj.get("metadata") is UNKNOWN or name_is_unknown(obj) or name_of(obj) or metadata(obj).get("generateName"):
        return
    digits = hashlib.sha256(seed).hexdigest() if seed else secrets.token_hex(HEX_DIGITS)
    set_metadata(obj, "name", f"{urn_name(urn)}-{digits[:HEX_DIGITS]}")
    annotate(obj, AUTONAMED, "true")


def adopt(obj: Object, old: Object) -> None:
    """Keeps the automatic name of the object that is there already."""
    if obj.get("metadata") is UNKNOWN or name_is_unknown(obj) or name_of(obj) or not is_true(old, AUTONAMED):
        return
    set_metadata(obj, "name", name_of(old))
    annotate(obj, AUTONAMED, "true")
