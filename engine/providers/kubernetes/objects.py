"""Kubernetes objects as plain dicts: names, annotations, the state a resource leaves behind, and which of its values are secret.

Secretness and shape of what is stored follow pulumi-kubernetes 4.34 (provider.go: checkpointObject, annotateSecrets), so that either
tool continues from the other's state.
"""

from __future__ import annotations

from typing import Any

from engine.values import UNKNOWN, PropertyMap, Secret, Value, contains_secret, contains_unknown, reveal, unwrap

Object = dict[str, Any]

AUTONAMED = "pulumi.com/autonamed"
SKIP_AWAIT = "pulumi.com/skipAwait"
WAIT_FOR = "pulumi.com/waitFor"
TIMEOUT_SECONDS = "pulumi.com/timeoutSeconds"
REPLACE_UNREADY = "pulumi.com/replaceUnready"
PATCH_FORCE = "pulumi.com/patchForce"
PATCH_FIELD_MANAGER = "pulumi.com/patchFieldManager"
DELETION_PROPAGATION = "pulumi.com/deletionPropagationPolicy"
HELM_HOOK = "helm.sh/hook"
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"

INPUTS_KEY = "__inputs"
API_VERSION_KEY = "__initialApiVersion"
FIELD_MANAGER_KEY = "__fieldManager"

_DASHED = {
    "x_kubernetes_embedded_resource": "x-kubernetes-embedded-resource",
    "x_kubernetes_int_or_string": "x-kubernetes-int-or-string",
    "x_kubernetes_list_map_keys": "x-kubernetes-list-map-keys",
    "x_kubernetes_list_type": "x-kubernetes-list-type",
    "x_kubernetes_map_type": "x-kubernetes-map-type",
    "x_kubernetes_preserve_unknown_fields": "x-kubernetes-preserve-unknown-fields",
    "x_kubernetes_validations": "x-kubernetes-validations",
}
"""Keys of CustomResourceDefinition schemas whose dashes the SDKs cannot write."""
_UNDERSCORED = {v: k for k, v in _DASHED.items()}


def _rename(value: Value, names: dict[str, str]) -> Value:
    if isinstance(value, dict):
        return {names.get(k, k): _rename(v, names) for k, v in value.items()}
    if isinstance(value, list):
        return [_rename(v, names) for v in value]
    return value


def _without_nulls(value: Value) -> Value:
    if isinstance(value, dict):
        return {k: _without_nulls(v) for k, v in value.items() if v is not None}
    if isinstance(value, list):
        return [_without_nulls(v) for v in value]
    return value


def to_object(properties: PropertyMap) -> Object:
    """Properties as a Kubernetes object: secrets opened, nulls left out, dashes put back. Unknown values stay."""
    result: Object = _rename(_without_nulls(reveal(properties)), _DASHED)
    return result


def metadata(obj: Object) -> Object:
    found = obj.get("metadata")
    return found if isinstance(found, dict) else {}


def _text(value: Value) -> str:
    return value if isinstance(value, str) else ""


def name_of(obj: Object) -> str:
    return _text(metadata(obj).get("name"))


def namespace_of(obj: Object) -> str:
    return _text(metadata(obj).get("namespace"))


def kind_of(obj: Object) -> str:
    return _text(obj.get("kind"))


def api_version_of(obj: Object) -> str:
    return _text(obj.get("apiVersion"))


def set_metadata(obj: Object, key: str, value: str) -> None:
    """Sets, or with "" removes, a text field of the metadata; a metadata that is not known yet is left alone."""
    if obj.get("metadata") is UNKNOWN:
        return
    meta = obj.setdefault("metadata", {})
    if value:
        meta[key] = value
    else:
        meta.pop(key, None)


def annotation(obj: Object, key: str) -> str:
    found = metadata(obj).get("annotations")
    return _text(found.get(key)) if isinstance(found, dict) else ""


def annotate(obj: Object, key: str, value: str) -> None:
    meta = obj.setdefault("metadata", {})
    if meta is UNKNOWN or meta.get("annotations") is UNKNOWN:
        return
    meta.setdefault("annotations", {})[key] = value


def is_true(obj: Object, key: str) -> bool:
    return annotation(obj, key) == "true"


def is_secret(obj: Object) -> bool:
    return kind_of(obj) == "Secret" and api_version_of(obj) in ("v1", "core/v1")


