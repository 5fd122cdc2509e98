"""Arguments that several workloads share: resources, autoscaling, objectives; and the objects made of them."""

import re
from collections.abc import Iterable
from decimal import Decimal
from typing import NotRequired, TypedDict

from pydantic import Field

from components.objects import Manifest, metadata, selector
from components.spec import Problem, Spec

QUANTITY_PATTERN = r"^\d+(\.\d+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$"
_UNITS: dict[str, Decimal | int] = {"": 1, "m": Decimal("0.001"), "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_UNITS |= {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}


class ResourcesArgs(TypedDict):
    """What a container is promised (request) and may use at most (limit), as Kubernetes quantities."""

    cpu_request: NotRequired[str]
    """CPU the scheduler reserves; the autoscaler's percentages are of this. Cores or thousandths: "250m"."""
    memory_request: NotRequired[str]
    """Memory the scheduler reserves: "512Mi"."""
    cpu_limit: NotRequired[str]
    """CPU above which the container is slowed down: "1"."""
    memory_limit: NotRequired[str]
    """Memory above which the container is killed: "1Gi"."""


class AutoscalingArgs(TypedDict):
    """A range of replicas that follows load. Leave it out for a fixed number."""

    min_replicas: NotRequired[int]
    """Replicas kept without load. Default 3: one may be drained and one may fail."""
    max_replicas: NotRequired[int]
    """Replicas at full load; connection budgets are reckoned with it. Default 10."""
    cpu_percent: NotRequired[int]
    """Mean CPU use, in percent of the request, that the autoscaler steers to. Default 70."""
    memory_percent: NotRequired[int]
    """Mean memory use, in percent of the request. Default: not used, because memory held by a loaded model does not
    fall when replicas are added, so that such a target drives the fleet to its maximum."""


class SloArgs(TypedDict):
    """The objective of a service; alerts, dashboards and reports are made from it."""

    availability_percent: NotRequired[float]
    """Share of requests over 30 days that must not fail on the server's side. Default 99.9."""
    latency_ms: NotRequired[int]
    """Time within which `latency_percent` of the requests are answered. Default 200, a bucket of the MCP histogram."""
    latency_percent: NotRequired[float]
    """Share of requests that must be answered within `latency_ms`. Default 95."""


class ResourcesSpec(Spec):
    """Checked form of `ResourcesArgs`."""

    cpu_request: str = Field(default="250m", pattern=QUANTITY_PATTERN)
    """A Kubernetes quantity: cores ("1") or thousandths of a core ("250m")."""
    memory_request: str = Field(default="512Mi", pattern=QUANTITY_PATTERN)
    """A Kubernetes quantity of bytes: "512Mi", "2Gi"."""
    cpu_limit: str = Field(default="1", pattern=QUANTITY_PATTERN)
    """A Kubernetes quantity: cores ("1") or thousandths of a core ("250m")."""
    memory_limit: str = Field(default="1Gi", pattern=QUANTITY_PATTERN)
    """A Kubernetes quantity of bytes: "512Mi", "2Gi"."""

    def refusals(self) -> Iterable[Problem]:
        for resource in ("cpu", "memory"):
            request, limit = getattr(self, f"{resource}_request"), getattr(self, f"{resource}_limit")
            if quantity(request) > quantity(limit):
                yield Problem(
                    (f"{resource}_request",),
                    f"{request} is above {resource}_limit {limit}. Kubernetes takes no request above its limit: raise the limit.",
                )

    def manifest(self) -> Manifest:
        """The container's `resources`."""
        return {
            "requests": {"cpu": self.cpu_request, "memory": self.memory_request},
            "limits": {"cpu": self.cpu_limit, "memory": self.memory_limit},
        }


class AutoscalingSpec(Spec):
    """Checked form of `AutoscalingArgs`."""

    min_replicas: int = Field(default=3, ge=1, le=1000)
    """1-1000 replicas; 2 at least where an outage of one pod must not be one of the service."""
    max_replicas: int = Field(default=10, ge=1, le=1000)
    """1-1000 replicas, not below min_replicas."""
    cpu_percent: int = Field(default=70, ge=10, le=95)
    """10-95 percent of the CPU request; the rest is room for the time until new pods are ready."""
    memory_percent: int | None = Field(default=None, ge=10, le=95)
    """10-95 percent of the memory request, or leave it out."""

    def refusals(self) -> Iterable[Problem]:
        if self.min_replicas >= self.max_replicas:
            yield Problem(
                ("max_replicas",),
                f"{self.max_replicas} leaves nothing to scale above min_replicas {self.min_replicas}. "
                "Raise it, or set replicas instead of autoscaling.",
            )


class SloSpec(Spec):
    """Checked form of `SloArgs`."""

    availability_percent: float = Field(default=99.9, ge=90, lt=100)
    """90 to below 100 percent; 100 leaves no error budget, so that every deployment would break it."""
    latency_ms: int = Field(default=200, ge=1, le=300_000)
    """1-300000 milliseconds."""
    latency_percent: float = Field(default=95, ge=50, lt=100)
    """50 to below 100 percent of the requests."""

    def annotations(self) -> dict[str, str]:
        """The objective on the objects themselves, where a person with kubectl looks for it."""
        return {
            "slo_availability_percent": f"{self.availability_percent:g}",
            "slo_latency_ms": str(self.latency_ms),
            "slo_latency_percent": f"{self.latency_percent:g}",
        }


def quantity(text: str) -> Decimal:
    """The number a Kubernetes quantity stands for: "250m" is 0.25, "1Gi" is 1073741824."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([a-zA-Z]*)", text)
    if match is None or match[2] not in _UNITS:
        raise ValueError(f"{text!r} is not a Kubernetes quantity such as 250m, 1 or 512Mi")
    return Decimal(match[1]) * _UNITS[match[2]]


def autoscaler(name: str, namespace: str, labels: dict[str, str], scaling: AutoscalingSpec) -> Manifest:
    """HPA that grows at once and shrinks slowly: a tenth a minute after five quiet minutes, for load comes in waves."""
    targets = [("cpu", scaling.cpu_percent), ("memory", scaling.memory_percent)]
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": metadata(name, namespace, labels),
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "minReplicas": scaling.min_replicas,
            "maxReplicas": scaling.max_replicas,
            "metrics": [
                {
                    "type": "Resource",
                    "resource": {"name": metric, "target": {"type": "Utilization", "averageUtilization": percent}},
                }
                for metric, percent in targets
                if percent is not None
            ],
            "behavior": {
                "scaleUp": {
                    "stabilizationWindowSeconds": 0,
                    "selectPolicy": "Max",
                    "policies": [
                        {"type": "Percent", "value": 100, "periodSeconds": 15},
                        {"type": "Pods", "value": 4, "periodSeconds": 15},
                    ],
                },
                "scaleDown": {
                    "stabilizationWindowSeconds": 300,
                    "selectPolicy": "Max",
                    "policies": [
                        {"type": "Percent", "value": 10, "periodSeconds": 60},
                        {"type": "Pods", "value": 1, "periodSeconds": 60},
                    ],
                },
            },
        },
    }


def disruption_budget(name: str, namespace: str, labels: dict[str, str]) -> Manifest:
    """At most one pod is evicted at a time, and a drain is never blocked.

    `maxUnavailable: 1` holds for one replica as for ten; a `minAvailable` would forbid draining a node that holds
    the only replica. `AlwaysAllow` lets a drain remove pods that are broken anyway.
    """
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata(name, namespace, labels),
        "spec": {
            "maxUnavailable": 1,
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": {"matchLabels": selector(name)},
        },
    }


def service_account(name: str, namespace: str, labels: dict[str, str]) -> Manifest:
    """An identity of its own without an API token: none of our services talks to the Kubernetes API."""
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": metadata(name, namespace, labels),
        "automountServiceAccountToken": False,
    }


def cluster_service(
    name: str, namespace: str, labels: dict[str, str], pods: dict[str, str], ports: list[Manifest], **annotations: str
) -> Manifest:
    """A Service inside the cluster.

    `skipAwait`: Pulumi would wait here for a ready pod, which the workload beside it already waits for, and with
    `--parallel 1` the Service would wait for a workload that is not sent before the Service is done.
    """
    meta = metadata(name, namespace, labels, **annotations)
    meta["annotations"] = {**meta.get("annotations", {}), "pulumi.com/skipAwait": "true"}
    spec: Manifest = {"type": "ClusterIP", "selector": pods, "ports": ports}
    return {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": spec}
