"""A small Kubernetes API server in a thread: documented behaviour of the requests that the provider makes, and scripted objects."""

from __future__ import annotations

import copy
import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

Object = dict[str, Any]

DISCOVERY = {
    "/api/v1": [("Namespace", "namespaces", False), ("ConfigMap", "configmaps", True), ("Secret", "secrets", True), ("Pod", "pods", True),
                ("Service", "services", True), ("PersistentVolumeClaim", "persistentvolumeclaims", True), ("Event", "events", True)],
    "/apis/apps/v1": [("Deployment", "deployments", True), ("ReplicaSet", "replicasets", True), ("StatefulSet", "statefulsets", True),
                      ("DaemonSet", "daemonsets", True)],
    "/apis/batch/v1": [("Job", "jobs", True)],
    "/apis/discovery.k8s.io/v1": [("EndpointSlice", "endpointslices", True)],
    "/apis/networking.k8s.io/v1": [("Ingress", "ingresses", True)],
    "/apis/storage.k8s.io/v1": [("StorageClass", "storageclasses", False)],
    "/apis/apiextensions.k8s.io/v1": [("CustomResourceDefinition", "customresourcedefinitions", False)],
}  # fmt: skip


class FakeApi:
    """`objects` by path; `script` makes a path answer with one version after the other, the last one for ever."""

    def __init__(self) -> None:
        self.objects: dict[str, Object] = {}
        self.scripts: dict[str, list[Object | int]] = {}
        self.texts: dict[str, str] = {}
        self.requests: list[tuple[str, str, dict[str, str], Any]] = []
        self.failures: dict[tuple[str, str], tuple[int, Object]] = {}
        self.hooks: list[Callable[[str, str], None]] = []
        self.discovery = copy.deepcopy(DISCOVERY)
        self._version = 100
        self._lock = threading.RLock()
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                pass

            def _serve(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(length)) if length else None
                parts = urlsplit(self.path)
                query = {k: v[0] for k, v in parse_qs(parts.query).items()}
                status, answer = api.answer(self.command, parts.path, query, body, self.headers.get("Content-Type", ""))
                data = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    @property
    def kubeconfig(self) -> str:
        return json.dumps({
            "apiVersion": "v1", "kind": "Config", "current-context": "fake",
            "clusters": [{"name": "fake", "cluster": {"server": self.url}}],
            "users": [{"name": "me", "user": {"token": "t0ken"}}],
            "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "me"}}],
        })  # fmt: skip

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def put(self, path: str, obj: Object) -> None:
        with self._lock:
            self.objects[path] = self._stamped(obj)

    def script(self, path: str, *versions: Object | int) -> None:
        """What GETs of a path answer, one after the other; a number is an HTTP status."""
        self.scripts[path] = list(versions)

    def sent(self, method: str) -> list[tuple[str, dict[str, str], Any]]:
        return [(p, q, b) for m, p, q, b in self.requests if m == method]

    def answer(self, method: str, path: str, query: dict[str, str], body: Any, content_type: str) -> tuple[int, Any]:
        with self._lock:
            self.requests.append((method, path, query, body))
            for hook in self.hooks:
                hook(method, path)
            if (method, path) in self.failures:
                return self.failures[(method, path)]
            if path == "/version":
                return 200, {"major": "1", "minor": "34"}
            if path in self.discovery:
                entries = [{"kind": k, "name": n, "namespaced": s} for k, n, s in self.discovery[path]]
                return 200, {"kind": "APIResourceList", "resources": entries}
            if path in self.texts:
                return 200, self.texts[path]
            if method == "PUT":
                return self.put_request(path, query, body)
            return getattr(self, method.lower())(path, query, body, content_type)

    def get(self, path: str, query: dict[str, str], body: Any, content_type: str) -> tuple[int, Any]:
        if path in self.scripts:
            versions = self.scripts[path]
            found = versions.pop(0) if len(versions) > 1 else versions[0]
            return (found, status(found, "scripted")) if isinstance(found, int) else (200, self._stamped(found))
        if path in self.objects:
            return 200, self.objects[path]
        if path.rsplit("/", 1)[-1] in {n for kinds in self.discovery.values() for _, n, _ in kinds}:
            items = [
                o for p, o in sorted(self.objects.items()) if p.rsplit("/", 1)[0] == path and _selected(o, query.get("labelSelector", ""))
            ]
            return 200, {"kind": "List", "items": items}
        return 404, missing(path)

    def post(self, path: str, query: dict[str, str], body: Any, content_type: str) -> tuple[int, Any]:
        namespace = path.split("/namespaces/")[1].split("/")[0] if "/namespaces/" in path else ""
        if namespace and namespace != "default" and f"/api/v1/namespaces/{namespace}" not in self.objects:
            return 404, missing(f"/api/v1/namespaces/{namespace}")
        name = body["metadata"].get("name") or body["metadata"]["generateName"] + "x7k2p"
        target = f"{path}/{name}"
        if target in self.objects:
            return 409, status(409, f'{path.rsplit("/", 1)[-1]} "{name}" already exists', "AlreadyExists")
        obj = self._stamped({**body, "metadata": {**body["metadata"], "name": name, "uid": f"uid-{name}"}})
        obj["metadata"]["managedFields"] = [{"manager": query.get("fieldManager"), "operation": "Update", "fieldsV1": fields_of(body)}]
        if "dryRun" not in query:
            self.objects[target] = obj
        return 201, obj

    def patch(self, path: str, query: dict[str, str], body: Any, content_type: str) -> tuple[int, Any]:
        old = self.objects.get(path)
        if old is None and "apply" not in content_type:
            return 404, missing(path)
        if "json-patch" in content_type:
            obj = copy.deepcopy(old)
            assert obj is not None
            for step in body:
                assert (step["op"], step["path"]) == ("replace", "/metadata/managedFields")
                obj["metadata"]["managedFields"] = step["value"]
        else:
            obj = _merge(copy.deepcopy(old or {}), body)
        obj = self._stamped(obj)
        if "dryRun" not in query:
            self.objects[path] = obj
        return 200, obj

    def put_request(self, path: str, query: dict[str, str], body: Any) -> tuple[int, Any]:
        obj = self._stamped(body)
        if "dryRun" not in query:
            self.objects[path] = obj
        return 200, obj

    def delete(self, path: str, query: dict[str, str], body: Any, content_type: str) -> tuple[int, Any]:
        obj = self.objects.get(path)
        if obj is None:
            return 404, missing(path)
        if obj["metadata"].get("finalizers"):
            obj["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
            return 200, obj
        del self.objects[path]
        return 200, {"kind": "Status", "status": "Success"}

    def _stamped(self, obj: Object) -> Object:
        self._version += 1
        result = copy.deepcopy(obj)
        result.setdefault("metadata", {})["resourceVersion"] = str(self._version)
        return result


def fields_of(obj: Object) -> Object:
    return {f"f:{k}": fields_of(v) if isinstance(v, dict) else {} for k, v in obj.items() if k not in ("apiVersion", "kind")}


def status(code: int, message: str, reason: str = "", details: Object | None = None) -> Object:
    return {"kind": "Status", "status": "Failure", "code": code, "message": message, "reason": reason, "details": details or {}}


def missing(path: str) -> Object:
    plural, name = path.rsplit("/", 2)[1:]
    return status(404, f'{plural} "{name}" not found', "NotFound", {"kind": plural, "name": name})


def _selected(obj: Object, selector: str) -> bool:
    labels = obj["metadata"].get("labels") or {}
    return all(labels.get(part.partition("=")[0]) == part.partition("=")[2] for part in selector.split(",") if part)


def _merge(old: Object, new: Object) -> Object:
    for key, value in new.items():
        if value is None:
            old.pop(key, None)
        else:
            old[key] = _merge(old.get(key) or {}, value) if isinstance(value, dict) else value
    return old
