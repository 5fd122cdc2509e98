"""What every Kubernetes object of ours has in common: names, labels, security context, and how one is created."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import pulumi

# One of our rendered Kubernetes objects, exactly as the API server would take it (camelCase keys).
Manifest = dict[str, Any]
R = TypeVar("R", bound=pulumi.Resource)

# Above the range distributions hand out to people and services, so that an escaped process owns nothing on the host.
APP_UID = 10001

# Kubernetes refuses longer names for Services and label values; the last characters are left for suffixes.
NAME_PATTERN = r"^[a-z]([-a-z0-9]{0,48}[a-z0-9])?$"
NAME_RULE = "A name has 1-50 characters a-z, 0-9 and '-', starts with a letter and ends with a letter or digit"

ANNOTATION_PREFIX = "sophia.platform"


def labels(name: str, component: str, version: str | None = None) -> dict[str, str]:
    """The recommended app.kubernetes.io labels. `component` is the port class that the policies judge by."""
    result = {**selector(name), "app.kubernetes.io/component": component, "app.kubernetes.io/part-of": "sophia"}
    result["app.kubernetes.io/managed-by"] = "pulumi"
    if version:
        result["app.kubernetes.io/version"] = label_value(version)
    return result


def selector(name: str) -> dict[str, str]:
    """The labels that pick the pods of one workload. Never the version: a selector cannot be changed later."""
    return {"app.kubernetes.io/name": name, "app.kubernetes.io/instance": name}


def label_value(text: str) -> str:
    """`text` cut and cleaned to what Kubernetes takes as a label value."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", text)[:63].strip("-._")


def image_version(reference: str) -> str:
    """The tag of an image reference, or the start of its digest; what `app.kubernetes.io/version` shows."""
    name, _, digest = reference.partition("@")
    _, colon, tag = name.rpartition("/")[2].partition(":")
    return tag if colon else digest.removeprefix("sha256:")[:12]


def metadata(name: str, namespace: str, all_labels: Mapping[str, str], **annotations: str) -> Manifest:
    """Metadata with a fixed name: the same object in every run, in every tool, and in every error message."""
    result: Manifest = {"name": name, "namespace": namespace, "labels": dict(all_labels)}
    if annotations:
        result["annotations"] = {f"{ANNOTATION_PREFIX}/{key.replace('_', '-')}": v for key, v in annotations.items()}
    return result


def pod_security_context(uid: int = APP_UID, gid: int = APP_UID) -> Manifest:
    """Pod level of Pod Security Standard "restricted". fsGroup makes mounted volumes writable for the group."""
    return {
        "runAsNonRoot": True,
        "runAsUser": uid,
        "runAsGroup": gid,
        "fsGroup": gid,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def container_security_context() -> Manifest:
    """Container level of "restricted", plus a read-only root file system."""
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def scratch_volume(name: str, size: str) -> Manifest:
    """A sized emptyDir: what a read-only container may write, and no more of the node's disk than that."""
    return {"name": name, "emptyDir": {"sizeLimit": size}}


class Children:
    """Creates the children of one component, all with its dependencies.

    Pulumi gives a child its parent's provider but not its parent's `depends_on`. Without this a Deployment could be
    sent before its namespace exists.
    """

    def __init__(self, parent: pulumi.ComponentResource, opts: pulumi.ResourceOptions | None) -> None:
        self._parent = parent
        self._depends_on = opts.depends_on if opts else None

    def options(self, after: Sequence[pulumi.Resource] = (), ignore_changes: list[str] | None = None) -> pulumi.ResourceOptions:
        """Options of a child that also waits for `after`."""
        own = pulumi.ResourceOptions(parent=self._parent, depends_on=self._depends_on, ignore_changes=ignore_changes)
        return pulumi.ResourceOptions.merge(own, pulumi.ResourceOptions(depends_on=list(after)))

    def create(
        self,
        kind: Callable[..., R],
        name: str,
        manifest: Mapping[str, Any],
        after: Sequence[pulumi.Resource] = (),
        ignore_changes: list[str] | None = None,
    ) -> R:
        """Registers a rendered object as resource `kind`; apiVersion and kind are the resource class's own."""
        fields = {_snake(key): value for key, value in manifest.items() if key not in {"apiVersion", "kind"}}
        return kind(name, **fields, opts=self.options(after, ignore_changes))


def _snake(key: str) -> str:
    return re.sub(r"(?<=[a-z])([A-Z])", r"_\1", key).lower()
