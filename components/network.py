"""Who may talk to whom: peers and edges as arguments, and the NetworkPolicy made of them.

Every workload of ours is closed in both directions and opened only along declared edges. A policy cannot filter by
path, so what different callers may reach (protocol, metrics) is on different ports.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NotRequired, TypedDict

from pydantic import Field

from components.objects import Manifest, metadata, selector
from components.spec import Problem, Spec

MONITORING = {"app.kubernetes.io/component": "monitoring"}
GATEWAY = {"app.kubernetes.io/component": "mcp-gateway"}


class PeerArgs(TypedDict):
    """Pods that may connect to a workload."""

    labels: dict[str, str]
    """Labels that all of the pods carry. Empty: every pod of the namespace."""
    namespace: NotRequired[str]
    """Namespace of the pods. Default: the workload's own."""


class EdgeArgs(TypedDict):
    """A destination that a workload may connect to: pods by label, or addresses by CIDR block."""

    port: int
    """Destination port, 1-65535."""
    labels: NotRequired[dict[str, str]]
    """Labels of the destination pods. Give either labels or cidr."""
    namespace: NotRequired[str]
    """Namespace of the destination pods. Default: the workload's own."""
    cidr: NotRequired[str]
    """Address block outside the cluster, for example 203.0.113.7/32. NetworkPolicy knows no host names."""


class PeerSpec(Spec):
    """Checked form of `PeerArgs`."""

    labels: dict[str, str]
    """Labels that all of the pods carry, for example app.kubernetes.io/name: mcp-gateway."""
    namespace: str | None = None
    """Name of a namespace, or leave it out for the workload's own."""


class EdgeSpec(Spec):
    """Checked form of `EdgeArgs`."""

    port: int = Field(ge=1, le=65535)
    """A port is a whole number from 1 to 65535."""
    labels: dict[str, str] | None = None
    """Labels of the destination pods."""
    namespace: str | None = None
    """Name of a namespace, or leave it out for the workload's own."""
    cidr: str | None = Field(default=None, pattern=r"^[0-9a-fA-F.:]+/\d{1,3}$")
    """An address block such as 203.0.113.7/32 or 2001:db8::/48."""

    def refusals(self) -> Iterable[Problem]:
        if (self.labels is None) == (self.cidr is None):
            yield Problem(("labels",), "give either labels (pods of the cluster) or cidr (addresses outside it).")


DNS_EDGES = (
    {
        "to": [
            {
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
                "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
            }
        ],
        "ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}],
    },
)


def ingress(peers: Sequence[PeerSpec], port: int) -> list[Manifest]:
    """The rule that lets `peers` reach `port`. No peers: no rule, for an empty `from` would mean everybody."""
    if not peers:
        return []
    return [{"from": [_pods(peer.labels, peer.namespace) for peer in peers], "ports": [_tcp(port)]}]


def egress(edges: Sequence[EdgeSpec]) -> list[Manifest]:
    """One rule a destination, sorted, so that the order in the settings changes nothing."""
    rules: list[Manifest] = [{"to": [_destination(edge)], "ports": [_tcp(edge.port)]} for edge in edges]
    return sorted(rules, key=repr)


def network_policy(
    name: str, namespace: str, labels: dict[str, str], incoming: Sequence[Manifest], outgoing: Sequence[Manifest]
) -> Manifest:
    """Closed in both directions except for the rules given."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata(name, namespace, labels),
        "spec": {
            "podSelector": {"matchLabels": selector(name)},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": list(incoming),
            "egress": list(outgoing),
        },
    }


def _destination(edge: EdgeSpec) -> Manifest:
    return {"ipBlock": {"cidr": edge.cidr}} if edge.cidr else _pods(edge.labels or {}, edge.namespace)


def _pods(labels: dict[str, str], namespace: str | None) -> Manifest:
    peer: dict[str, Any] = {"podSelector": {"matchLabels": dict(labels)}}
    if namespace:
        peer["namespaceSelector"] = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
    return peer


def _tcp(port: int) -> Manifest:
    return {"protocol": "TCP", "port": port}