def is_config_map(obj: Object) -> bool:
    return kind_of(obj) == "ConfigMap" and api_version_of(obj) in ("v1", "core/v1")


def is_crd(obj: Object) -> bool:
    return kind_of(obj) == "CustomResourceDefinition" and api_version_of(obj).startswith("apiextensions.k8s.io/")


def full_name(obj: Object) -> str:
    """A resource's id: `namespace/name`, or `name` for what has no namespace."""
    namespace = namespace_of(obj)
    return f"{namespace}/{name_of(obj)}" if namespace else name_of(obj)


def split_id(id_: str) -> tuple[str, str]:
    """(namespace, name) of an id."""
    namespace, slash, name = id_.partition("/")
    return (namespace, name) if slash else ("", namespace)


def name_is_unknown(obj: Object, key: str = "name") -> bool:
    return metadata(obj).get(key) is UNKNOWN


def is_named(obj: Object) -> bool:
    return name_is_unknown(obj) or name_of(obj) != ""


def pluck(obj: Value, *path: str) -> Value:
    """The value at a path of keys, None where there is none."""
    for key in path:
        obj = obj.get(key) if isinstance(obj, dict) else None
    return obj


def prune(source: Value, shape: Value) -> Value:
    """`source` reduced to what has a counterpart in `shape`: live state seen through the eyes of the inputs that made it."""
    if isinstance(source, dict) and isinstance(shape, dict):
        return {k: prune(v, shape[k]) for k, v in source.items() if k in shape}
    if isinstance(source, list) and isinstance(shape, list):
        if source and shape and type(source[0]) is not type(shape[0]):
            return list(source)
        return [prune(s, t) for s, t in zip(source, shape, strict=False)]
    return source


def mark_secrets(outs: PropertyMap, ins: PropertyMap | None) -> PropertyMap:
    """`outs` with the secretness of `ins`; the data of a Secret is always secret.

    Objects are compared key by key; a list that holds any secret is secret as a whole, because servers reorder lists.
    """
    if outs.get("kind") == "Secret":
        sealed = {k: _sealed(v) if k in ("data", "stringData") else v for k, v in outs.items()}
        annotations = pluck(outs, "metadata", "annotations")
        if isinstance(annotations, dict) and LAST_APPLIED in annotations:  # `kubectl apply` keeps the whole object there, data included
            kept = {**annotations, LAST_APPLIED: _sealed(annotations[LAST_APPLIED])}
            sealed["metadata"] = {**outs["metadata"], "annotations": kept}
        return sealed
    result = dict(outs)
    for key, given in (ins or {}).items():
        if key not in result:
            continue
        if isinstance(result[key], dict) and isinstance(given, dict):
            result[key] = mark_secrets(result[key], given)
        elif contains_secret(given):
            result[key] = _sealed(result[key])
    return result


def _sealed(value: Value) -> Value:
    return value if isinstance(value, Secret) else Secret(reveal(value))


def checkpoint(inputs: Object, live: Object, given: PropertyMap, api_version: str, manager: str) -> PropertyMap:
    """What is stored as outputs: the live object, the inputs it was made of, and the field manager it was made by."""
    result = mark_secrets(_rename(live, _UNDERSCORED), given)
    result[INPUTS_KEY] = mark_secrets(_rename(inputs, _UNDERSCORED), given)
    result[API_VERSION_KEY] = api_version
    result[FIELD_MANAGER_KEY] = manager
    return result


def from_checkpoint(outputs: PropertyMap) -> tuple[Object, Object]:
    """(inputs, live object) of stored outputs. `live` keeps `__fieldManager` and `__initialApiVersion`, which no inputs name."""
    live = to_object(outputs)
    if isinstance(live.get("inputs"), dict) and isinstance(live.get("live"), dict):  # stored by releases before 1.0
        return live["inputs"], live["live"]
    inputs = live.pop(INPUTS_KEY, {})
    return inputs, live


def stored(outputs: PropertyMap, key: str) -> str:
    return _text(unwrap(outputs.get(key)))


def has_unknown(obj: Object) -> bool:
    return contains_unknown(obj)


def to_properties(obj: Object) -> PropertyMap:
    result: PropertyMap = _rename(obj, _UNDERSCORED)
    return result
