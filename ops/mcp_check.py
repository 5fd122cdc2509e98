"""Talks to a running MCP server as any client would: with the official SDK, through the server's Service."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

TIMEOUT_SECONDS = 30.0
"""For the whole exchange; a cold server has loaded its model before it is ready, so calls are fast."""
NAMESPACE = "sophia-check"
"""The memory namespace of checks, apart from everybody's."""


class CheckError(Exception):
    """A server did not answer as it should; the message says which call and what came instead."""


@dataclass(frozen=True)
class Endpoint:
    """Where a server is reached from here, and under which name it knows itself."""

    name: str
    address: str
    """host:port that can be connected to from this machine."""
    host_header: str
    """The Service name a client in the cluster would use; the server refuses names it does not know."""

    @property
    def url(self) -> str:
        return f"http://{self.address}/mcp"


@dataclass(frozen=True)
class Answer:
    """What a `store` and a `recall` said, and how long each took."""

    stored: dict[str, Any]
    recalled: list[dict[str, Any]]
    store_ms: float
    recall_ms: float


@asynccontextmanager
async def connect(endpoint: Endpoint) -> AsyncIterator[Client]:
    """A client of one server. Nothing of the environment's proxies is used: the address is this machine's."""
    headers = {"Host": endpoint.host_header}
    async with (
        httpx2.AsyncClient(headers=headers, trust_env=False, timeout=TIMEOUT_SECONDS) as http,
        Client(streamable_http_client(endpoint.url, http_client=http)) as client,
    ):
        yield client


async def call(client: Client, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Calls a tool and returns its structured result. Raises CheckError."""
    result = await client.call_tool(tool, arguments)
    if result.is_error:
        text = " ".join(getattr(c, "text", "") for c in result.content)
        raise CheckError(f"{tool}: {text.strip() or 'failed without a message'}")
    if result.structured_content is None:
        raise CheckError(f"{tool}: answered without structured content")
    return dict(result.structured_content)


async def _check_memory(endpoint: Endpoint) -> Answer:
    async with connect(endpoint) as client:
        text = "The platform was deployed and checked."
        started = time.monotonic()
        stored = await call(client, "store", {"namespace": NAMESPACE, "content": text, "tags": ["check"]})
        middle = time.monotonic()
        found = await call(client, "recall", {"namespace": NAMESPACE, "query": "was the system rolled out?", "limit": 1})
        ended = time.monotonic()
        matches = found.get("matches") or []
        if not matches or matches[0]["memory"]["content"] != text:
            raise CheckError(f"recall: the memory that was just stored did not come back (got {json.dumps(found)[:200]})")
        return Answer(stored, matches, (middle - started) * 1000, (ended - middle) * 1000)


def check_memory(endpoint: Endpoint) -> Answer:
    """Stores a memory and recalls it by meaning. Raises CheckError."""
    try:
        return asyncio.run(asyncio.wait_for(_check_memory(endpoint), TIMEOUT_SECONDS))
    except TimeoutError:
        raise CheckError(f"{endpoint.name}: no answer from {endpoint.url} within {TIMEOUT_SECONDS:g} s") from None
    except (OSError, httpx2.HTTPError) as error:
        raise CheckError(f"{endpoint.name}: {endpoint.url} cannot be reached: {error}") from None
    except ExceptionGroup as group:
        raise CheckError(f"{endpoint.name}: {endpoint.url}: {_first(group)}") from None


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    inner = group.exceptions[0]
    return _first(inner) if isinstance(inner, BaseExceptionGroup) else inner
