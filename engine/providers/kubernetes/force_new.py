"""Which properties of which kind cannot be changed in place, so that a change replaces the object (pulumi-kubernetes: provider/diff.go)."""

from __future__ import annotations

from engine.providers.kubernetes.kinds import kind_of_type
from engine.providers.kubernetes.objects import Object, api_version_of, is_config_map, is_secret, kind_of
from engine.values import Value


def _fields(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_SELECTOR = (".spec.selector",)
_CONTAINER = _fields(
    "args command env image imagePullPolicy lifecycle livenessProbe ports readinessProbe resources securityContext stdin stdinOnce "
    "terminationMessagePath terminationMessagePolicy tty volumeDevices volumeMounts workingDir"
)
_POD = _fields(
    "affinity automountServiceAccountToken dnsConfig dnsPolicy enableServiceLinks hostAliases hostIPC hostNetwork hostPID hostname "
    "imagePullSecrets nodeName nodeSelector overhead preemptionPolicy priority priorityClassName readinessGates restartPolicy "
    "runtimeClassName schedulerName securityContext serviceAccount serviceAccountName shareProcessNamespace "
    "subdomain terminationGracePeriodSeconds volumes"
)
_VOLUME = _fields(
    "awsElasticBlockStore azureDisk azureFile cephfs cinder csi fc flexVolume flocker gcePersistentDisk glusterfs hostPath iscsi local nfs "
    "photonPersistentDisk portworxVolume quobyte rbd scaleIO storageos vsphereVolume"
)
_STATEFUL_SET = tuple(
    f".spec.{f}" for f in ("podManagementPolicy", "revisionHistoryLimit", "selector", "serviceName", "volumeClaimTemplates")
)
_JOB = tuple(f".spec.{f}" for f in ("completions", "parallelism", "selector", "template"))
_BINDING = (".roleRef",)

_TABLE: dict[str, tuple[str, ...]] = {
    "v1/PersistentVolume": tuple(f".spec.{f}" for f in _VOLUME),
    "v1/PersistentVolumeClaim": tuple(f".spec.{f}" for f in ("accessModes", "selector", "storageClassName", "volumeName")),
    "v1/Pod": (
        *(f".spec.{f}" for f in _POD),
        *(f".spec.containers[*].{f}" for f in _CONTAINER),
        *(f".spec.initContainers[*].{f}" for f in _CONTAINER),
    ),
    "v1/ResourceQuota": (".spec.scopes",),
    "v1/Secret": (".type",),
    "v1/Service": (".spec.clusterIP",),
    "apps/v1/DaemonSet": _SELECTOR,
    "apps/v1/Deployment": _SELECTOR,
    "apps/v1/StatefulSet": _STATEFUL_SET,
    "apps/v1beta1/StatefulSet": _STATEFUL_SET,
    "apps/v1beta2/DaemonSet": _SELECTOR,
    "apps/v1beta2/Deployment": _SELECTOR,
    "apps/v1beta2/StatefulSet": _STATEFUL_SET,
    "batch/v1/Job": _JOB,
    "batch/v1beta1/Job": _JOB,
    "batch/v2alpha1/Job": _JOB,
    "policy/v1beta1/PodDisruptionBudget": (".spec",),
    "storage.k8s.io/v1/StorageClass": (".parameters", ".provisioner"),
    **{
        f"rbac.authorization.k8s.io/{v}/{k}": _BINDING for v in ("v1alpha1", "v1beta1", "v1") for k in ("ClusterRoleBinding", "RoleBinding")
    },
}
IDENTITY = (".metadata.name", ".metadata.namespace")


def force_new(obj: Object, *, mutable_config_maps: bool, mutable_secrets: bool) -> tuple[str, ...]:
    """Paths (`.a.b[*].c`) whose change replaces this object. ConfigMap and Secret data does, unless the provider is told otherwise:
    Pods that read them as environment would otherwise keep the old values."""
    immutable = obj.get("immutable") is True
    if is_secret(obj) and (immutable or not mutable_secrets):
        return (*IDENTITY, ".type", ".stringData", ".data")
    if is_config_map(obj) and (immutable or not mutable_config_maps):
        return (*IDENTITY, ".binaryData", ".data")
    return (*IDENTITY, *_TABLE.get(kind_of_type(api_version_of(obj), kind_of(obj)).key, ()))


def matches(pattern: str, path: tuple[str | int, ...], value: Value) -> bool:
    """Whether a change of `value` at `path` touches what a pattern names: above it, at it, or inside the value."""
    steps: list[str] = []
    for name in pattern.lstrip(".").split("."):
        steps += [name.removesuffix("[*]"), "[*]"] if name.endswith("[*]") else [name]
    return _matches(steps, path, value)


def _matches(steps: list[str], path: tuple[str | int, ...], value: Value) -> bool:
    if not steps:
        return True
    if path:
        here = "[*]" if isinstance(path[0], int) else path[0]
        return here == steps[0] and _matches(steps[1:], path[1:], value)
    if value is None:  # removed: whatever was below it is removed too
        return True
    if steps[0] == "[*]":
        return isinstance(value, list) and all(_matches(steps[1:], (), v) for v in value)
    return isinstance(value, dict) and steps[0] in value and _matches(steps[1:], (), value[steps[0]])
