"""State as JSON: Pulumi's deployment format, version 3."""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Callable
from typing import Any, Protocol

from engine.model import CustomTimeouts, PendingOperation, ResourceState, Snapshot, is_provider, split_provider_ref
from engine.values import (
    ARCHIVE_SIGNATURE,
    ASSET_SIGNATURE,
    RESOURCE_SIGNATURE,
    SECRET_SIGNATURE,
    SIGNATURE_KEY,
    UNKNOWN,
    UNKNOWN_STRING,
    Archive,
    Asset,
    ResourceRef,
    Secret,
    Value,
)
from engine.wire import number

VERSION = 3
ENGINE_VERSION = "v3.272.0"
"""The Pulumi version whose format this is; the real CLI reads states of its own or an older version."""


class CheckpointError(Exception):
    """A state file cannot be used; the message says what is wrong with it."""


class Crypter(Protocol):
    """What encrypts secrets; `state` is recorded so that the next run can make it again."""

    state: str

    def encrypt(self, plaintext: str) -> str: ...
    def decrypt(self, ciphertext: str) -> str: ...


# -- values ------------------------------------------------------------------------------------------------------------


def encode_value(value: Value, crypter: Crypter) -> Any:
    """A property value as JSON; secrets encrypted, each over the JSON text of what it holds."""
    if isinstance(value, dict):
        return {k: encode_value(v, crypter) for k, v in value.items()}
    if isinstance(value, list):
        return [encode_value(v, crypter) for v in value]
    if isinstance(value, Secret):
        if value.sealed is not None and value.sealed[0] == crypter.state:
            return {SIGNATURE_KEY: SECRET_SIGNATURE, "ciphertext": value.sealed[1]}
        text = json.dumps(encode_value(value.value, crypter), separators=(",", ":"), ensure_ascii=False)
        return {SIGNATURE_KEY: SECRET_SIGNATURE, "ciphertext": crypter.encrypt(text)}
    if value is UNKNOWN:
        return UNKNOWN_STRING
    if isinstance(value, float):
        return number(value)
    return _encode_reference(value, crypter)


def _encode_reference(value: Value, crypter: Crypter) -> Any:
    if isinstance(value, ResourceRef):
        ref: dict[str, Any] = {SIGNATURE_KEY: RESOURCE_SIGNATURE, "urn": value.urn}
        if value.id is not None:
            ref["id"] = encode_value(value.id, crypter)
        return {**ref, "packageVersion": value.package_version} if value.package_version else ref
    if isinstance(value, Asset):
        fields = {"hash": value.hash or None, "text": value.text, "path": value.path, "uri": value.uri}
        return {SIGNATURE_KEY: ASSET_SIGNATURE, **{k: v for k, v in fields.items() if v is not None}}
    if isinstance(value, Archive):
        assets = None if value.assets is None else encode_value(dict(value.assets), crypter)
        parts = {"hash": value.hash or None, "assets": assets, "path": value.path, "uri": value.uri}
        return {SIGNATURE_KEY: ARCHIVE_SIGNATURE, **{k: v for k, v in parts.items() if v is not None}}
    return value


def decode_value(value: Any, crypter: Crypter) -> Value:
    """The inverse of `encode_value`. Raises CheckpointError for a signature it does not know."""
    if isinstance(value, list):
        return [decode_value(v, crypter) for v in value]
    if isinstance(value, float):
        return number(value)
    if value == UNKNOWN_STRING:
        return UNKNOWN
    if not isinstance(value, dict):
        return value
    signature = value.get(SIGNATURE_KEY)
    if signature is None:
        return {k: decode_value(v, crypter) for k, v in value.items()}
    return _decode_special(signature, value, crypter)


def _decode_special(signature: Any, value: dict[str, Any], crypter: Crypter) -> Value:
    if signature == SECRET_SIGNATURE:
        if "ciphertext" not in value:
            return Secret(decode_value(json.loads(value["plaintext"]), crypter))
        text = crypter.decrypt(value["ciphertext"])
        return Secret(decode_value(json.loads(text), crypter), sealed=(crypter.state, value["ciphertext"]))
    if signature == RESOURCE_SIGNATURE:
        id_ = decode_value(value["id"], crypter) if "id" in value else None
        return ResourceRef(value["urn"], id_, value.get("packageVersion", ""))
    if signature == ASSET_SIGNATURE:
        return Asset(value.get("hash", ""), value.get("text"), value.get("path"), value.get("uri"))
    if signature == ARCHIVE_SIGNATURE:
        assets = decode_value(value["assets"], crypter) if "assets" in value else None
        return Archive(value.get("hash", ""), assets, value.get("path"), value.get("uri"))
    raise CheckpointError(f"the state holds a value of the unknown kind {signature!r}; it was written by a newer Pulumi.")


