"""What every MCP server of ours shares: the transport in both protocol eras, its security, and its metrics."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import Any

from mcp import MCPError
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.mcpserver import MCPServer
from mcp.server.request_state import RequestStateSecurity
from mcp.server.transport_security import TransportSecuritySettings

from app_images.runtime import metrics
from app_images.runtime.front import App
from app_images.runtime.settings import Secrets, ServiceSettings, SettingsError

# One key a line, at least 32 bytes each; the first seals, all open. Rotate by [old, new], [new, old], [new].
KEY_RING = "request-state-keys"
_SHORTEST_KEY_BYTES = 32

# What a caller can send is unbounded, what a metric may have as a label is not.
_OTHER = "_OTHER"
_METHODS = frozenset(
    {
        "initialize",
        "ping",
        "server/discover",
        "tools/list",
        "tools/call",
        "resources/list",
        "resources/read",
        "resources/templates/list",
        "prompts/list",
        "prompts/get",
        "completion/complete",
        "logging/setLevel",
        "subscriptions/listen",
    }
)


class OperationMetrics:
    """Middleware that measures every request in the terms of the semantic conventions for MCP."""

    def __init__(self, service_name: str, tools: Callable[[], Collection[str]]) -> None:
        self._service_name = service_name
        self._tools = tools

    async def __call__(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        """Passes the request on; notifications are not operations and are not measured."""
        if ctx.request_id is None:
            return await call_next(ctx)
        began, error_type = time.monotonic(), "cancelled"
        try:
            result = await call_next(ctx)
            error_type = "tool_error" if _is_error(result) else ""
            return result
        except MCPError as error:
            error_type = str(error.error.code)
            raise
        except Exception as error:
            error_type = type(error).__name__
            raise
        finally:
            seconds = time.monotonic() - began
            method = ctx.method if ctx.method in _METHODS else _OTHER
            labels = (self._service_name, method, self._tool(ctx), ctx.protocol_version, error_type)
            metrics.MCP_DURATION.labels(*labels).observe(seconds)

    def _tool(self, ctx: ServerRequestContext[Any, Any]) -> str:
        if ctx.method != "tools/call" or not ctx.params:
            return ""
        name = ctx.params.get("name")
        return name if isinstance(name, str) and name in self._tools() else _OTHER


def request_state_security(secrets: Secrets) -> RequestStateSecurity | None:
    """The key ring shared by all replicas, or None where the deployment gives none.

    Without one the SDK makes a key for each process, and a conversation of several rounds fails as soon as a second
    replica answers. Servers whose tools never ask back do not need it.
    """
    ring = secrets.optional(KEY_RING)
    if ring is None:
        return None
    keys = [line.strip() for line in ring.splitlines() if line.strip()]
    if any(len(key.encode()) < _SHORTEST_KEY_BYTES for key in keys) or not keys:
        raise SettingsError([f"secret {KEY_RING}: a key is shorter than {_SHORTEST_KEY_BYTES} bytes. Generate longer ones."])
    return RequestStateSecurity(keys=keys)


def http_app(server: MCPServer[Any], settings: ServiceSettings, max_body_bytes: int) -> App:
    """The server on `/mcp`, for clients of both eras.

    2026-07-28 has no sessions; clients of the older revisions are served without one (`stateless_http`), so that any
    replica answers any request. The price: no requests from the server to those clients, which none of our tools makes.
    Answers are JSON, not event streams: a tool here answers once, and a plain answer can be logged, retried and cut off.
    """
    security = TransportSecuritySettings(allowed_hosts=list(settings.allowed_hosts))
    app: App = server.streamable_http_app(
        streamable_http_path="/mcp",
        json_response=True,
        stateless_http=True,
        max_request_body_size=max_body_bytes,
        transport_security=security,
    )
    return app


def _is_error(result: HandlerResult) -> bool:
    if isinstance(result, dict):
        return bool(result.get("isError"))
    return bool(getattr(result, "is_error", False))
