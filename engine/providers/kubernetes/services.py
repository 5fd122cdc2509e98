"""When Services, Ingresses, volumes and quotas are ready (pulumi-kubernetes: service.go, ingress.go, awaiters.go)."""

from __future__ import annotations

from engine.providers.kubernetes.objects import Object, name_of, namespace_of, pluck
from engine.providers.kubernetes.view import Note, Verdict, View

SETTLE_SECONDS = 10.0
"""How long a Service without ready Pods is watched before it is accepted as it is. pulumi-kubernetes waits these 10 s after every change of
a Service's endpoints, ready ones too, because informers may bring stragglers; a look at the live slices needs no such pause, so a
Service with a ready endpoint is ready at once."""
SERVICE_LABEL = "kubernetes.io/service-name"


def _slices(view: View, service: str) -> list[Object]:
    return view.siblings("discovery.k8s.io/v1", "EndpointSlice", f"{SERVICE_LABEL}={service}")


def _has_ready_endpoint(slices: list[Object]) -> bool:
    return any(pluck(e, "conditions", "ready") is not False for s in slices for e in s.get("endpoints") or [])


class Service:
    """Endpoints must be there, and the address of a load balancer. What selects nothing, is headless or external has none to wait for."""

    def __init__(self, settle: float = SETTLE_SECONDS) -> None:
        self._settle = settle
        self._seen_at: float | None = None

    def __call__(self, view: View) -> Verdict:
        service = view.live
        balancer = pluck(service, "spec", "type") == "LoadBalancer"
        addressed = not balancer or bool(pluck(service, "status", "loadBalancer", "ingress"))
        notes: list[Note] = [("info", "[1/3] Finding Pods to direct traffic to")]
        if not self._waits_for_pods(service):
            return Verdict(addressed, notes if not addressed else [])
        targeted = self._targeted(view)
        if targeted and addressed:
            return Verdict(True, [*notes, ("info", "Service initialization complete")])
        errors = []
        if targeted:
            notes.append(("info", "[2/3] Attempting to allocate IP address to Service"))
        else:
            errors.append(
                "Service does not target any Pods. Selected Pods may not be ready, or "
                "field '.spec.selector' may not match labels on any Pods"
            )
        if not addressed:
            errors.append("Service was not allocated an IP address; does your cloud provider support this?")
        return Verdict(False, notes, errors)

    @staticmethod
    def _waits_for_pods(service: Object) -> bool:
        spec = service.get("spec") or {}
        return spec.get("type") != "ExternalName" and spec.get("clusterIP") != "None" and bool(spec.get("selector"))

    def _targeted(self, view: View) -> bool:
        slices = _slices(view, name_of(view.live))
        if not slices:
            self._seen_at = None
            return False
        if self._seen_at is None:
            self._seen_at = view.elapsed
        return _has_ready_endpoint(slices) or view.elapsed - self._seen_at >= self._settle


class Ingress:
    """An address must be there, and endpoints for every path; Services that do not appear within 10 s are reported and let pass."""

    def __call__(self, view: View) -> Verdict:
        addressed = bool(pluck(view.live, "status", "loadBalancer", "ingress"))
        notes: list[Note] = [("info", "[1/3] Finding a matching service for each Ingress path")]
        missing = self._missing(view)
        settled = view.elapsed >= SETTLE_SECONDS
        if settled:
            notes += [("warning", f"No matching service found for ingress rule: {m}") for m in missing]
        matched = settled or not missing
        if matched and addressed:
            return Verdict(True, [*notes, ("info", "Ingress initialization complete")])
        errors = [] if matched else ["Ingress has at least one rule with an unavailable target endpoint."]
        if matched:
            notes.append(("info", "[2/3] Waiting for update of .status.loadBalancer with hostname/IP"))
        if not addressed:
            errors.append(
                "Ingress .status.loadBalancer field was not updated with a hostname/IP address. "
                "\n    for more information about this error, see https://pulumi.io/xdv72s"
            )
        return Verdict(False, notes, errors)

    def _missing(self, view: View) -> list[str]:
        missing = []
        for rule in pluck(view.live, "spec", "rules") or []:
            for path in pluck(rule, "http", "paths") or []:
                name = pluck(path, "backend", "service", "name")
                if name and not _slices(view, name) and not self._external(view, name):
                    where = f"{rule.get('host', '')}{path.get('path', '')}"
                    missing.append(f'{chr(34) + where + chr(34) if where else chr(34) * 2 + " (default path)"} -> "{name}"')
        return missing

    @staticmethod
    def _external(view: View, name: str) -> bool:
        service = view.get("v1", "Service", name)
        return service is not None and pluck(service, "spec", "type") == "ExternalName"


def volume(view: View) -> Verdict:
    phase = pluck(view.live, "status", "phase")
    return Verdict(phase in ("Available", "Bound"), [("info", f"PersistentVolume is {phase or 'Pending'}")])


def claim(view: View) -> Verdict:
    """Bound; with a class that binds on first use, Pending is all there is to wait for."""
    phase = pluck(view.live, "status", "phase")
    name = pluck(view.live, "spec", "storageClassName")
    wanted = "Bound"
    if name and phase != "Bound":
        storage = view.get("storage.k8s.io/v1", "StorageClass", str(name))
        if pluck(storage, "volumeBindingMode") == "WaitForFirstConsumer":
            wanted = "Pending"
    ready = phase in (wanted, "Bound")
    where = f"{namespace_of(view.live)}/{name_of(view.live)}"
    return Verdict(ready, [("info", f"Waiting for PersistentVolumeClaim {where} to be {wanted}")] if not ready else [])


def quota(view: View) -> Verdict:
    return Verdict(pluck(view.live, "spec", "hard") == pluck(view.live, "status", "hard"))


def token_secret(view: View) -> Verdict:
    """A service account token is filled in by a controller; every other Secret is complete as it is."""
    return Verdict(view.live.get("type") != "kubernetes.io/service-account-token" or bool(view.live.get("data")))
