"""The Kubernetes provider: what pulumi-kubernetes 4.34 does for a program's objects, in the same words and with the same state.

The state of an object is the live object plus `__inputs`, `__initialApiVersion` and `__fieldManager`; see `objects`.
"""

from __future__ import annotations

from collections.abc import Sequence

from engine.provider import Call, Checked, Created, Diff, InitError, Provider, ProviderError, Read
from engine.providers.kubernetes import kinds, render
from engine.providers.kubernetes.apply import manager_name, propagation
from engine.providers.kubernetes.checking import check
from engine.providers.kubernetes.client import ApiError, NoMatchError
from engine.providers.kubernetes.comparing import compare
from engine.providers.kubernetes.configuration import check_configuration, replacing_configuration
from engine.providers.kubernetes.decode import decode
from engine.providers.kubernetes.normalize import READ_ONLY, normalize
from engine.providers.kubernetes.objects import (
    API_VERSION_KEY,
    FIELD_MANAGER_KEY,
    LAST_APPLIED,
    Object,
    annotate,
    annotation,
    api_version_of,
    checkpoint,
    from_checkpoint,
    full_name,
    has_unknown,
    kind_of,
    mark_secrets,
    metadata,
    name_of,
    namespace_of,
    prune,
    set_metadata,
    split_id,
    stored,
    to_object,
    to_properties,
)
from engine.providers.kubernetes.session import Session
from engine.providers.kubernetes.settings import read
from engine.providers.kubernetes.waiting import WaitError, point_in_time, until_deleted, until_ready
from engine.values import PropertyMap, Value, contains_secret, reveal

_DELETE_UNREACHABLE = (
    "If the cluster was deleted, you can remove this resource from Pulumi state by rerunning the operation with the "
    'PULUMI_K8S_DELETE_UNREACHABLE environment variable set to "true"'
)


