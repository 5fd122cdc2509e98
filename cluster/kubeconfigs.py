"""Kubeconfigs: one for the user, one for each of our processes. Never the user's own file."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import yaml

from cluster import addresses as at
from cluster import certificates as certs


def document(pki: Path, leaf: str, server: str) -> dict[str, Any]:
    """A kubeconfig for the certificate `leaf`, with everything inside, so that it can be moved."""

    def data(path: Path) -> str:
        return base64.b64encode(path.read_bytes()).decode()

    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": at.CONTEXT,
        "clusters": [
            {
                "name": at.CONTEXT,
                "cluster": {
                    "server": server,
                    "certificate-authority-data": data(certs.certificate_path(pki, certs.CA)),
                },
            }
        ],
        "users": [
            {
                "name": leaf,
                "user": {
                    "client-certificate-data": data(certs.certificate_path(pki, leaf)),
                    "client-key-data": data(certs.key_path(pki, leaf)),
                },
            }
        ],
        "contexts": [{"name": at.CONTEXT, "context": {"cluster": at.CONTEXT, "user": leaf}}],
    }


def write(path: Path, pki: Path, leaf: str, server: str) -> Path:
    """Writes the kubeconfig for `leaf` to `path`, readable by its owner alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    certs.write_private(path, yaml.safe_dump(document(pki, leaf, server), sort_keys=False).encode())
    return path
