"""The HTTP front of a service: health, readiness, correlation id, shedding and the request log, before the application.

Plain ASGI and no framework: it stands in the way of every request, and `/health` must answer when nothing else does.
"""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from enum import StrEnum
from typing import Any

import structlog

from app_images.runtime import logs, metrics
from app_images.runtime.lifecycle import Registry, Status
from app_images.runtime.settings import ServiceSettings

log = logs.logger(__name__)

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

# Told to callers that were refused. Overload is over in about a request's time; a restart takes longer.
_RETRY_OVERLOAD_SECONDS = 1
_RETRY_PHASE_SECONDS = 5


class Phase(StrEnum):
    """Where the process is in its life."""

    STARTING = "starting"
    READY = "ready"
    STOPPING = "stopping"


class Front:
    """Wraps the application. `phase` is set by whoever runs the process."""

    def __init__(self, app: App, settings: ServiceSettings, registry: Registry) -> None:
        self.phase = Phase.STARTING
        self._app = app
        self._settings = settings
        self._registry = registry
        self._in_flight = 0
        gauge = metrics.ACTIVE_CONNECTIONS.labels(settings.name, "http")
        gauge.set_function(lambda: self._in_flight)

    @property
    def in_flight(self) -> int:
        """Requests that are being answered."""
        return self._in_flight

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One ASGI connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif scope["path"] == "/health":
            await _answer(send, 200, {"status": "alive", "service": self._settings.name})
        elif scope["path"] == "/ready":
            await self._ready(send)
        else:
            await self._serve(scope, receive, send)

    async def _ready(self, send: Send) -> None:
        """200 where requests are welcome, also when a part is degraded; 503 before the start and after SIGTERM."""
        parts = await self._registry.health()
        degraded = any(health.status is not Status.UP for health in parts.values())
        status = "degraded" if degraded and self.phase is Phase.READY else self.phase.value
        details = {name: {"status": health.status.value, "detail": health.detail} for name, health in parts.items()}
        code = 200 if self.phase is Phase.READY else 503
        await _answer(send, code, {"status": status, "service": self._settings.name, "parts": details})

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = time.monotonic()
        correlation = logs.correlation_id(scope["headers"])
        # Each request runs in a task of its own, so that this binding ends with it.
        structlog.contextvars.bind_contextvars(correlation_id=correlation)
        status = 500

        async def send_marked(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (logs.CORRELATION_HEADER, correlation.encode("ascii"))]
            await send(message)

        self._in_flight += 1
        try:
            refused = self._refusal()
            if refused:
                await self._refuse(send_marked, *refused)
            else:
                await self._app(scope, receive, send_marked)
        finally:
            self._in_flight -= 1
            milliseconds = round((time.monotonic() - began) * 1000, 1)
            log.info("request", method=scope["method"], path=scope["path"], status=status, duration_ms=milliseconds)

    def _refusal(self) -> tuple[str, int] | None:
        """Why a request is refused and when to come back. Stopping is no reason: what came in before is still served."""
        if self.phase is Phase.STARTING:
            return "starting", _RETRY_PHASE_SECONDS
        if self._in_flight > self._settings.max_in_flight:
            return "overload", _RETRY_OVERLOAD_SECONDS
        return None

    async def _refuse(self, send: Send, reason: str, retry_after: int) -> None:
        metrics.REQUESTS_SHED.labels(self._settings.name, reason).inc()
        words = {
            "starting": "the service is starting",
            "overload": f"{self._settings.max_in_flight} requests are in flight already",
        }
        body = {"error": f"{words[reason]}; retry after {retry_after} s"}
        await _answer(send, 503, body, (b"retry-after", str(retry_after).encode("ascii")))


async def _answer(send: Send, status: int, body: Mapping[str, object], *headers: tuple[bytes, bytes]) -> None:
    payload = json.dumps(body).encode()
    length = str(len(payload)).encode("ascii")
    fixed = [(b"content-type", b"application/json"), (b"content-length", length), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": status, "headers": [*fixed, *headers]})
    await send({"type": "http.response.body", "body": payload})
