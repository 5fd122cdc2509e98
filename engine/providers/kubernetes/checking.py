"""Check: inputs completed (name, namespace) and brought into the form that is stored."""

from __future__ import annotations

from engine.provider import Call, Checked, CheckFailure, ProviderError
from engine.providers.kubernetes import kinds, naming
from engine.providers.kubernetes.normalize import normalize
from engine.providers.kubernetes.objects import (
    AUTONAMED,
    HELM_HOOK,
    Object,
    is_crd,
    is_named,
    kind_of,
    mark_secrets,
    metadata,
    namespace_of,
    pluck,
    set_metadata,
    to_object,
    to_properties,
)
from engine.providers.kubernetes.session import Session
from engine.values import UNKNOWN, PropertyMap, contains_secret

MANAGED_BY = "app.kubernetes.io/managed-by"
_LIST = (
    "list resources exist for compatibility with YAML manifests and Helm charts, and cannot be created directly. "
    "Use the underlying resource type instead"
)
_HOOKS = (
    "This resource contains Helm hooks that are not currently supported by Pulumi. The resource will be created, but any hooks will not be "
    "executed. This warning can be disabled by setting the PULUMI_K8S_SUPPRESS_HELM_HOOK_WARNINGS environment variable"
)


def check(session: Session, call: Call, old_inputs: PropertyMap | None, inputs: PropertyMap, random_seed: bytes) -> Checked:
    kind = kinds.kind_of_urn(call.urn)
    if kinds.is_list(call.urn):
        raise ProviderError(f"{call.urn}: {_LIST}")
    if session.settings.flag("skipUpdateUnreachable") and not session.rendering and session.why_unreachable():
        session.warn_once(call, "Cluster is unreachable but skipUpdateUnreachable flag is set to true, skipping...")
        return Checked(old_inputs if old_inputs is not None else inputs)
    new = normalize(to_object(inputs))
    _warn(session, call, new)
    if failures := _failures(session, call, new):
        return Checked(inputs, failures)
    old = to_object(old_inputs) if old_inputs else {}
    if old:
        naming.adopt(new, old)
    else:
        naming.assign(new, call.urn, random_seed)
    if _has_label(old) or not (old or session.server_side):
        _label(new)
    if session.namespace and metadata(new).get("namespace") is not UNKNOWN and not namespace_of(new) and session.is_namespaced(kind):
        set_metadata(new, "namespace", session.namespace)
    if is_crd(new):
        session.remember_scope(new)
    if session.rendering and contains_secret(inputs):
        call.log("warning", "rendered YAML will contain a secret value in plaintext", False)
    return Checked(mark_secrets(to_properties(new), inputs))


def _has_label(obj: Object) -> bool:
    return bool(pluck(obj, "metadata", "labels", MANAGED_BY) == "pulumi")


def _label(obj: Object) -> None:
    """Client-side mode has no field managers to tell whose an object is, so a label says it."""
    meta = obj.setdefault("metadata", {})
    if meta is not UNKNOWN and meta.get("labels") is not UNKNOWN:
        meta.setdefault("labels", {})[MANAGED_BY] = "pulumi"


def _warn(session: Session, call: Call, new: Object) -> None:
    annotations = metadata(new).get("annotations")
    for key, value in (annotations if isinstance(annotations, dict) else {}).items():
        if key.startswith(AUTONAMED):
            call.log("warning", f'ignoring user-specified value for internal annotation "{key}"', False)
        if key.startswith(HELM_HOOK) and "test" in str(value) and not session.settings.flag("suppressHelmHookWarnings"):
            call.log("warning", _HOOKS, False)


def _failures(session: Session, call: Call, new: Object) -> list[CheckFailure]:
    if kinds.is_patch(call.urn, kind_of(new)):
        if not session.server_side:
            return [CheckFailure("", "patch resources require Server-Side Apply mode: set kubernetes:enableServerSideApply to true")]
        if not is_named(new):
            return [CheckFailure("metadata.name", "patch resources require the `.metadata.name` field to be set")]
    if naming.generate_name(new) and (session.rendering or session.settings.flag("upsertExistingObjects")):
        # Both need to know the name beforehand.
        mode = "YAML rendering mode" if session.rendering else "Server-Side Apply mode with upsertExistingObjects"
        return [CheckFailure("metadata.generateName", f"the `.metadata.generateName` field is not supported in {mode}")]
    return []
