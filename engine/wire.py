"""Property values on the wire: `google.protobuf.Struct` to engine values and back.

The SDK's own marshaller cannot serve here: it lifts secrets to the top of what contains them, turns references into ids and
builds Asset objects; the engine must keep every mark where the program put it.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import struct_pb2

from engine.values import (
    ARCHIVE_SIGNATURE,
    ASSET_SIGNATURE,
    OUTPUT_SIGNATURE,
    RESOURCE_SIGNATURE,
    SECRET_SIGNATURE,
    SIGNATURE_KEY,
    UNKNOWN,
    UNKNOWN_STRING,
    Archive,
    Asset,
    PropertyMap,
    ResourceRef,
    Secret,
    Value,
)


def number(value: float) -> int | float:
    """Whole doubles as int, so that `3` stays `3`; anything past 2^53 or fractional stays a float."""
    return int(value) if value.is_integer() and abs(value) < 2**53 else value


def from_struct(struct: struct_pb2.Struct, *, keep_none: bool = True) -> PropertyMap:
    """Decodes a message's properties. A property that is null is kept unless `keep_none` is False (top level only)."""
    decoded = {key: from_value(value) for key, value in struct.fields.items()}
    return decoded if keep_none else {k: v for k, v in decoded.items() if v is not None}


def from_value(value: struct_pb2.Value) -> Value:
    match value.WhichOneof("kind"):
        case "string_value":
            return UNKNOWN if value.string_value == UNKNOWN_STRING else value.string_value
        case "number_value":
            return number(value.number_value)
        case "bool_value":
            return value.bool_value
        case "list_value":
            return [from_value(v) for v in value.list_value.values]
        case "struct_value":
            fields = value.struct_value.fields
            if SIGNATURE_KEY in fields:
                return _special(fields[SIGNATURE_KEY].string_value, fields)
            return {k: from_value(v) for k, v in fields.items()}
        case _:
            return None


def _special(signature: str, fields: Any) -> Value:
    def text(key: str) -> str | None:
        return fields[key].string_value if key in fields else None

    if signature == SECRET_SIGNATURE:
        return secret(from_value(fields["value"]) if "value" in fields else None)
    if signature == OUTPUT_SIGNATURE:
        known = "value" in fields
        value = from_value(fields["value"]) if known else UNKNOWN
        return secret(value) if "secret" in fields and fields["secret"].bool_value else value
    if signature == RESOURCE_SIGNATURE:
        id_ = from_value(fields["id"]) if "id" in fields else None
        return ResourceRef(text("urn") or "", id_, text("packageVersion") or "")
    if signature == ASSET_SIGNATURE:
        return Asset(text("hash") or "", text("text"), text("path"), text("uri"))
    if signature == ARCHIVE_SIGNATURE:
        assets = from_value(fields["assets"]) if "assets" in fields else None
        return Archive(text("hash") or "", assets, text("path"), text("uri"))
    raise ValueError(f"unrecognized signature {signature!r} in a property value")


def dependencies_in(value: struct_pb2.Value) -> set[str]:
    """URNs that the output values in an encoded value depend on; decoding drops them."""
    match value.WhichOneof("kind"):
        case "list_value":
            return {urn for item in value.list_value.values for urn in dependencies_in(item)}
        case "struct_value":
            fields = value.struct_value.fields
            own: set[str] = set()
            if SIGNATURE_KEY in fields and fields[SIGNATURE_KEY].string_value == OUTPUT_SIGNATURE and "dependencies" in fields:
                own = {item.string_value for item in fields["dependencies"].list_value.values}
            return own | {urn for key, item in fields.items() if key != "dependencies" for urn in dependencies_in(item)}
        case _:
            return set()


def secret(value: Value) -> Value:
    """Marks a value secret; a secret of a secret is one secret, and an unknown stays visible as unknown inside."""
    return value if isinstance(value, Secret) else Secret(value)


def to_struct(properties: PropertyMap, *, keep_secrets: bool = True) -> struct_pb2.Struct:
    """Encodes properties; without `keep_secrets` secrets travel as plain values (for peers that cannot take them)."""
    struct = struct_pb2.Struct()
    for key, value in properties.items():
        _encode(value, struct.fields[key], keep_secrets)
    return struct


def to_value(value: Value, *, keep_secrets: bool = True) -> struct_pb2.Value:
    encoded = struct_pb2.Value()
    _encode(value, encoded, keep_secrets)
    return encoded


def _encode(value: Value, into: struct_pb2.Value, keep_secrets: bool) -> None:
    if value is None:
        into.null_value = struct_pb2.NULL_VALUE
    elif value is UNKNOWN:
        into.string_value = UNKNOWN_STRING
    elif isinstance(value, bool):
        into.bool_value = value
    elif isinstance(value, int | float):
        into.number_value = value
    elif isinstance(value, str):
        into.string_value = value
    else:
        _encode_compound(value, into, keep_secrets)


def _encode_compound(value: Value, into: struct_pb2.Value, keep_secrets: bool) -> None:
    if isinstance(value, dict):
        into.struct_value.SetInParent()
        for k, v in value.items():
            _encode(v, into.struct_value.fields[k], keep_secrets)
    elif isinstance(value, list):
        into.list_value.SetInParent()
        for v in value:
            _encode(v, into.list_value.values.add(), keep_secrets)
    elif isinstance(value, Secret):
        if keep_secrets:
            _mark(into, SECRET_SIGNATURE, {"value": value.value}, keep_secrets)
        else:
            _encode(value.value, into, keep_secrets)
    else:
        _encode_reference(value, into, keep_secrets)


def _encode_reference(value: Value, into: struct_pb2.Value, keep_secrets: bool) -> None:
    fields: dict[str, Any]
    if isinstance(value, ResourceRef):
        fields = {"urn": value.urn}
        if value.id is not None:
            fields["id"] = value.id
        if value.package_version:
            fields["packageVersion"] = value.package_version
        _mark(into, RESOURCE_SIGNATURE, fields, keep_secrets)
    elif isinstance(value, Asset):
        given: dict[str, Any] = {"hash": value.hash or None, "text": value.text, "path": value.path, "uri": value.uri}
        _mark(into, ASSET_SIGNATURE, {k: v for k, v in given.items() if v is not None}, keep_secrets)
    elif isinstance(value, Archive):
        given = {"hash": value.hash or None, "assets": value.assets, "path": value.path, "uri": value.uri}
        _mark(into, ARCHIVE_SIGNATURE, {k: v for k, v in given.items() if v is not None}, keep_secrets)
    else:
        raise TypeError(f"cannot encode a {type(value).__name__} as a property value")


def _mark(into: struct_pb2.Value, signature: str, fields: dict[str, Any], keep_secrets: bool) -> None:
    into.struct_value.fields[SIGNATURE_KEY].string_value = signature
    for k, v in fields.items():
        _encode(v, into.struct_value.fields[k], keep_secrets)
