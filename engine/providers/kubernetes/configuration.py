"""Provider resources (`k8s.Provider`): which configurations contradict themselves, and which change means another cluster."""

from __future__ import annotations

from collections.abc import Sequence

from engine.provider import ProviderError
from engine.providers.kubernetes.settings import active_cluster
from engine.values import UNKNOWN, PropertyMap, equal, unwrap

_LOCATION = ("kubeconfig", "context", "cluster")


def check_configuration(inputs: PropertyMap) -> None:
    """Raises ProviderError when rendering to files is asked for together with a cluster."""
    if not unwrap(inputs.get("renderYamlToDirectory")):
        return
    for key in ("cluster", "context", "kubeconfig"):
        if unwrap(inputs.get(key)):
            raise ProviderError(f'"{key}" arg is not compatible with "renderYamlToDirectory" arg; remove one of them.')


def replacing_configuration(old: PropertyMap, new: PropertyMap) -> Sequence[str]:
    """Keys whose change means another cluster, so that everything in it has to be made again.

    `clusterIdentifier` decides alone where it is set on both sides; otherwise the active cluster of the kubeconfigs is compared.
    """
    before, after = old.get("clusterIdentifier"), new.get("clusterIdentifier")
    if before and after:
        return [] if before == after else ["clusterIdentifier"]
    unknown = [k for k in _LOCATION if new.get(k) is UNKNOWN]
    if unknown:
        return unknown[:1]
    changed = {k for k in {*old, *new} if not equal(old.get(k), new.get(k))}
    replaced = ["renderYamlToDirectory"] if "renderYamlToDirectory" in changed else []
    one, other = active_cluster(old), active_cluster(new)
    if one is not None and other is not None and one != other:
        replaced += [k for k in _LOCATION if k in changed]
    return replaced
