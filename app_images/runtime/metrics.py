"""The metrics that every service has, and the server that shows them on a port of their own.

A separate port, because a NetworkPolicy admits by port: monitoring reads the metrics and nothing else, clients call
the service and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from wsgiref.simple_server import WSGIServer

from prometheus_client import Counter, Gauge, Histogram, start_http_server

# Bounds of `mcp.server.operation.duration` in OpenTelemetry's semantic conventions for MCP, seconds.
MCP_BUCKETS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300)

# From a service without a model to one that loads a large one, seconds.
_STARTUP_BUCKETS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)

STARTUP_DURATION = Histogram(
    "service_startup_duration_seconds",
    "Time until a service, or one part of it (service.part), had started.",
    ["service_name"],
    buckets=_STARTUP_BUCKETS,
)
STARTUP_FAILURES = Counter(
    "service_startup_failures_total",
    "Starts of a service, or of one part of it (service.part), that failed.",
    ["service_name", "error_type"],
)
ACTIVE_CONNECTIONS = Gauge(
    "active_connections",
    "Connections in use: requests in flight (http), or connections taken out of a backend's pool.",
    ["service_name", "connection_type"],
)
POOL_SIZE = Gauge("connection_pool_size", "Open connections of a pool, idle ones included.", ["service_name", "backend"])
BREAKER_STATE = Gauge(
    "circuit_breaker_state", "State of a backend's circuit breaker: 0 closed, 1 half-open, 2 open.", ["service_name", "backend"]
)
BACKEND_UP = Gauge("backend_up", "Whether the last check of a backend succeeded.", ["service_name", "backend"])
REQUESTS_SHED = Counter("requests_shed_total", "Requests answered 503 at once.", ["service_name", "reason"])
MCP_DURATION = Histogram(
    "mcp_server_operation_duration_seconds",
    "Duration of an MCP request as the server saw it (mcp.server.operation.duration).",
    ["service_name", "mcp_method_name", "gen_ai_tool_name", "mcp_protocol_version", "error_type"],
    buckets=MCP_BUCKETS,
)


def serve(port: int) -> Callable[[], None]:
    """Serves `/metrics` on `port` from a thread of its own, so that it answers while the event loop is busy.

    Returns the function that stops it. Raises `OSError` where the port is taken.
    """
    server: WSGIServer
    server, thread = start_http_server(port)

    def stop() -> None:
        server.shutdown()
        server.server_close()
        thread.join(timeout=2)

    return stop
