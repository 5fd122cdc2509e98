"""The tools as a client uses them: the official client, the real process, a real Postgres, both protocol eras."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from mcp import Client

MODES = {"2026-07-28": "2026-07-28", "2025-11-25": "legacy", "negotiated": "auto"}


class Caller:
    """Calls tools in a namespace of its own."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.namespace = uuid.uuid4().hex

    async def __call__(self, tool: str, **arguments: Any) -> dict[str, Any]:
        result = await self.client.call_tool(tool, {"namespace": self.namespace, **arguments})
        assert not result.is_error, result.content
        assert result.structured_content is not None
        return dict(result.structured_content)

    async def refused(self, tool: str, **arguments: Any) -> str:
        """The message of a call that must fail."""
        result = await self.client.call_tool(tool, {"namespace": self.namespace, **arguments})
        assert result.is_error
        return " ".join(getattr(part, "text", "") for part in result.content)


def with_client(url: str, work: Callable[[Caller], Awaitable[None]], mode: str = "auto") -> None:
    async def run() -> None:
        async with Client(url, mode=mode) as client:
            await work(Caller(client))

    asyncio.run(run())


@pytest.mark.parametrize("era", MODES)
def test_a_memory_is_stored_recalled_listed_and_forgotten_in_every_era(shared_server, era):
    async def work(call: Caller) -> None:
        tools = (await call.client.list_tools()).tools
        assert sorted(tool.name for tool in tools) == ["forget", "list", "recall", "store"]
        assert all(tool.output_schema and tool.annotations for tool in tools)
        stored = await call("store", content="Anna drinks green tea in the morning", tags=["people"], metadata={"source": "chat"})
        assert stored["created"]
        await call("store", content="The deployment pipeline runs on Fridays")
        best = (await call("recall", query="What does Anna like to drink?"))["matches"][0]
        assert best["memory"]["id"] == stored["memory"]["id"]
        assert best["memory"]["metadata"] == {"source": "chat"}
        assert len((await call("list"))["memories"]) == 2
        assert (await call("forget", ids=[stored["memory"]["id"]]))["forgotten"] == 1
        assert [m["content"] for m in (await call("list"))["memories"]] == ["The deployment pipeline runs on Fridays"]

    with_client(shared_server.url, work, MODES[era])