# -- resources ---------------------------------------------------------------------------------------------------------

_PLAIN = {
    "delete": "delete",
    "id": "id",
    "parent": "parent",
    "protect": "protect",
    "taint": "taint",
    "external": "external",
    "dependencies": "dependencies",
    "init_errors": "initErrors",
    "provider": "provider",
    "property_dependencies": "propertyDependencies",
    "pending_replacement": "pendingReplacement",
    "additional_secret_outputs": "additionalSecretOutputs",
    "aliases": "aliases",
    "import_id": "importID",
    "retain_on_delete": "retainOnDelete",
    "deleted_with": "deletedWith",
    "replace_with": "replaceWith",
    "created": "created",
    "modified": "modified",
    "source_position": "sourcePosition",
    "ignore_changes": "ignoreChanges",
    "hide_diff": "hideDiff",
    "replace_on_changes": "replaceOnChanges",
    "refresh_before_update": "refreshBeforeUpdate",
    "view_of": "viewOf",
    "resource_hooks": "resourceHooks",
}
"""Fields that are written as they are, and left out when empty."""


def encode_resource(state: ResourceState, crypter: Crypter) -> dict[str, Any]:
    encoded: dict[str, Any] = {"urn": state.urn, "custom": state.custom}
    for name, key in _PLAIN.items():
        value = getattr(state, name)
        if value:
            encoded[key] = value
    encoded["type"] = state.type
    if state.inputs:
        encoded["inputs"] = encode_value(state.inputs, crypter)
    if state.outputs:
        encoded["outputs"] = encode_value(state.outputs, crypter)
    timeouts = {k: v for k in ("create", "update", "delete") if (v := getattr(state.custom_timeouts, k)) is not None}
    if timeouts:
        encoded["customTimeouts"] = timeouts
    if state.replacement_trigger is not None:
        encoded["replacementTrigger"] = encode_value(state.replacement_trigger, crypter)
    return {**encoded, **state.extra}


_OWN = {"urn", "custom", "type", "inputs", "outputs", "customTimeouts", "replacementTrigger"}


def decode_resource(encoded: dict[str, Any], crypter: Crypter) -> ResourceState:
    keys = set(_PLAIN.values()) | _OWN
    fields: dict[str, Any] = {name: encoded[key] for name, key in _PLAIN.items() if encoded.get(key) is not None}
    timeouts = encoded.get("customTimeouts") or {}
    return ResourceState(
        urn=encoded["urn"],
        type=encoded["type"],
        custom=bool(encoded.get("custom")),
        inputs=decode_value(encoded.get("inputs") or {}, crypter),
        outputs=decode_value(encoded.get("outputs") or {}, crypter),
        custom_timeouts=CustomTimeouts(timeouts.get("create"), timeouts.get("update"), timeouts.get("delete")),
        replacement_trigger=decode_value(encoded.get("replacementTrigger"), crypter),
        extra={k: v for k, v in encoded.items() if k not in keys},
        **fields,
    )


# -- deployments -------------------------------------------------------------------------------------------------------


def encode_deployment(snapshot: Snapshot, crypter: Crypter) -> dict[str, Any]:
    deployment: dict[str, Any] = _frame(crypter)
    if snapshot.resources:
        deployment["resources"] = [encode_resource(r, crypter) for r in snapshot.resources]
    if snapshot.pending_operations:
        deployment["pending_operations"] = [
            {"resource": encode_resource(p.resource, crypter), "type": p.type} for p in snapshot.pending_operations
        ]
    deployment["metadata"] = snapshot.metadata
    return deployment


