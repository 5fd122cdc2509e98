"""A thin client of the Kubernetes API: pooled connections, cached discovery, errors as the API server words them.

Own requests instead of the generated client: it turns every object into typed models, which loses fields it does not know and costs
several times the request itself. Credentials, certificates and exec plugins still come from the `kubernetes` package's loader.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, cast
from urllib.parse import quote, urlencode

from engine.provider import ProviderError
from engine.providers.kubernetes.kinds import Kind
from engine.providers.kubernetes.objects import Object
from engine.providers.kubernetes.settings import Settings, Target

CONNECT_TIMEOUT = 10.0
"""Seconds to open a connection."""
REQUEST_TIMEOUT = 60.0
"""Seconds for an answer, unless the provider's kubeClientSettings.timeout says otherwise; the API server gives up after 60 s itself."""
CONNECTIONS = 64
"""Connections kept open at most: the engine runs up to 16 operations at once by default, more when asked to."""
RETRIES = 3
JSON = "application/json"
APPLY = "application/apply-patch+yaml"
JSON_PATCH = "application/json-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
MERGE = "application/merge-patch+json"


class ApiError(ProviderError):
    """The API server's answer to a request it did not fulfil. The message is the server's own."""

    def __init__(self, status: int, message: str, reason: str = "", details: Mapping[str, Any] | None = None):
        super().__init__(message)
        self.status, self.reason, self.details = status, reason, dict(details or {})

    @property
    def not_found(self) -> bool:
        return self.status == 404

    @property
    def namespace_missing(self) -> bool:
        return self.status == 404 and self.details.get("kind") == "namespaces"

    @property
    def already_exists(self) -> bool:
        return self.status == 409 and self.reason == "AlreadyExists"

    @property
    def conflict(self) -> bool:
        return self.status == 409 and self.reason == "Conflict"

    @property
    def forbidden(self) -> bool:
        return self.status == 403

    @property
    def invalid(self) -> bool:
        return self.status == 422


class NoMatchError(ProviderError):
    """The server does not serve a kind (yet): its CustomResourceDefinition is missing."""


class UnreachableError(ProviderError):
    """No answer from the cluster at all."""


class Pool(Protocol):
    def request(self, method: str, url: str, **kwargs: Any) -> Any: ...


@dataclass(frozen=True, slots=True)
class Resource:
    """How a kind is addressed."""

    kind: Kind
    plural: str
    namespaced: bool

    def path(self, namespace: str, name: str = "") -> str:
        base = f"/apis/{self.kind.group}/{self.kind.version}" if self.kind.group else f"/api/{self.kind.version}"
        if self.namespaced and namespace:
            base += f"/namespaces/{quote(namespace, safe='')}"
        return f"{base}/{self.plural}" + (f"/{quote(name, safe='')}" if name else "")


