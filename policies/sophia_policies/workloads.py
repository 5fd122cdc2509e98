"""Where the pods are: every Kubernetes kind that makes some, seen as workloads with containers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from .known import Node, NotKnownError

# Kind to the path of its pod template. A Pod is its own.
TEMPLATES: Mapping[str, tuple[str, ...]] = {
    "Pod": (),
    "PodTemplate": ("template",),
    "ReplicationController": ("spec", "template"),
    "ReplicaSet": ("spec", "template"),
    "Deployment": ("spec", "template"),
    "StatefulSet": ("spec", "template"),
    "DaemonSet": ("spec", "template"),
    "Job": ("spec", "template"),
    "CronJob": ("spec", "jobTemplate", "spec", "template"),
}

FINITE = frozenset({"Job", "CronJob"})


class Role(Enum):
    """What a container is for in its pod."""

    MAIN = "main"
    INIT = "init"
    """Runs to its end before the main containers start."""
    SIDECAR = "sidecar"
    """An init container with restartPolicy Always: starts first and stays."""
    EPHEMERAL = "ephemeral"
    """Added to a running pod to debug it; Kubernetes allows it no ports, probes or resources."""


@dataclass(frozen=True)
class Container:
    """One container and where it is."""

    spec: Node
    role: Role
    workload: Workload

    @property
    def stays(self) -> bool:
        """Whether it is meant to run as long as its pod."""
        return self.role in (Role.MAIN, Role.SIDECAR) and self.workload.long_running


@dataclass(frozen=True)
class Workload:
    """An object that makes pods."""

    kind: str
    object: Node
    template: Node
    partial: bool
    """A `*Patch` resource: it says only what it changes, so that what is absent proves nothing."""

    @property
    def name(self) -> str:
        """Kind, namespace and name, as a message names it."""
        return described(self.kind, self.object)

    @property
    def pod(self) -> Node:
        """The pod's spec."""
        return self.template.child("spec")

    @property
    def long_running(self) -> bool:
        """Whether its pods are meant to run until somebody stops them."""
        restarts = self.pod.get("restartPolicy", "Always") == "Always"
        return self.kind not in FINITE and restarts

    def label(self, key: str) -> str | None:
        """A label of the pods, or of the object where the pods have none."""
        own = label(self.template, key)
        return own if own is not None else label(self.object, key)

    def containers(self) -> Iterator[Container]:
        """All containers of a pod: init containers and sidecars, main ones, ephemeral ones."""
        for spec in self.pod.nodes("initContainers"):
            yield Container(spec, Role.SIDECAR if spec.get("restartPolicy") == "Always" else Role.INIT, self)
        for spec in self.pod.nodes("containers"):
            yield Container(spec, Role.MAIN, self)
        for spec in self.pod.nodes("ephemeralContainers"):
            yield Container(spec, Role.EPHEMERAL, self)


def label(node: Node, key: str) -> str | None:
    """A label in the object's metadata."""
    value = node.child("metadata", "labels").get(key)
    return None if value is None else str(value)


def described(kind: str, node: Node) -> str:
    """`Deployment sophia-dev/ai-memory`; the object's path in a list where it has no name of its own."""
    try:
        metadata = node.child("metadata")
    except NotKnownError:
        return f"{kind} ?"
    name, namespace = metadata.shown("name") or node.path, metadata.shown("namespace")
    return f"{kind} {namespace}/{name}" if namespace else f"{kind} {name}".rstrip()


def workloads(resource_type: str, props: Mapping[str, Any]) -> Iterator[Workload]:
    """The workloads that a Pulumi resource declares: none, one, or those of a `*List`.

    The API version does not matter: apps/v1, extensions/v1beta1 and apps/v1beta2 have their pods in one place.
    """
    for kind, node, partial in objects(resource_type, props):
        if kind in TEMPLATES:
            yield Workload(kind, node, node.child(*TEMPLATES[kind]), partial)


def objects(resource_type: str, props: Mapping[str, Any]) -> Iterator[tuple[str, Node, bool]]:
    """Kind, object and whether it is a patch, for each Kubernetes object in a Pulumi resource."""
    package, _, rest = resource_type.partition(":")
    if package != "kubernetes" or ":" not in rest:
        return
    kind = rest.rpartition(":")[2]
    node = Node(props)
    if kind.endswith("List"):
        for item in node.nodes("items"):
            yield item.get("kind") or kind.removesuffix("List"), item, False
    else:
        yield kind.removesuffix("Patch"), node, kind.endswith("Patch")
