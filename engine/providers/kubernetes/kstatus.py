"""Readiness of any object by the conventions of its status, after kstatus (sigs.k8s.io/cli-utils)."""

from __future__ import annotations

from engine.providers.kubernetes.objects import Object, is_crd, kind_of, metadata, pluck
from engine.providers.kubernetes.view import Verdict, View, conditions, number


def _behind(obj: Object) -> str:
    """A message while the controller has not seen the object's latest generation."""
    generation, observed = metadata(obj).get("generation"), pluck(obj, "status", "observedGeneration")
    if isinstance(generation, int) and isinstance(observed, int) and generation != observed:
        return f"{kind_of(obj)} generation is {generation}, but latest observed generation is {observed}"
    return ""


def daemon_set_status(obj: Object) -> tuple[bool, str]:
    if message := _behind(obj):
        return False, message
    if pluck(obj, "status", "observedGeneration") is None:
        return False, "Missing .status.desiredNumberScheduled"
    wanted = number(obj, "status", "desiredNumberScheduled")
    for label, key in (
        ("Current", "currentNumberScheduled"),
        ("Updated", "updatedNumberScheduled"),
        ("Available", "numberAvailable"),
        ("Ready", "numberReady"),
    ):
        count = number(obj, "status", key)
        if label == "Updated" and pluck(obj, "spec", "updateStrategy", "type") == "OnDelete":
            continue
        if count < wanted:
            return False, f"{label}: {count}/{wanted}"
    return True, f"All replicas scheduled as expected. Replicas: {wanted}"


def status(obj: Object) -> tuple[bool, str]:
    """(current, message). Objects without recognizable conditions are current."""
    if is_crd(obj):
        return _definition_status(obj)
    if message := _behind(obj):
        return False, message
    found = conditions(obj)
    for type_ in ("Reconciling", "Stalled"):
        if found.get(type_, {}).get("status") == "True":
            return False, str(found[type_].get("message") or type_)
    ready = found.get("Ready")
    if ready is not None and ready.get("status") != "True":
        return False, str(ready.get("message") or "Waiting for readiness")
    return True, "Resource is Ready" if ready is not None else "Resource is current"


def _definition_status(obj: Object) -> tuple[bool, str]:
    found = conditions(obj)
    accepted = found.get("NamesAccepted", {})
    if accepted.get("status") == "False":
        return False, str(accepted.get("message"))
    if found.get("Established", {}).get("status") == "True":
        return True, "CRD is established"
    return False, "Install in progress"


def generic(view: View) -> Verdict:
    done, message = status(view.live)
    return Verdict(done, [("info", message)])


def definition(view: View) -> Verdict:
    """A CustomResourceDefinition is ready when it is served; names that clash never are."""
    done, message = status(view.live)
    clash = conditions(view.live).get("NamesAccepted", {}).get("status") == "False"
    return Verdict(done, [("info", message)], [message] if not done else [], failed=clash)
