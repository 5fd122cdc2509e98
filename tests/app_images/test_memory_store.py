"""The store against a real Postgres with pgvector: migrations, ranking, filters."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from app_images.ai_memory import schema
from app_images.ai_memory.embedding import Embedder
from app_images.ai_memory.store import CursorError, MemoryStore
from app_images.runtime.lifecycle import Registry
from app_images.runtime.postgres import PoolExhaustedError, PostgresPool
from app_images.runtime.settings import PostgresPoolSettings, Secrets

ROOT = Path(__file__).parents[2]


class Lab:
    """A store with its model, in a database of its own."""

    def __init__(self, store: MemoryStore, embedder: Embedder, pool: PostgresPool) -> None:
        self.store, self.embedder, self.pool = store, embedder, pool

    async def keep(self, content: str, *tags: str, namespace: str = "n", **metadata: object) -> str:
        vector = await self.embedder.embed(content)
        return str((await self.store.store(namespace, content, tags, metadata, vector, "m")).memory.id)

    async def recall(self, query: str, *tags: str, namespace: str = "n", limit: int = 5, least: float = 0.0) -> list[str]:
        vector = await self.embedder.embed(query)
        found = await self.store.recall(namespace, query, vector, tags, limit, least)
        return [match.memory.content for match in found.matches]


def in_lab(postgres, tmp_path: Path, work: Callable[[Lab], Awaitable[None]], **pool_settings) -> None:
    (tmp_path / "postgres-password").write_text(postgres.password)
    settings = PostgresPoolSettings(**postgres.settings(postgres.database()), **pool_settings)

    async def run() -> None:
        pool = PostgresPool("lab", settings, Secrets(tmp_path))
        embedder, store = Embedder(), MemoryStore(pool)
        registry = Registry("lab", [pool, embedder, store])
        await registry.start()
        try:
            await work(Lab(store, embedder, pool))
        finally:
            await registry.stop()

    asyncio.run(run())


FACTS = (
    "Anna's favourite drink is green tea",
    "The build server is called Hephaestus",
    "Invoices are sent on the last working day of the month",
    "Error code ZX-4711 means that the disk is full",
    "Error code ZX-4712 means that the network is down",
    "The office plant must be watered on Tuesdays",
    "Our retrospective takes place every second Friday",
)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("What does Anna like to drink?", FACTS[0]),
        ("name of the machine that compiles our code", FACTS[1]),
        ("When do customers get their bills?", FACTS[2]),
        ("ZX-4711", FACTS[3]),
        ("what is ZX-4712 about", FACTS[4]),
        ("When does the flower need water?", FACTS[5]),
        ("team meeting about how we work together", FACTS[6]),
    ],
)
def test_the_memory_that_fits_is_first_by_meaning_or_by_its_words(postgres, tmp_path, query, expected):
    async def work(lab: Lab) -> None:
        for fact in FACTS:
            await lab.keep(fact)
        assert (await lab.recall(query))[0] == expected

    in_lab(postgres, tmp_path, work)


def test_namespaces_do_not_see_each_other_even_when_one_is_crowded(postgres, tmp_path):
    async def work(lab: Lab) -> None:
        vector = await lab.embedder.embed("the secret recipe")
        rows = [
            ("big", f"the secret recipe {i}", str(i).encode(), [], "{}", "[" + ",".join(map(str, vector)) + "]", "m") for i in range(600)
        ]
        async with lab.pool.connection() as connection:
            await connection.executemany(
                "INSERT INTO ai_memory.memories (namespace, content, content_sha256, tags, metadata, embedding, model)"
                " VALUES ($1, $2, $3, $4, $5::jsonb, $6::text::vector, $7)",
                rows,
            )
            await connection.execute("ANALYZE ai_memory.memories")
        await lab.keep("my own recipe for soup", "food", namespace="small")
        await lab.keep("the weather in Rome", namespace="small")
        assert (await lab.recall("the secret recipe", namespace="small"))[0] == "my own recipe for soup"
        assert await lab.recall("the secret recipe", namespace="nobody") == []
        async with lab.pool.connection() as connection:
            await connection.execute("SET enable_sort = off; SET enable_bitmapscan = off; SET enable_seqscan = off")
        assert await lab.recall("the secret recipe", "food", namespace="small") == ["my own recipe for soup"]

    in_lab(postgres, tmp_path, work, min=1, max=1)


def test_tags_filter_limit_and_least_score_narrow(postgres, tmp_path):
    async def work(lab: Lab) -> None:
        await lab.keep("tea is served at four", "drink", "daily")
        await lab.keep("coffee is served at eight", "drink")
        await lab.keep("lunch is served at noon", "food", "daily")
        assert set(await lab.recall("served", "drink")) == {"tea is served at four", "coffee is served at eight"}
        assert await lab.recall("served", "drink", "daily") == ["tea is served at four"]
        assert await lab.recall("served", "absent") == []
        assert len(await lab.recall("served", limit=2)) == 2
        assert await lab.recall("quantum chromodynamics", least=0.5) == []

    in_lab(postgres, tmp_path, work)


@pytest.mark.parametrize(
    "query", ["the of and", "'; DROP TABLE x; --", "a & b | !c <-> (", "\\", "'", "at&t's http://x.y/z?a&b", "\u4f60\u597d"]
)
def test_any_query_is_only_text(postgres, tmp_path, query):
    async def work(lab: Lab) -> None:
        await lab.keep("something")
        assert await lab.recall(query) == ["something"]

    in_lab(postgres, tmp_path, work)


def test_the_same_content_again_is_one_memory_with_more_tags(postgres, tmp_path):
    async def work(lab: Lab) -> None:
        vector = await lab.embedder.embed("x")
        first = await lab.store.store("n", "x", ["b"], {"k": 1, "old": True}, vector, "m")
        again = await lab.store.store("n", "x", ["a", "b"], {"k": 2}, vector, "m")
        other = await lab.store.store("o", "x", [], {}, vector, "m")
        assert (first.created, again.created, other.created) == (True, False, True)
        assert first.memory.id == again.memory.id != other.memory.id
        assert again.memory.tags == ["a", "b"]
        assert again.memory.metadata == {"k": 2, "old": True}

    in_lab(postgres, tmp_path, work)


def test_pages_go_through_everything_once_newest_first(postgres, tmp_path):
    async def work(lab: Lab) -> None:
        kept = [await lab.keep(f"memory {i}", "even" if i % 2 == 0 else "odd") for i in range(7)]
        seen, cursor = [], None
        while True:
            page = await lab.store.list_page("n", [], 3, cursor)
            seen += [str(memory.id) for memory in page.memories]
            cursor = page.next_cursor
            if not cursor:
                break
        assert seen == kept[::-1]
        assert len((await lab.store.list_page("n", ["even"], 100, None)).memories) == 4
        for bad in ("x", "bm9wZQ==", "\u00e9", "MjAyNi0wMS0wMSAx"):
            with pytest.raises(CursorError):
                await lab.store.list_page("n", [], 3, bad)

    in_lab(postgres, tmp_path, work)


def test_a_pool_that_is_used_up_is_overload_and_not_an_outage(postgres, tmp_path):
    async def work(lab: Lab) -> None:
        async with lab.pool.connection():
            with pytest.raises(PoolExhaustedError, match="all 1 connections"):
                async with lab.pool.connection():
                    pass
        assert lab.pool.breaker.state.value == "closed"
        assert lab.pool.sizes() == (0, 1)

    in_lab(postgres, tmp_path, work, min=1, max=1, timeout_seconds=0.3, breaker={"failures": 1, "recovery_seconds": 60})


MIGRATE = """
import asyncio, sys, asyncpg
from app_images.ai_memory import schema

