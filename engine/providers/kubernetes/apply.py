"""Writing objects to the cluster as pulumi-kubernetes 4.34 does in its server-side apply mode (await.go).

A creation is a plain POST by the manager `pulumi-kubernetes`, so that an object that exists already is an error and not silently taken
over; every later change is a server-side apply by the resource's own manager, which inherits the fields of the first.
With `enableServerSideApply: false` a change is a merge patch of what differs between old and new inputs.
"""

from __future__ import annotations

import copy
import json
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from engine.paths import parse, render
from engine.provider import Call, ProviderError
from engine.providers.kubernetes import kinds
from engine.providers.kubernetes.client import APPLY, JSON_PATCH, MERGE, STRATEGIC, ApiError, Client, NoMatchError, Resource
from engine.providers.kubernetes.difference import merge_patch
from engine.providers.kubernetes.managed_fields import FieldSet, taken_over
from engine.providers.kubernetes.objects import (
    DELETION_PROPAGATION,
    PATCH_FIELD_MANAGER,
    PATCH_FORCE,
    Object,
    annotation,
    api_version_of,
    full_name,
    is_crd,
    is_true,
    kind_of,
    metadata,
    name_of,
    namespace_of,
    pluck,
    prune,
)
from engine.providers.kubernetes.settings import Settings

CLIENT_SIDE_MANAGER = "pulumi-kubernetes"
ATTEMPTS = 5
"""Tries of a creation whose namespace or definition is not there yet: charts and YAML files are often out of order."""
FIRST_PAUSE = 1.0
"""Seconds before the second try; doubled after each."""
CONFLICT_HELP = (
    "https://www.pulumi.com/registry/packages/kubernetes/how-to-guides/managing-resources-with-server-side-apply/"
    "#handle-field-conflicts-on-existing-resources"
)


def manager_name(server_side: bool, stored: str, inputs: Object) -> str:
    """The field manager: the object's annotation, else the one its state remembers, else a new one."""
    if not server_side:
        return CLIENT_SIDE_MANAGER
    return annotation(inputs, PATCH_FIELD_MANAGER) or stored or f"{CLIENT_SIDE_MANAGER}-{secrets.token_hex(4)}"


_CHILDLESS = frozenset({
    "ConfigMap", "Secret", "ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding", "NetworkPolicy", "LimitRange",
    "ResourceQuota", "PodDisruptionBudget", "HorizontalPodAutoscaler", "PriorityClass", "StorageClass",
})  # fmt: skip
"""Kinds that own no other objects. A foreground deletion has the garbage collector look for children first, at some 13 objects a second
(300 ConfigMaps: 22 s, in the background 1 s). Should something own children through one of these after all, they still go, only later."""


def propagation(inputs: Object) -> str:
    """How dependents go on deletion: first (Foreground, the default where there can be any), afterwards, or not at all."""
    wanted = annotation(inputs, DELETION_PROPAGATION).lower()
    if not wanted and kind_of(inputs) in _CHILDLESS and f"{api_version_of(inputs)}/{kind_of(inputs)}" in kinds.kinds():
        return "Background"
    return {"orphan": "Orphan", "background": "Background"}.get(wanted, "Foreground")


