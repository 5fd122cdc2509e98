"""The tables of the memory store, and how a database gets them.

Migrations are numbered, applied once, each in a transaction, under a lock that all replicas share: of several that
start at once, one applies and the others wait and find it done. A migration that is published is never edited; the next
change is the next number. Each must leave the previous release working, because during a rolling update both run.
"""

from __future__ import annotations

from app_images.ai_memory.minilm import DIMENSIONS
from app_images.runtime import logs
from app_images.runtime.postgres import Connection

log = logs.logger(__name__)

# Any fixed number; it names the lock among all users of the database. ("aimemory" as bytes)
_LOCK = 0x61696D656D6F7279

_SCHEMA = "CREATE SCHEMA IF NOT EXISTS ai_memory"
_HISTORY = """
CREATE TABLE IF NOT EXISTS ai_memory.migrations (
    number integer PRIMARY KEY,
    applied_at timestamptz NOT NULL DEFAULT now()
)
"""

# The vector type comes from an extension that only a superuser can make; where an administrator has made it, no
# privilege is needed. `content_sha256` makes storing the same thing twice harmless. HNSW: approximate nearest
# neighbours by cosine in logarithmic time; m and ef_construction are pgvector's defaults.
_MEMORIES = f"""
CREATE EXTENSION IF NOT EXISTS vector;

CREATE TABLE ai_memory.memories (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    namespace text NOT NULL,
    content text NOT NULL,
    content_sha256 bytea NOT NULL,
    tags text[] NOT NULL DEFAULT '{{}}',
    metadata jsonb NOT NULL DEFAULT '{{}}',
    embedding vector({DIMENSIONS}) NOT NULL,
    model text NOT NULL,
    lexemes tsvector NOT NULL GENERATED ALWAYS AS (to_tsvector('english', content)) STORED,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (namespace, content_sha256)
);

CREATE INDEX memories_newest ON ai_memory.memories (namespace, created_at DESC, id DESC);
CREATE INDEX memories_tags ON ai_memory.memories USING gin (tags);
CREATE INDEX memories_lexemes ON ai_memory.memories USING gin (lexemes);
CREATE INDEX memories_embedding ON ai_memory.memories USING hnsw (embedding vector_cosine_ops) WITH (m = 16, ef_construction = 64);
"""

MIGRATIONS: tuple[str, ...] = (_MEMORIES,)


class SchemaError(Exception):
    """A database this release cannot work with."""


async def migrate(connection: Connection, migrations: tuple[str, ...] = MIGRATIONS) -> int:
    """Applies what is missing and returns how many that were. Safe to run at the same time from any number of replicas.

    A database that a newer release has migrated is left alone: migrations keep the previous release working.
    """
    async with connection.transaction():
        # Held until the end of the transaction, so that a replica that dies here blocks nobody.
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
        await connection.execute(_SCHEMA)
        await connection.execute(_HISTORY)
        applied: int = await connection.fetchval("SELECT coalesce(max(number), 0) FROM ai_memory.migrations")
        for number in range(applied + 1, len(migrations) + 1):
            await connection.execute(migrations[number - 1])
            await connection.execute("INSERT INTO ai_memory.migrations (number) VALUES ($1)", number)
            log.info("migration applied", number=number)
    return max(0, len(migrations) - applied)