async def main():
    port, database, password = sys.stdin.read().split()
    connection = await asyncpg.connect(host="127.0.0.1", port=int(port), user="sophia", database=database, password=password)
    print(await schema.migrate(connection))
    await connection.close()

asyncio.run(main())
"""


def test_processes_that_migrate_at_once_apply_each_migration_once(postgres):
    database = postgres.database()
    command = [sys.executable, "-c", MIGRATE]
    processes = [
        subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    for process in processes:
        process.stdin.write(f"{postgres.port} {database} {postgres.password}")
        process.stdin.close()
    outcomes = [(process.wait(30), process.stdout.read().strip(), process.stderr.read()) for process in processes]
    assert [status for status, _, _ in outcomes] == [0] * 4, outcomes
    applied = [int(output.splitlines()[-1]) for _, output, _ in outcomes]
    assert sorted(applied) == [0, 0, 0, len(schema.MIGRATIONS)]
    assert postgres.psql("SELECT array_agg(number ORDER BY number) FROM ai_memory.migrations", database) == "{1}"


def test_a_migration_that_fails_leaves_no_trace_and_one_from_the_future_is_left_alone(postgres, tmp_path):
    async def work(lab: Lab) -> None:
        async def attempt(*more: str) -> int:
            async with lab.pool.connection() as connection:
                return await schema.migrate(connection, schema.MIGRATIONS + more)

        with pytest.raises(Exception, match="nonsense"):
            await attempt("CREATE TABLE ai_memory.half (x int)", "nonsense")
        assert await attempt("CREATE TABLE ai_memory.half (x int)") == 1
        assert await attempt() == 0

    in_lab(postgres, tmp_path, work)