def deployment_text(snapshot: Snapshot, crypter: Crypter, text_of: Callable[[ResourceState], str]) -> str:
    """`encode_deployment` as JSON, put together from the texts of the resources, so that a caller may keep those it has."""
    parts = {key: dumps(value) for key, value in _frame(crypter).items()}
    if snapshot.resources:
        parts["resources"] = f"[{','.join(text_of(r) for r in snapshot.resources)}]"
    if snapshot.pending_operations:
        pending = (f'{{"resource":{text_of(p.resource)},"type":{dumps(p.type)}}}' for p in snapshot.pending_operations)
        parts["pending_operations"] = f"[{','.join(pending)}]"
    parts["metadata"] = dumps(snapshot.metadata)
    return "{" + ",".join(f"{dumps(key)}:{value}" for key, value in parts.items()) + "}"


def _frame(crypter: Crypter) -> dict[str, Any]:
    now = datetime.datetime.now(datetime.UTC).isoformat().replace("+00:00", "Z")
    return {
        "manifest": {"time": now, "magic": hashlib.sha256(ENGINE_VERSION.encode()).hexdigest(), "version": ENGINE_VERSION},
        "secrets_providers": {"type": "passphrase", "state": {"salt": crypter.state}},
    }


def salt_of(document: dict[str, Any]) -> str:
    """The secrets state of a stored document. Raises CheckpointError for another secrets provider."""
    deployment = deployment_of(document) or {}
    providers = deployment.get("secrets_providers")
    if not providers:
        return ""
    if providers.get("type") != "passphrase":
        raise CheckpointError(f"the stack's secrets provider is {providers.get('type')!r}; the embedded engine has `passphrase` only.")
    return str((providers.get("state") or {}).get("salt", ""))


def deployment_of(document: dict[str, Any]) -> dict[str, Any] | None:
    """The deployment in an export (`deployment`) or in a stored checkpoint (`checkpoint.latest`); None when there is none yet."""
    version = document.get("version")
    if version != VERSION:
        features = ", ".join(document.get("features") or []) or "none named"
        raise CheckpointError(f"the state has format version {version} (features: {features}); the embedded engine reads version 3 only.")
    if "checkpoint" in document:
        latest: dict[str, Any] | None = document["checkpoint"].get("latest")
        return latest
    deployment: dict[str, Any] | None = document.get("deployment")
    return deployment


def decode_deployment(deployment: dict[str, Any] | None, crypter: Crypter) -> Snapshot:
    """The state in a deployment. Raises CheckpointError when it is not one, SecretsError when it cannot be decrypted."""
    if deployment is None:
        return Snapshot()
    try:
        return Snapshot(
            resources=[decode_resource(r, crypter) for r in deployment.get("resources") or []],
            pending_operations=[
                PendingOperation(decode_resource(p["resource"], crypter), p["type"]) for p in deployment.get("pending_operations") or []
            ],
            metadata=deployment.get("metadata") or {},
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise CheckpointError(f"the state is damaged: {type(error).__name__} {error} while reading its resources.") from None


def dumps(document: Any) -> str:
    """JSON without spaces, as the CLI writes states since 3.238; indented, writing takes ten times as long."""
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False)


def integrity_errors(snapshot: Snapshot) -> list[str]:
    """What Pulumi's own check would say of a state: references to what is missing or comes later, ids out of place."""
    seen: set[str] = set()
    providers: set[str] = set()
    errors: list[str] = []
    for state in snapshot.resources:
        errors += _reference_errors(state, seen, providers)
        if not state.delete and state.urn in seen and not state.pending_replacement:
            errors.append(f"duplicate resource {state.urn}")
        seen.add(state.urn)
        if is_provider(state.type):
            providers.add(f"{state.urn}::{state.id}")
    return errors


def _reference_errors(state: ResourceState, seen: set[str], providers: set[str]) -> list[str]:
    def check(what: str, urn: str) -> list[str]:
        return [] if not urn or urn in seen else [f"{state.urn}: {what} {urn} is missing or later"]

    errors = check("parent", state.parent) + check("deletedWith", state.deleted_with)
    for urn in state.dependencies:
        errors += check("dependency", urn)
    for urns in state.property_dependencies.values():
        for urn in urns:
            errors += check("property dependency", urn)
    if state.provider and state.provider not in providers:
        errors.append(f"{state.urn}: provider {split_provider_ref(state.provider)[0]} is missing or later")
    if not state.custom and state.id:
        errors.append(f"{state.urn}: a component has an id")
    return errors