@dataclass(frozen=True)
class Writer:
    """Creates and changes objects of one cluster."""

    client: Client
    settings: Settings
    default_namespace: str

    @property
    def server_side(self) -> bool:
        return self.settings.flag("enableServerSideApply")

    def resource(self, obj: Object) -> Resource:
        return self.client.resource(kinds.kind_of_type(api_version_of(obj), kind_of(obj)))

    def namespace(self, obj: Object, resource: Resource) -> str:
        return (namespace_of(obj) or self.default_namespace or "default") if resource.namespaced else ""

    def read(self, obj: Object, name: str = "") -> Object:
        """The live object that `obj` names. Raises ApiError and NoMatchError."""
        resource = self.resource(obj)
        return self.client.get(resource, self.namespace(obj, resource), name or name_of(obj))

    def create(self, call: Call, inputs: Object, manager: str, *, patch: bool) -> Object:
        """Creates the object, trying again while its namespace or definition is missing. In preview: a dry run, tried once."""
        pause = FIRST_PAUSE
        for attempt in range(ATTEMPTS):
            try:
                return self._create(call, inputs, manager, patch=patch)
            except (ApiError, NoMatchError) as error:
                retry = isinstance(error, NoMatchError) or error.not_found
                if not (call.preview and isinstance(error, ApiError) and error.namespace_missing):
                    call.log("info", f"Retry #{attempt}; creation failed: {error}", True)
                if not retry or call.preview or attempt == ATTEMPTS - 1 or call.cancelled.wait(pause):
                    raise
                pause *= 2
        raise AssertionError("unreachable")

    def _create(self, call: Call, inputs: Object, manager: str, *, patch: bool) -> Object:
        resource = self.resource(inputs)
        namespace = self.namespace(inputs, resource)
        if self.server_side and (patch or self.settings.flag("upsertExistingObjects")):
            return self._upsert(call, resource, namespace, inputs, manager)
        body = copy.deepcopy(inputs)
        if not resource.namespaced:
            metadata(body).pop("namespace", None)
        query = {"fieldManager": CLIENT_SIDE_MANAGER, **_dry(call)}
        try:
            return self.client.create(resource, namespace, body, query)
        except ApiError as error:
            if not (call.adopt and error.already_exists):
                raise
        # The run that made it did not live to record it. What it made is brought to what is wanted now.
        existing = self.client.get(resource, namespace, name_of(inputs))
        if self.server_side:
            return self._apply(call, resource, namespace, existing, body, manager, (), patch=False)
        return self._merge(call, resource, namespace, existing, prune(existing, body), body, ())

    def _upsert(self, call: Call, resource: Resource, namespace: str, inputs: Object, manager: str) -> Object:
        query = {"fieldManager": manager, "force": _bool(self._force(inputs, None, call.preview)), "fieldValidation": "Warn", **_dry(call)}
        try:
            return self.client.patch(resource, namespace, name_of(inputs), inputs, APPLY, query)
        except ApiError as error:
            raise explained(error, manager) from None

    def update(
        self, call: Call, old_inputs: Object, old_live: Object, inputs: Object, manager: str, ignored: Sequence[str], *, patch: bool
    ) -> tuple[Object, Object]:
        """Changes the object; (live object before, live object after). Raises ApiError, NoMatchError."""
        resource = self.resource(inputs)
        namespace = self.namespace(inputs, resource)
        name = name_of(old_live)
        live = self.client.get(resource, namespace, name)
        if is_crd(inputs):
            # Definitions are replaced whole: a patch would merge lists of versions in ways their validation refuses.
            body = copy.deepcopy(inputs)
            metadata(body)["resourceVersion"] = metadata(live).get("resourceVersion")
            return live, self.client.replace(resource, namespace, name, body, {"fieldManager": manager, **_dry(call)})
        body = copy.deepcopy(inputs)
        if self.server_side:
            write: Callable[[], Object] = lambda: self._apply(call, resource, namespace, live, body, manager, ignored, patch=patch)  # noqa: E731
        else:
            write = lambda: self._merge(call, resource, namespace, live, old_inputs, body, ignored)  # noqa: E731
        return live, write()

    def _apply(
        self,
        call: Call,
        resource: Resource,
        namespace: str,
        live: Object,
        body: Object,
        manager: str,
        ignored: Sequence[str],
        *,
        patch: bool,
    ) -> Object:
        if not call.preview and not patch:
            entries = taken_over(metadata(live).get("managedFields") or [], manager)
            if entries is not None:
                steps = [{"op": "replace", "path": "/metadata/managedFields", "value": entries}]
                live = self.client.patch(resource, namespace, name_of(live), steps, JSON_PATCH, {})
        _leave_ignored(body, live, manager, ignored)
        metadata(body).setdefault("name", name_of(live))  # an object that the server named by generateName
        if not resource.namespaced:
            metadata(body).pop("namespace", None)
        query = {"fieldManager": manager, "force": _bool(self._force(body, live, call.preview)), **_dry(call)}
        try:
            return self.client.patch(resource, namespace, name_of(live), body, APPLY, query)
        except ApiError as error:
            raise explained(error, manager) from None

    def _merge(
        self, call: Call, resource: Resource, namespace: str, live: Object, old: Object, body: Object, ignored: Sequence[str]
    ) -> Object:
        for path in ignored:
            keys = _keys(path)
            value = pluck(live, *keys)
            if value is not None:
                _set(body, keys, value)
        patch = merge_patch(old, body)
        query = {"fieldManager": CLIENT_SIDE_MANAGER, **_dry(call)}
        builtin = f"{api_version_of(body)}/{kind_of(body)}" in kinds.kinds()
        return self.client.patch(resource, namespace, name_of(live), patch, STRATEGIC if builtin else MERGE, query)

    def _force(self, inputs: Object, live: Object | None, preview: bool) -> bool:
        """Whether to take fields that another manager owns. In preview also where an update will first inherit them, so that
        no conflict is shown that will not be."""
        if is_true(inputs, PATCH_FORCE) or self.settings.flag("enablePatchForce"):
            return True
        if not preview:
            return False
        if live is None:
            return True
        return any(
            e.get("operation") == "Update"
            and e.get("manager") in ("pulumi-resource-kubernetes", CLIENT_SIDE_MANAGER, "pulumi-kubernetes.exe")
            for e in metadata(live).get("managedFields") or []
        )

    def relinquish(self, obj: Object, manager: str) -> None:
        """Gives up all fields of a manager: an empty apply. What nobody else owns is removed by the server."""
        resource = self.resource(obj)
        identity: dict[str, Any] = {"name": name_of(obj)}
        if resource.namespaced:
            identity["namespace"] = self.namespace(obj, resource)
        body = {"apiVersion": api_version_of(obj), "kind": kind_of(obj), "metadata": identity}
        query = {"fieldManager": manager, "force": "true"}
        self.client.patch(resource, self.namespace(obj, resource), name_of(obj), body, APPLY, query)


