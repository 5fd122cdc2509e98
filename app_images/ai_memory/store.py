"""The memories in Postgres: statements and nothing else."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from app_images.ai_memory import schema
from app_images.ai_memory.models import Match, Memory, Page, Recalled, Stored
from app_images.ai_memory.ranking import score
from app_images.runtime.lifecycle import Service
from app_images.runtime.postgres import Connection, PostgresPool

# Candidates each of the two searches contributes before they are ranked together. Well above what a caller may ask
# for (50), so that a memory that is only fair in both still meets its competitors.
_CANDIDATES = 100

_COLUMNS = "id, namespace, content, tags, metadata, created_at, updated_at"

# `xmax = 0` holds for a row that was inserted and not for one that was updated.
_STORE = f"""
INSERT INTO ai_memory.memories AS m (namespace, content, content_sha256, tags, metadata, embedding, model)
VALUES ($1, $2, $3, $4, $5::jsonb, $6::text::vector, $7)
ON CONFLICT (namespace, content_sha256) DO UPDATE SET
    tags = ARRAY(SELECT DISTINCT tag FROM unnest(m.tags || excluded.tags) AS tag ORDER BY tag),
    metadata = m.metadata || excluded.metadata,
    embedding = excluded.embedding,
    model = excluded.model,
    updated_at = now()
RETURNING {_COLUMNS}, xmax = 0 AS created
"""  # noqa: S608 - only constants are put together

# Filters are applied while the index is read: with an iterative scan the search goes on until enough rows pass them,
# instead of returning the few of the first 100 that do. 200 is a search list of twice the candidates. Each search is
# planned for its own namespace and tags (0.4 ms): the general plan that Postgres turns to after five executions knows
# neither, and was ten times slower at 10,000 memories.
_SEARCH_SETTINGS = (
    "SET LOCAL hnsw.iterative_scan = 'strict_order'; SET LOCAL hnsw.ef_search = 200; SET LOCAL plan_cache_mode = force_custom_plan"
)

# The words are combined with OR: a question rarely shares all its words with the answer. The coverage of a memory is
# counted over the query's distinct stems.
_RECALL = f"""
WITH words AS (
    SELECT array_agg(lexeme) AS stems, count(*) AS total FROM unnest(to_tsvector('english', $3)) AS t(lexeme)
), query AS (
    SELECT stems, total, replace(plainto_tsquery('english', $3)::text, ''' & ''', ''' | ''')::tsquery AS terms FROM words
), nearest AS (
    SELECT id FROM ai_memory.memories WHERE namespace = $1 AND tags @> $4
    ORDER BY embedding <=> $2::text::vector LIMIT {_CANDIDATES}
), sharing AS (
    SELECT id FROM ai_memory.memories, query WHERE namespace = $1 AND tags @> $4 AND lexemes @@ query.terms
    ORDER BY ts_rank_cd(lexemes, query.terms) DESC LIMIT {_CANDIDATES}
)
SELECT id, 1 - (embedding <=> $2::text::vector) AS similarity,
    CASE WHEN query.total = 0 THEN 0 ELSE
        cardinality(ARRAY(SELECT unnest(query.stems) INTERSECT SELECT unnest(tsvector_to_array(lexemes))))::float / query.total
    END AS coverage