class KubernetesProvider(Provider):
    """Objects of one cluster, or (`renderYamlToDirectory`) manifests in a folder."""

    accepts_secrets = True
    package = "kubernetes"

    def __init__(self) -> None:
        self._session = Session(read({}))

    # Configuration

    def check_config(self, inputs: PropertyMap) -> PropertyMap:
        check_configuration(inputs)
        return inputs

    def diff_config(self, old: PropertyMap, new: PropertyMap) -> Sequence[str]:
        return replacing_configuration(reveal(old), reveal(new))

    def configure(self, config: PropertyMap) -> None:
        self._session = Session(read(config))

    def close(self) -> None:
        self._session.writer.client.close()

    def check(self, call: Call, old_inputs: PropertyMap | None, inputs: PropertyMap, random_seed: bytes) -> Checked:
        return check(self._session, call, old_inputs, inputs, random_seed)

    def diff(
        self, call: Call, id: str, old_inputs: PropertyMap, old_outputs: PropertyMap, inputs: PropertyMap, ignore_changes: Sequence[str]
    ) -> Diff:
        return compare(self._session, call, old_outputs, inputs, ignore_changes)

    # Create, update, delete

    def create(self, call: Call, inputs: PropertyMap) -> Created:
        new = to_object(inputs)
        patch = kinds.is_patch(call.urn, kind_of(new))
        if call.preview and self._cannot_preview_create(call, new, patch):
            return Created("", inputs)
        manager = manager_name(self._session.server_side, "", new)
        if self._session.rendering:
            return Created(full_name(new) if not call.preview else "", self._render(call, new, inputs, api_version_of(new), manager))
        self._session.need_cluster()
        try:
            live = self._session.writer.create(call, new, manager, patch=patch)
        except (ApiError, NoMatchError) as error:
            if call.preview and isinstance(error, ApiError) and (error.forbidden or error.already_exists or error.namespace_missing):
                return Created("", inputs)
            raise self._creation_error(call, error) from None
        call.log("info", "", True)
        if call.preview:
            live.pop("status", None)
            return Created("", checkpoint(new, live, inputs, api_version_of(new), manager))
        live = self._awaited(call, new, live, None, inputs, api_version_of(new), manager)
        return Created(full_name(live), checkpoint(new, live, inputs, api_version_of(new), manager))

    def _cannot_preview_create(self, call: Call, new: Object, patch: bool) -> bool:
        if has_unknown(new) or patch or not self._session.server_side:
            return True
        if self._session.rendering:
            return False
        if self._session.why_unreachable():
            self._session.warn_unreachable(call)
            return True
        return not self._session.serves(new)

    def _creation_error(self, call: Call, error: ProviderError) -> ProviderError:
        if isinstance(error, NoMatchError):
            kind = kinds.kind_of_urn(call.urn)
            return ProviderError(
                f'creation of resource "{call.urn}" with kind {kind} failed because the Kubernetes API server reported that the apiVersion '
                f"for this resource does not exist. Verify that any required CRDs have been created: {error}"
            )
        return ProviderError(f'resource "{call.urn}" was not successfully created by the Kubernetes API server: {error}')

    def _awaited(
        self, call: Call, new: Object, live: Object, last: Object | None, inputs: PropertyMap, api_version: str, manager: str
    ) -> Object:
        """The live object once it is ready. Raises InitError with what is known when it does not become ready."""
        try:
            live = until_ready(call, self._session.writer, new, live, last)
        except WaitError as error:
            if last is None:
                head = (
                    f'resource "{call.urn}" was successfully created, but the Kubernetes API server reported that it failed to fully '
                    f"initialize or become live: {error}"
                )
            else:
                head = (
                    f'the Kubernetes API server reported that "{full_name(error.live)}" failed to fully initialize or become live: {error}'
                )
            outputs = checkpoint(new, error.live, inputs, api_version, manager)
            raise init_error(full_name(error.live), outputs, [head, *error.reasons], error.detail) from None
        call.log("info", "", True)
        return live

    def update(
        self, call: Call, id: str, old_inputs: PropertyMap, old_outputs: PropertyMap, inputs: PropertyMap, ignore_changes: Sequence[str]
    ) -> PropertyMap:
        new = normalize(to_object(inputs))
        if call.preview and not self._session.rendering and self._cannot_preview_update(call, new):
            return inputs
        if call.preview and has_unknown(new):
            return inputs
        checkpointed, old_live = from_checkpoint(old_outputs)
        self._forget_last_applied(checkpointed, old_live)
        old = prune(old_live, normalize(checkpointed))
        api_version = stored(old_outputs, API_VERSION_KEY) or api_version_of(checkpointed)
        server_side = self._session.server_side
        remembered = stored(old_outputs, FIELD_MANAGER_KEY)
        manager, former = manager_name(server_side, remembered, new), manager_name(server_side, remembered, checkpointed)
        if self._session.rendering:
            return self._render(call, new, inputs, api_version, manager)
        self._session.need_cluster()
        patch = kinds.is_patch(call.urn, kind_of(new))
        try:
            last, live = self._session.writer.update(call, old, old_live, new, manager, ignore_changes, patch=patch)
        except NoMatchError as error:
            raise ProviderError(
                f'update of resource "{call.urn}" failed because the Kubernetes API server reported that the apiVersion for this resource '
                f"does not exist. Verify that any required CRDs have been created: {error}"
            ) from None
        except ApiError as error:
            return self._refused(call, error, new, old_live, inputs, api_version, manager)
        if call.preview:
            return checkpoint(new, live, inputs, api_version, manager)
        live = self._awaited(call, new, live, last, inputs, api_version, manager)
        if server_side and former != manager:
            self._session.writer.relinquish(live, former)
        return checkpoint(new, live, inputs, api_version, manager)

    def _cannot_preview_update(self, call: Call, new: Object) -> bool:
        if self._session.why_unreachable():
            self._session.warn_unreachable(call)
            return True
        return not self._session.serves(new)

    @staticmethod
    def _forget_last_applied(checkpointed: Object, live: Object) -> None:
        """Has a client-side update remove the annotation that providers before 4.0 kept the inputs in; secrets show in it."""
        if (value := annotation(live, LAST_APPLIED)) and not annotation(checkpointed, LAST_APPLIED):
            annotate(checkpointed, LAST_APPLIED, value)

    def _refused(
        self, call: Call, error: ApiError, new: Object, old_live: Object, inputs: PropertyMap, api_version: str, manager: str
    ) -> PropertyMap:
        """A change that the server did not accept: recorded as an object that is not as it should be, so that the next run tries again."""
        if call.preview and error.forbidden:
            return inputs
        try:
            live = self._session.writer.read(old_live)
        except ProviderError as unread:
            raise ProviderError(f'update of resource "{call.urn}" failed: {error}\nunable to get cluster state: {unread}') from None
        head = f'the Kubernetes API server reported that "{full_name(live)}" failed to fully initialize or become live: {error}'
        raise init_error(full_name(live), checkpoint(new, live, inputs, api_version, manager), [head], "")

    def delete(self, call: Call, id: str, inputs: PropertyMap, outputs: PropertyMap) -> None:
        checkpointed, live = from_checkpoint(outputs)
        if self._session.rendering:
            call.log("info", f"deleted {render.remove(live, self._session.settings.render_directory)}", True)
            return
        if self._session.why_unreachable():
            self._session.warn_unreachable(call)
            if self._session.settings.flag("deleteUnreachable"):
                call.log("info", "the cluster is unreachable and `deleteUnreachable` is set: removing the resource from the state", False)
                return
            raise ProviderError(f"configured Kubernetes cluster is unreachable. {_DELETE_UNREACHABLE}")
        try:
            if self._session.server_side and kinds.is_patch(call.urn, kind_of(checkpointed)):
                manager = manager_name(True, stored(outputs, FIELD_MANAGER_KEY), checkpointed)
                return self._relinquish(live, manager)
            resource = self._session.writer.resource(live)
            namespace, name = self._session.writer.namespace(live, resource), split_id(id)[1] or name_of(live)
            self._session.writer.client.delete(resource, namespace, name, propagation(checkpointed))
        except NoMatchError:
            return  # the definition is gone, and with it every object of the kind
        except ApiError as error:
            if error.not_found:
                return
            raise
        until_deleted(call, self._session.writer, checkpointed, live, name)

    def _relinquish(self, live: Object, manager: str) -> None:
        try:
            self._session.writer.relinquish(live, manager)
        except ApiError as error:
            if error.invalid and "Required value" in str(error):
                raise ProviderError(
                    "this Patch resource is currently managing a required field, so it can't be deleted directly. Either set the "
                    f"`retainOnDelete` resource option, or transfer ownership of the field before deleting: {error}"
                ) from None
            raise

    def _render(self, call: Call, new: Object, inputs: PropertyMap, api_version: str, manager: str) -> PropertyMap:
        path = render.path_of(new, self._session.settings.render_directory)
        if contains_secret(inputs):
            call.log("warning", f"rendered file {path} contains a secret value in plaintext", False)
        if not call.preview:
            call.log("info", f"rendered {render.write(new, self._session.settings.render_directory)}", True)
        return checkpoint(new, new, inputs, api_version, manager)

    # Read

    def read(self, call: Call, id: str, inputs: PropertyMap | None, outputs: PropertyMap | None) -> Read:
        if not self._session.rendering and self._session.why_unreachable():
            self._session.warn_unreachable(call)
            if self._session.settings.flag("deleteUnreachable"):
                return Read("", {}, {})
            if self._session.settings.flag("skipUpdateUnreachable"):
                return Read(id, inputs or {}, outputs or {})
            raise ProviderError(f"failed to read resource state due to unreachable cluster. {_DELETE_UNREACHABLE}")
        namespace, name = split_id(id)
        if not name:
            raise ProviderError(f"{call.urn}: {id!r} is not a Kubernetes id; write `namespace/name`, or `name` for what has no namespace.")
        old = normalize(to_object(inputs or {}))
        _, old_live = from_checkpoint(outputs or {})
        from_cluster = self._identify(call, old, old_live, namespace, name)
        api_version = stored(outputs or {}, API_VERSION_KEY) or api_version_of(old)
        manager = manager_name(self._session.server_side, stored(outputs or {}, FIELD_MANAGER_KEY), old)
        if self._session.rendering:
            return Read(id, inputs or {}, checkpoint(old, old_live, outputs or {}, api_version, manager))
        try:
            live = self._session.writer.read(old, name)
        except NoMatchError:
            return Read("", {}, {})
        except ApiError as error:
            if error.not_found:
                return Read("", {}, {})
            raise
        problems = [] if from_cluster else point_in_time(call, self._session.writer, live, old)
        found = prune(live, old)
        if from_cluster and inputs is None:
            found = self._imported(live)
        given = inputs or {}
        return Read(id, mark_secrets(to_properties(found), given), checkpoint(found, live, given, api_version, manager), problems)

    @staticmethod
    def _identify(call: Call, old: Object, old_live: Object, namespace: str, name: str) -> bool:
        """Completes what names the object. True when nothing but its id was known (`.get()` and import)."""
        if kind_of(old):
            return False
        unknown = not kind_of(old_live)
        kind = kinds.kind_of_urn(call.urn)
        old["apiVersion"] = kind.api_version if unknown else api_version_of(old_live)
        old["kind"] = kind.kind if unknown else kind_of(old_live)
        if not name_of(old):
            set_metadata(old, "name", name)
        if not namespace_of(old) and namespace:
            set_metadata(old, "namespace", namespace)
        return unknown

    @staticmethod
    def _imported(live: Object) -> Object:
        """A live object as inputs, without what only the server or a controller sets."""
        found: Object = {k: v for k, v in live.items() if k != "status"}
        meta = {k: v for k, v in metadata(live).items() if k not in READ_ONLY}
        if isinstance(meta.get("annotations"), dict):
            kept = {k: v for k, v in meta["annotations"].items() if k not in (LAST_APPLIED, "deployment.kubernetes.io/revision")}
            meta = {**meta, "annotations": kept} if kept else {k: v for k, v in meta.items() if k != "annotations"}
        return {**found, "metadata": meta}

    # Functions

    def invoke(self, call: Call, token: str, args: PropertyMap) -> Value:
        if token != "kubernetes:yaml:decode":  # noqa: S105 - a function's name
            return super().invoke(call, token, args)
        text = reveal(args.get("text"))
        if not isinstance(text, str):
            raise ProviderError("kubernetes:yaml:decode: missing required field 'text' of type string")
        found = decode(text, str(reveal(args.get("defaultNamespace")) or ""), self._session.is_namespaced)
        return {"result": [to_properties(obj) for obj in found]}


def init_error(id_: str, outputs: PropertyMap, reasons: Sequence[str], detail: str) -> InitError:
    """What to tell the user and to record: `reasons` as pulumi-kubernetes words them, `detail` for the person who has to act."""
    count = f"{len(reasons)} error{'s' if len(reasons) != 1 else ''} occurred:"
    message = "\n".join([count, *(f"\t* {r}" for r in reasons), *([detail] if detail else [])])
    return InitError(message, id=id_, inputs=None, outputs=outputs, reasons=reasons)