def _dry(call: Call) -> dict[str, str]:
    return {"dryRun": "All"} if call.preview else {}


def _bool(value: bool) -> str:
    return "true" if value else "false"


def explained(error: ApiError, manager: str) -> ApiError:
    """A field conflict with what to do about it; other errors as they are."""
    if not error.conflict:
        return error
    text = (
        f"Server-Side Apply field conflict detected. See {CONFLICT_HELP} for troubleshooting help.\n"
        f'The resource managed by field manager "{manager}" had an apply conflict: {error}\n'
        f'To take these fields over, set the annotation `{PATCH_FORCE}: "true"` on the object; to leave them to the other manager, '
        "remove them from the program or list them in ignore_changes."
    )
    return ApiError(error.status, text, error.reason, error.details)


def _keys(path: str) -> tuple[str, ...]:
    """The keys of an ignoreChanges path, as the provider reads it: split at dots, indexes are not followed."""
    try:
        return tuple(render(parse(path)).split("."))
    except ValueError as error:
        raise ProviderError(f"ignoreChanges: {error}") from None


def _leave_ignored(body: Object, live: Object, manager: str, ignored: Sequence[str]) -> None:
    """Keeps an apply from changing ignored fields: left out where another manager owns them alone, sent as they are where we do."""
    if not ignored:
        return
    ours, theirs = FieldSet(), FieldSet()
    for entry in metadata(live).get("managedFields") or []:
        (ours if entry.get("manager") == manager else theirs).add(entry.get("fieldsV1") or {})
    for path in ignored:
        keys = _keys(path)
        if theirs.has(keys) and not ours.has(keys):
            _remove(body, keys)
        elif (value := pluck(live, *keys)) is not None:
            _set(body, keys, value)


def _set(obj: Object, keys: Sequence[str], value: Any) -> None:
    for key in keys[:-1]:
        below = obj.setdefault(key, {})
        if not isinstance(below, dict):
            raise ProviderError(f"ignoreChanges: {'.'.join(keys)!r} cannot be kept: {key!r} is not an object in the program.")
        obj = below
    obj[keys[-1]] = json.loads(json.dumps(value))


def _remove(obj: Object, keys: Sequence[str]) -> None:
    parent = pluck(obj, *keys[:-1])
    if isinstance(parent, dict):
        parent.pop(keys[-1], None)


def describe(obj: Object) -> str:
    return f"{api_version_of(obj)}/{kind_of(obj)} {full_name(obj)!r}"
