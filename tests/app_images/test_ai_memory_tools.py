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


@pytest.mark.parametrize(
    ("tool", "arguments", "words"),
    [
        ("store", {"content": ""}, "content"),
        ("store", {"content": "   "}, "give it some text"),
        ("store", {"content": "x" * 8001}, "8000"),
        ("store", {"content": "a\x00b"}, "NUL"),
        ("store", {"content": "x", "namespace": "no spaces"}, "namespace"),
        ("store", {"content": "x", "namespace": ""}, "namespace"),
        ("store", {"content": "x", "tags": ["t"] * 21}, "tags"),
        ("store", {"content": "x", "tags": ["two words"]}, "tags"),
        ("store", {"content": "x", "metadata": {"nested": {"a": 1}}}, "metadata"),
        ("store", {"content": "x", "metadata": {str(i): i for i in range(33)}}, "metadata"),
        ("store", {"content": "x", "metadata": {"k": "a\x00"}}, "NUL"),
        ("recall", {"query": "x", "limit": 0}, "limit"),
        ("recall", {"query": "x", "limit": 51}, "limit"),
        ("recall", {"query": "x", "min_score": 1.1}, "min_score"),
        ("list", {"cursor": "made up"}, "cursor is not one that list returned"),
        ("forget", {}, "either ids or tags"),
        ("forget", {"ids": [str(uuid.uuid4())], "tags": ["a"]}, "either ids or tags"),
        ("forget", {"ids": ["17"]}, "ids"),
    ],
)
def test_what_a_tool_cannot_take_is_refused_in_words(shared_server, tool, arguments, words):
    async def work(call: Caller) -> None:
        assert words in await call.refused(tool, **arguments)

    with_client(shared_server.url, work)


def test_forget_by_tags_takes_those_with_all_of_them_in_this_namespace_only(shared_server):
    async def work(call: Caller) -> None:
        await call("store", content="one", tags=["a", "b"])
        await call("store", content="two", tags=["a"])
        await call("store", content="three", tags=["a", "b"], namespace=call.namespace + "x")
        assert (await call("forget", tags=["a", "b"]))["forgotten"] == 1
        assert (await call("forget", tags=["a", "b"]))["forgotten"] == 0
        assert len((await call("list"))["memories"]) == 1
        assert len((await call("list", namespace=call.namespace + "x"))["memories"]) == 1

    with_client(shared_server.url, work)


def test_text_of_every_kind_comes_back_as_it_was(shared_server):
    texts = ["ünïcödé \U0001f600 \u4f60\u597d", "quotes ' \" \\ and\nlines\ttabs", "{}", "<script>alert(1)</script>", "x" * 8000]

    async def work(call: Caller) -> None:
        for text in texts:
            await call("store", content=text, metadata={"same": text[:1000], "n": 2**53, "f": 0.5, "b": True, "nothing": None})
        found = (await call("list", limit=10))["memories"]
        assert [memory["content"] for memory in found] == texts[::-1]
        assert found[-1]["metadata"] == {"same": texts[0], "n": 2**53, "f": 0.5, "b": True, "nothing": None}

    with_client(shared_server.url, work)


def test_many_clients_at_once_each_find_their_own(shared_server):
    async def one(number: int) -> None:
        async with Client(shared_server.url, mode=("legacy", "2026-07-28")[number % 2]) as client:
            call = Caller(client)
            for index in range(3):
                await call("store", content=f"client {number} has locker {number * 10 + index}")
            found = await call("recall", query=f"which lockers does client {number} have", limit=10)
            assert len(found["matches"]) == 3
            assert all(f"client {number} " in match["memory"]["content"] for match in found["matches"])

    async def run() -> None:
        await asyncio.gather(*(one(number) for number in range(12)))

    asyncio.run(run())