class Client:
    """Requests to one cluster. Safe for threads."""

    def __init__(self, settings: Settings, target: Target):
        self._settings, self._target = settings, target
        self._lock = threading.Lock()
        self._pool: Pool | None = None
        self._configuration: Any = None
        self._resources: dict[tuple[str, str], dict[str, Resource]] = {}
        self._server_version: tuple[int, int] | None = None
        self._limit = _Limiter(settings.qps, settings.burst) if settings.qps else None

    def connect(self) -> None:
        """Loads credentials, once. Runs exec plugins; does not talk to the cluster yet."""
        with self._lock:
            if self._pool is not None:
                return
            # Imported on first use: half a second that runs without Kubernetes resources should not pay.
            from kubernetes.client.configuration import Configuration
            from kubernetes.client.rest import RESTClientObject
            from kubernetes.config import load_incluster_config, load_kube_config_from_dict

            if self._target.error:
                raise UnreachableError(self._target.error)
            configuration = Configuration()
            try:
                if self._target.config is None:
                    load_incluster_config(client_configuration=configuration)
                else:
                    load_kube_config_from_dict(self._target.config, client_configuration=configuration, persist_config=False)
            except Exception as error:  # whatever an auth plugin raises means: no credentials
                raise UnreachableError(f"unable to load Kubernetes client configuration from kubeconfig file: {error}") from None
            configuration.connection_pool_maxsize = CONNECTIONS
            self._configuration = configuration
            self._pool = cast(Pool, RESTClientObject(configuration).pool_manager)

    def request(self, method: str, path: str, *, query: Mapping[str, str] | None = None, body: Any = None, content_type: str = JSON) -> Any:
        """One request; the decoded JSON answer (or its text, where it is none). Raises ApiError and UnreachableError.

        Reading is repeated when a connection breaks; writing only where the server said that it did nothing (429, 503 with Retry-After).
        """
        self.connect()
        url = self._configuration.host.rstrip("/") + path + (f"?{urlencode(query)}" if query else "")
        encoded = json.dumps(body).encode() if body is not None else None
        attempt = 0
        while True:
            if self._limit:
                self._limit.wait()
            headers = {"Accept": JSON, "User-Agent": "sophia-engine", **self._authorization()}
            if encoded is not None:
                headers["Content-Type"] = content_type
            attempt += 1
            try:
                response = self._send(method, url, headers, encoded)
            except UnreachableError:
                if method != "GET" or attempt >= RETRIES:
                    raise
                time.sleep(0.2 * attempt)
                continue
            pause = _retry_after(response)
            if pause is None or attempt > RETRIES:
                return _decode(response, path)
            time.sleep(pause)

    def _send(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> Any:
        import urllib3

        timeout = urllib3.Timeout(connect=CONNECT_TIMEOUT, read=self._settings.timeout or REQUEST_TIMEOUT)
        try:
            return cast(Pool, self._pool).request(method, url, body=body, headers=headers, timeout=timeout, retries=False)
        except urllib3.exceptions.HTTPError as error:
            raise UnreachableError(f"{self._configuration.host}: {_cause(error)}") from None

    def _authorization(self) -> dict[str, str]:
        token = self._configuration.get_api_key_with_prefix("authorization") or self._configuration.get_api_key_with_prefix("BearerToken")
        if token:
            return {"Authorization": token}
        if self._configuration.username:
            return {"Authorization": self._configuration.get_basic_auth_token()}
        return {}

    def server_version(self) -> tuple[int, int]:
        """(major, minor) of the API server; asks once, so it doubles as the test of whether the cluster answers."""
        if self._server_version is None:
            answer = self.request("GET", "/version")
            digits = ["".join(c for c in str(answer.get(k, "0")) if c.isdigit()) or "0" for k in ("major", "minor")]
            self._server_version = int(digits[0]), int(digits[1])
        return self._server_version

    def resource(self, kind: Kind) -> Resource:
        """How to address a kind. A kind that was not there is asked for again each time: its definition may have come since.

        Raises NoMatchError.
        """
        key = (kind.group, kind.version)
        found = self._resources.get(key, {}).get(kind.kind)
        if found is None:
            self._resources[key] = self._discover(kind)
            found = self._resources[key].get(kind.kind)
        if found is None:
            raise NoMatchError(f'no matches for kind "{kind.kind}" in version "{kind.api_version}"')
        return found

    def _discover(self, kind: Kind) -> dict[str, Resource]:
        base = f"/apis/{kind.group}/{kind.version}" if kind.group else f"/api/{kind.version}"
        try:
            answer = self.request("GET", base)
        except ApiError as error:
            if error.status in (404, 503):  # 503: an aggregated API whose server is not up
                return {}
            raise
        entries = [e for e in answer.get("resources", []) if "/" not in e["name"]]
        return {e["kind"]: Resource(Kind(kind.group, kind.version, e["kind"]), e["name"], bool(e["namespaced"])) for e in entries}

    def get(self, resource: Resource, namespace: str, name: str) -> Object:
        return cast(Object, self.request("GET", resource.path(namespace, name)))

    def objects(self, resource: Resource, namespace: str, selector: str = "") -> list[Object]:
        answer = self.request("GET", resource.path(namespace), query={"labelSelector": selector} if selector else None)
        # Items of a list carry neither kind nor apiVersion.
        return [{"apiVersion": resource.kind.api_version, "kind": resource.kind.kind, **item} for item in answer.get("items") or []]

    def create(self, resource: Resource, namespace: str, body: Object, query: Mapping[str, str]) -> Object:
        return cast(Object, self.request("POST", resource.path(namespace), query=query, body=body))

    def patch(self, resource: Resource, namespace: str, name: str, body: Any, content_type: str, query: Mapping[str, str]) -> Object:
        return cast(Object, self.request("PATCH", resource.path(namespace, name), query=query, body=body, content_type=content_type))

    def replace(self, resource: Resource, namespace: str, name: str, body: Object, query: Mapping[str, str]) -> Object:
        return cast(Object, self.request("PUT", resource.path(namespace, name), query=query, body=body))

    def delete(self, resource: Resource, namespace: str, name: str, propagation: str) -> None:
        self.request(
            "DELETE", resource.path(namespace, name), body={"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": propagation}
        )

    def close(self) -> None:
        if self._pool is not None and hasattr(self._pool, "clear"):
            self._pool.clear()


class _Limiter:
    """A token bucket: `burst` requests at once, then `qps` a second."""

    def __init__(self, qps: float, burst: int):
        self._qps, self._burst = qps, burst
        self._tokens = float(burst)
        self._at = time.monotonic()
        self._lock = threading.Lock()

    def wait(self) -> None:
        with self._lock:
            now = time.monotonic()
            self._tokens = min(self._burst, self._tokens + (now - self._at) * self._qps)
            self._at = now
            self._tokens -= 1
            pause = -self._tokens / self._qps
        if pause > 0:
            time.sleep(pause)


def _retry_after(response: Any) -> float | None:
    """Seconds to wait before asking again; None when the answer stands. A server that is overloaded or starting says so."""
    header = response.headers.get("Retry-After", "")
    if response.status not in (429, 500, 503) or not header.isdigit():
        return None
    return min(float(header), 5.0)


def _decode(response: Any, path: str) -> Any:
    text = response.data.decode(errors="replace")
    try:
        decoded = json.loads(text) if text else {}
    except ValueError:
        decoded = text
    if response.status < 400:
        return decoded
    if isinstance(decoded, dict) and decoded.get("kind") == "Status":
        raise ApiError(
            response.status, decoded.get("message") or f"HTTP {response.status}", decoded.get("reason", ""), decoded.get("details")
        )
    raise ApiError(response.status, f"the server answered {path} with HTTP {response.status}: {text[:200]}")


def _cause(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    text = str(error)
    return text.rsplit(">: ", 1)[-1] or type(error).__name__
