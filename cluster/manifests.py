"""Applies the system objects in `cluster/manifests/`."""

from __future__ import annotations

import base64
import string
import time
from pathlib import Path
from typing import Any

import yaml

from cluster import addresses as at
from cluster import certificates as certs
from cluster.kubeapi import Api

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
