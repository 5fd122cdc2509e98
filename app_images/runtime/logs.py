"""Structured logs: one JSON object a line on standard output, with the correlation id of the request.

Libraries log through the standard module; their records take the same way, so that nothing bypasses the redaction.
"""

from __future__ import annotations

import logging
import re
import sys
import uuid
from typing import TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from app_images.runtime import redaction

CORRELATION_HEADER = b"x-correlation-id"

# Headers that carry an id of the request, the first one found counts; traceparent is W3C trace context.
_ID_HEADERS = (CORRELATION_HEADER, b"x-request-id")
_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
_TRACEPARENT = re.compile(rb"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")

# Libraries that report every message at INFO; what we need of it is in our own request line.
_TALKATIVE = ("mcp.server.streamable_http_manager", "mcp.server.streamable_http", "mcp.server.lowlevel.server", "httpx2")


def configure(service_name: str, level: int = logging.INFO, stream: TextIO | None = None) -> None:
    """Sends all logs of the process to `stream` (default: standard output) as JSON lines."""

    def add_service(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        event["service"] = service_name
        return event

    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        add_service,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.format_exc_info,
    ]
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder(allow=["correlation_id"])],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.JSONRenderer(default=str),
            _redact,
        ],
    )
    handler = logging.StreamHandler(stream or sys.stdout)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def logger(name: str) -> structlog.stdlib.BoundLogger:
    """A structured logger; `log.info("what happened", key=value)`."""
    result: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return result


def correlation_id(headers: list[tuple[bytes, bytes]]) -> str:
    """The id the caller sent, else the trace id it sent, else a new one. A malformed id is not repeated into logs."""
    found = dict(reversed(headers))
    for name in _ID_HEADERS:
        if _ID.fullmatch(found.get(name, b"")):
            return found[name].decode("ascii")
    trace = _TRACEPARENT.fullmatch(found.get(b"traceparent", b""))
    return trace[1].decode("ascii") if trace else uuid.uuid4().hex


def _redact(_logger: WrappedLogger, _method: str, rendered: EventDict | str) -> str:
    return redaction.clean(str(rendered))
