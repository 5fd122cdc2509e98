"""`nodes: simulated`: kwok plays the nodes. A real API server and scheduler; pods become Ready without running."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cluster.kubeapi import Api
from cluster.paths import Layout

STAGES = Path(__file__).resolve().parent / "manifests" / "kwok-stages.yaml"


def write_config(layout: Layout) -> None:
    """kwok's configuration: what becomes of nodes, pods and volume claims, and when."""
    (layout.config / "kwok.yaml").write_text(STAGES.read_text())


def node(number: int) -> dict[str, Any]:
    """A node object that kwok takes care of. As large as a machine may be, so that nothing is refused for size."""
    name = f"sophia-{number}"
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "annotations": {"kwok.x-k8s.io/node": "fake", "node.alpha.kubernetes.io/ttl": "0"},
            "labels": {
                "kubernetes.io/hostname": name,
                "kubernetes.io/os": "linux",
                "kubernetes.io/arch": "amd64",
                "type": "kwok",
            },
        },
    }


def create_nodes(api: Api, count: int) -> None:
    """Creates `count` nodes, or makes sure they are there."""
    size = {"cpu": "64", "memory": "512Gi", "pods": "1000", "ephemeral-storage": "1Ti"}
    for number in range(count):
        manifest = node(number)
        api.apply(manifest)
        api.patch_status(f"/api/v1/nodes/{manifest['metadata']['name']}", {"capacity": size, "allocatable": size})