FROM ai_memory.memories, query
WHERE id IN (SELECT id FROM nearest UNION SELECT id FROM sharing)
"""  # noqa: S608 - only constants are put together

_CHOSEN = f"SELECT {_COLUMNS} FROM ai_memory.memories WHERE id = ANY($1::uuid[])"  # noqa: S608 - only constants are put together

_LIST = f"""
SELECT {_COLUMNS} FROM ai_memory.memories
WHERE namespace = $1 AND tags @> $2 AND ($3::timestamptz IS NULL OR (created_at, id) < ($3, $4::uuid))
ORDER BY created_at DESC, id DESC LIMIT $5
"""  # noqa: S608 - only constants are put together

_FORGET_IDS = "DELETE FROM ai_memory.memories WHERE namespace = $1 AND id = ANY($2::uuid[])"
_FORGET_TAGS = "DELETE FROM ai_memory.memories WHERE namespace = $1 AND tags @> $2"


class Candidate(NamedTuple):
    """A memory that may be recalled, before its contents are fetched."""

    id: UUID
    score: float
    similarity: float
    coverage: float


class CursorError(ValueError):
    """A cursor that `list_page` did not make."""


class MemoryStore(Service):
    """All memories. Every operation is safe to repeat, so that a lost connection or a retry by a client does no harm."""

    name = "memory"
    depends_on = ("postgres",)

    def __init__(self, pool: PostgresPool) -> None:
        self._pool = pool

    async def initialize(self) -> None:
        """Brings the database to this release's schema."""
        await self._pool.run(schema.migrate)

    async def shutdown(self) -> None:
        """Nothing to stop: the pool is a part of its own."""

    async def store(
        self,
        namespace: str,
        content: str,
        tags: Sequence[str],
        metadata: Mapping[str, Any],
        embedding: Sequence[float],
        model: str,
    ) -> Stored:
        """Adds a memory; where the namespace has exactly this content, adds tags and metadata to it instead."""
        digest = hashlib.sha256(content.encode()).digest()
        values = (namespace, content, digest, list(tags), json.dumps(dict(metadata)), vector(embedding), model)

        async def insert(connection: Connection) -> Any:
            return await connection.fetchrow(_STORE, *values)

        row = await self._pool.run(insert)
        return Stored(memory=_memory(row), created=row["created"])

    async def recall(
        self, namespace: str, query: str, embedding: Sequence[float], tags: Sequence[str], limit: int, min_score: float
    ) -> Recalled:
        """The memories that fit `query` best, all of `tags` present, at least `min_score`."""

        async def search(connection: Connection) -> Recalled:
            async with connection.transaction():
                await connection.execute(_SEARCH_SETTINGS)
                candidates = [_candidate(row) for row in await connection.fetch(_RECALL, namespace, vector(embedding), query, list(tags))]
            best = sorted((c for c in candidates if c.score >= min_score), key=lambda c: (-c.score, c.id))[:limit]
            # Contents of the chosen only: those of all candidates could be a megabyte.
            rows = {row["id"]: row for row in await connection.fetch(_CHOSEN, [candidate.id for candidate in best])}
            return Recalled(matches=[_match(rows[c.id], c) for c in best if c.id in rows])

        return await self._pool.run(search)

    async def list_page(self, namespace: str, tags: Sequence[str], limit: int, cursor: str | None) -> Page:
        """Memories, newest first. Raises `CursorError`."""
        since, last = _read_cursor(cursor) if cursor else (None, None)

        async def select(connection: Connection) -> list[Any]:
            return await connection.fetch(_LIST, namespace, list(tags), since, last, limit + 1)

        rows = await self._pool.run(select)
        memories = [_memory(row) for row in rows[:limit]]
        return Page(memories=memories, next_cursor=_cursor(memories[-1]) if len(rows) > limit else None)

    async def forget(self, namespace: str, ids: Sequence[UUID], tags: Sequence[str]) -> int:
        """Deletes the memories with these ids, or those that have all of these tags; returns how many there were."""

        async def delete(connection: Connection) -> str:
            if ids:
                return await connection.execute(_FORGET_IDS, namespace, list(ids))
            return await connection.execute(_FORGET_TAGS, namespace, list(tags))

        return int((await self._pool.run(delete)).split()[-1])


def vector(numbers: Sequence[float]) -> str:
    """pgvector's text form. Seven digits are what a 32-bit number has."""
    return "[" + ",".join(f"{number:.7g}" for number in numbers) + "]"


def _memory(row: Any) -> Memory:
    return Memory(
        id=row["id"],
        namespace=row["namespace"],
        content=row["content"],
        tags=row["tags"],
        metadata=json.loads(row["metadata"]),
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


def _candidate(row: Any) -> Candidate:
    similarity, coverage = float(row["similarity"]), float(row["coverage"])
    return Candidate(row["id"], score(similarity, coverage), similarity, coverage)


def _match(row: Any, candidate: Candidate) -> Match:
    return Match(
        memory=_memory(row),
        score=round(candidate.score, 4),
        similarity=round(candidate.similarity, 4),
        coverage=round(candidate.coverage, 4),
    )


def _cursor(memory: Memory) -> str:
    return base64.urlsafe_b64encode(f"{memory.created_at.isoformat()} {memory.id}".encode()).decode()


def _read_cursor(cursor: str) -> tuple[datetime, UUID]:
    try:
        when, identity = base64.urlsafe_b64decode(cursor.encode("ascii")).decode("ascii").split(" ")
        moment = datetime.fromisoformat(when)
        if moment.tzinfo is None:
            raise ValueError
        return moment, UUID(identity)
    except (ValueError, binascii.Error):
        raise CursorError("cursor is not one that list returned; leave it out to start from the newest") from None
