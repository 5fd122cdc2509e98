"""The tools of the server: what a client sees, and nothing of how memories are kept."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import ToolAnnotations
from pydantic import Field

from app_images.ai_memory.embedding import Embedder
from app_images.ai_memory.models import (
    MAX_IDS,
    MAX_PAGE,
    MAX_RECALL,
    Content,
    Forgotten,
    MemoryId,
    Metadata,
    Namespace,
    Page,
    Query,
    Recalled,
    Stored,
    Tags,
)
from app_images.ai_memory.store import CursorError, MemoryStore
from app_images.runtime.breaker import CircuitOpenError
from app_images.runtime.postgres import PoolExhaustedError, PostgresPool

DEFAULT_NAMESPACE = "default"

INSTRUCTIONS = (
    "A long-term memory. Store facts worth keeping as short texts; recall them later by meaning, in other words than "
    "they were stored in. Every memory belongs to a namespace; use one for each user, project or topic."
)

TagFilter = Annotated[Tags, Field(description="Only memories that have all of these tags.")]
Limit = Annotated[int, Field(ge=1, le=MAX_RECALL, description="Matches at the most.")]
MinScore = Annotated[float, Field(ge=0, le=1, description="Leave out matches below this score; 0.3 is a loose fit, 0.5 a good one.")]
PageLimit = Annotated[int, Field(ge=1, le=MAX_PAGE, description="Memories on a page.")]
Cursor = Annotated[str | None, Field(max_length=200, description="next_cursor of the page before.")]
Ids = Annotated[list[MemoryId], Field(max_length=MAX_IDS, description="Ids of the memories to delete.")]


class MemoryTools:
    """The four tools over a store, a model and the pool whose failures they put in words."""

    def __init__(self, memories: MemoryStore, embedder: Embedder, pool: PostgresPool) -> None:
        self._memories = memories
        self._embedder = embedder
        self._pool = pool

    def register(self, server: MCPServer[Any]) -> None:
        """Adds the tools to `server`."""
        reads = ToolAnnotations(read_only_hint=True, open_world_hint=False)
        adds = ToolAnnotations(read_only_hint=False, destructive_hint=False, idempotent_hint=True, open_world_hint=False)
        deletes = ToolAnnotations(read_only_hint=False, destructive_hint=True, idempotent_hint=True, open_world_hint=False)
        server.add_tool(self.store, name="store", title="Store a memory", annotations=adds)
        server.add_tool(self.recall, name="recall", title="Recall memories", annotations=reads)
        server.add_tool(self.list_memories, name="list", title="List memories", annotations=reads)
        server.add_tool(self.forget, name="forget", title="Forget memories", annotations=deletes)

    async def store(
        self,
        content: Content,
        namespace: Namespace = DEFAULT_NAMESPACE,
        tags: Tags = [],  # noqa: B006 - never changed, and the schema shows the default
        metadata: Metadata = {},  # noqa: B006
    ) -> Stored:
        """Stores a memory. Storing the same content again adds the new tags and metadata to it."""
        embedding = await self._embedder.embed(content)
        with self._explained():
            return await self._memories.store(namespace, content, tags, metadata, embedding, self._embedder.model)

    async def recall(
        self,
        query: Query,
        namespace: Namespace = DEFAULT_NAMESPACE,
        tags: TagFilter = [],  # noqa: B006
        limit: Limit = 5,
        min_score: MinScore = 0.0,
    ) -> Recalled:
        """Finds the memories that fit a query best, by meaning and by words."""
        embedding = await self._embedder.embed(query)
        with self._explained():
            return await self._memories.recall(namespace, query, embedding, tags, limit, min_score)

    async def list_memories(
        self,
        namespace: Namespace = DEFAULT_NAMESPACE,
        tags: TagFilter = [],  # noqa: B006
        limit: PageLimit = 20,
        cursor: Cursor = None,
    ) -> Page:
        """Lists memories, newest first."""
        with self._explained():
            return await self._memories.list_page(namespace, tags, limit, cursor)

    async def forget(
        self,
        namespace: Namespace = DEFAULT_NAMESPACE,
        ids: Ids = [],  # noqa: B006
        tags: TagFilter = [],  # noqa: B006
    ) -> Forgotten:
        """Deletes memories for good: those with the given ids, or all that have the given tags. Give one of the two."""
        if bool(ids) == bool(tags):
            raise ToolError("forget needs either ids or tags, one of them and not both")
        with self._explained():
            return Forgotten(forgotten=await self._memories.forget(namespace, ids, tags))

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Failures a caller can do something about, in words; everything else is ours and goes to the log."""
        try:
            yield
        except CursorError as error:
            raise ToolError(str(error)) from None
        except CircuitOpenError as error:
            raise ToolError(f"memories cannot be reached at the moment; retry in {error.retry_after:.0f} s") from None
        except PoolExhaustedError:
            raise ToolError("too many calls at once; retry in a few seconds") from None
        except Exception as error:
            if not self._pool.is_outage(error):
                raise
            raise ToolError("memories cannot be reached at the moment; retry in a few seconds") from None
