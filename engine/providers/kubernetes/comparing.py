"""Diff: what a change of inputs means for an object, and whether it can be changed in place."""

from __future__ import annotations

from collections.abc import Sequence

from engine.provider import Call, Changes, Diff
from engine.providers.kubernetes import difference, kinds
from engine.providers.kubernetes.client import ApiError, NoMatchError
from engine.providers.kubernetes.force_new import IDENTITY, force_new
from engine.providers.kubernetes.normalize import normalize
from engine.providers.kubernetes.objects import (
    AUTONAMED,
    REPLACE_UNREADY,
    Object,
    api_version_of,
    from_checkpoint,
    is_named,
    is_true,
    kind_of,
    metadata,
    name_of,
    namespace_of,
    prune,
    set_metadata,
    to_object,
)
from engine.providers.kubernetes.session import Session
from engine.providers.kubernetes.waiting import point_in_time
from engine.values import UNKNOWN, PropertyMap


def compare(session: Session, call: Call, outputs: PropertyMap, inputs: PropertyMap, ignored: Sequence[str]) -> Diff:
    new = normalize(to_object(inputs))
    checkpointed, live = from_checkpoint(outputs)
    old = prune(live, normalize(checkpointed))
    _align(session, old, live, new)
    found = difference.without_ignored(difference.detailed(old, new, _forced(session, call, new)), ignored)
    replaces = difference.replacements(found)
    if is_true(new, REPLACE_UNREADY) and _is_unready(session, call, new, live):
        replaces = [*replaces, '.metadata.annotations["pulumi.com/replaceUnready"]']
    # Two objects of one name cannot be there at once: the old one goes first, unless a new name was made up.
    delete_first = (
        bool(replaces)
        and is_named(new)
        and not is_true(new, AUTONAMED)
        and name_of(new) == name_of(live)
        and namespace_of(new) == namespace_of(live)
    )
    changes = Changes.SOME if found or replaces else Changes.NONE
    return Diff(changes, replaces=replaces, detailed=found, delete_before_replace=delete_first)


def _align(session: Session, old: Object, live: Object, new: Object) -> None:
    """Makes the two sides comparable: the namespace said or unsaid, names chosen by the server, versions never."""
    namespaced = session.is_namespaced(kinds.kind_of_type(api_version_of(new), kind_of(new)))
    for obj in (old, new):
        if metadata(obj).get("namespace") is not UNKNOWN:
            set_metadata(obj, "namespace", (namespace_of(obj) or "default") if namespaced else "")
    old.setdefault("apiVersion", new.get("apiVersion"))
    old.setdefault("kind", new.get("kind"))
    metadata(old).pop("resourceVersion", None)
    if name_of(new):
        set_metadata(old, "name", name_of(live))


def _forced(session: Session, call: Call, new: Object) -> Sequence[str]:
    if kinds.is_patch(call.urn, kind_of(new)):
        return IDENTITY
    flag = session.settings.flag
    return force_new(new, mutable_config_maps=flag("enableConfigMapMutable"), mutable_secrets=flag("enableSecretMutable"))


def _is_unready(session: Session, call: Call, new: Object, live: Object) -> bool:
    if session.rendering or session.why_unreachable():
        call.log("warning", "Cluster is unreachable, skipping replaceUnready check", False)
        return False
    if kind_of(new) != "Job":
        call.log("warning", "replaceUnready annotation is not supported for this resource", False)
        return False
    try:
        return bool(point_in_time(call, session.writer, session.writer.read(live)))
    except (ApiError, NoMatchError):
        return False
