"""The few calls to the API server that this room makes: read a path, apply an object."""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cluster import certificates as certs
from cluster.errors import ClusterError

_MANAGER = "sophia-cluster"
_PLURALS = {"StorageClass": "storageclasses", "APIService": "apiservices", "EndpointSlice": "endpointslices"}
_CLUSTER_SCOPED = {"Namespace", "Node", "ClusterRole", "ClusterRoleBinding", "StorageClass", "APIService"}


def tls_context(pki: Path, identity: str = "admin") -> ssl.SSLContext:
    """TLS that trusts our authorities alone and shows the certificate `identity`."""
    context = ssl.create_default_context(cafile=str(certs.certificate_path(pki, certs.CA)))
    context.load_verify_locations(cafile=str(certs.certificate_path(pki, certs.ETCD_CA)))
    context.load_cert_chain(certs.certificate_path(pki, identity), certs.key_path(pki, identity))
    return context


def object_path(manifest: Mapping[str, Any]) -> str:
    """The API path of an object, for example `/api/v1/namespaces/kube-system/services/kube-dns`."""
    version, kind, meta = manifest["apiVersion"], manifest["kind"], manifest["metadata"]
    prefix = f"/apis/{version}" if "/" in version else f"/api/{version}"
    plural = _PLURALS.get(kind, kind.lower() + "s")
    scope = "" if kind in _CLUSTER_SCOPED else f"/namespaces/{meta['namespace']}"
    return f"{prefix}{scope}/{plural}/{meta['name']}"


class Api:
    """The API server at `server`, as the cluster's administrator."""

    def __init__(self, server: str, pki: Path, timeout: float = 10) -> None:
        self._server = server
        self._timeout = timeout
        # never through a proxy: the server is on this machine
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=tls_context(pki)))

    def get(self, path: str) -> Any:
        """The object or text at `path`. Raises OSError when the server does not answer or refuses."""
        return self._call("GET", path)

    def apply(self, manifest: Mapping[str, Any]) -> None:
        """Creates the object or makes it as declared (server-side apply)."""
        body = json.dumps(manifest).encode()
        path = f"{object_path(manifest)}?fieldManager={_MANAGER}&force=true"
        try:
            self._call("PATCH", path, body, "application/apply-patch+yaml")
        except urllib.error.HTTPError as error:
            text = error.read().decode(errors="replace")[:300]
            raise ClusterError(f"{manifest['kind']} {manifest['metadata']['name']} was refused: {text}") from error

    def patch_status(self, path: str, status: Mapping[str, Any], *, strategic: bool = False) -> None:
        """Merges `status` into that of the object at `path`; `strategic` merges lists of built-in types by their keys."""
        kind = "strategic-merge-patch" if strategic else "merge-patch"
        self._call("PATCH", f"{path}/status", json.dumps({"status": status}).encode(), f"application/{kind}+json")

    def _call(self, method: str, path: str, body: bytes | None = None, content_type: str = "") -> Any:
        request = urllib.request.Request(self._server + path, data=body, method=method)  # noqa: S310 - always https
        if content_type:
            request.add_header("Content-Type", content_type)
        with self._opener.open(request, timeout=self._timeout) as answer:
            text = answer.read().decode()
            return json.loads(text) if "json" in answer.headers.get("Content-Type", "") else text
