"""What is said to a fresh API server: the system objects in `cluster/manifests/`, and that no pod runs yet."""

from __future__ import annotations

import base64
import string
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from cluster import addresses as at
from cluster import certificates as certs
from cluster.kubeapi import Api, object_path

_FOLDER = Path(__file__).resolve().parent / "manifests"


def load(name: str, pki: Path) -> list[dict[str, Any]]:
    """The objects of `manifests/<name>.yaml` with addresses filled in."""
    values = {
        "NODE_IP": at.NODE_IP,
        "DNS_SERVICE_IP": at.DNS_SERVICE_IP,
        "DNS_PORT": at.DNS_PORT,
        "METRICS_SERVER_PORT": at.METRICS_SERVER_PORT,
        "CA_BUNDLE": base64.b64encode(certs.certificate_path(pki, certs.CA).read_bytes()).decode(),
    }
    text = (_FOLDER / f"{name}.yaml").read_text()
    return [d for d in yaml.safe_load_all(string.Template(text).substitute(values)) if d]


def apply_all(api: Api, manifests: list[dict[str, Any]], patience_seconds: float = 30) -> None:
    """Applies all; a namespace that a fresh API server has not made yet (`kube-system`) is waited for."""
    end = time.monotonic() + patience_seconds
    for manifest in manifests:
        while True:
            try:
                api.apply(manifest)
                break
            except Exception:
                if time.monotonic() > end:
                    raise
                time.sleep(0.3)


def mark_pods_not_ready(api: Api) -> None:
    """Takes back the readiness of pods from before a stop: until the kubelet has started them again, it is a lie.

    Called while no kubelet runs. Otherwise Services would send traffic to addresses without a pod, and whoever waits for a
    rollout would find it done, for the seconds it takes to start the containers.
    """
    for pod in api.get("/api/v1/pods")["items"]:
        conditions = [
            {"type": kind, "status": "False", "reason": "ClusterStopped", "lastTransitionTime": _now()}
            for kind in ("Ready", "ContainersReady")
        ]
        if pod["status"].get("phase") == "Running":
            api.patch_status(object_path({"apiVersion": "v1", "kind": "Pod", **pod}), {"conditions": conditions}, strategic=True)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
