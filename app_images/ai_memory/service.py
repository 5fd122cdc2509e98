"""Puts the service together."""

from __future__ import annotations

from mcp.server.mcpserver import MCPServer

from app_images.ai_memory.embedding import Embedder
from app_images.ai_memory.models import MAX_BODY_BYTES
from app_images.ai_memory.store import MemoryStore
from app_images.ai_memory.tools import INSTRUCTIONS, MemoryTools
from app_images.runtime.lifecycle import Registry
from app_images.runtime.mcp import OperationMetrics, http_app, request_state_security
from app_images.runtime.postgres import PostgresPool
from app_images.runtime.process import Assembly
from app_images.runtime.settings import Secrets, Settings, SettingsError

VERSION = "0.1.0"


def assemble(settings: Settings, secrets: Secrets) -> Assembly:
    """The parts and the application of ai-memory. Raises `SettingsError` where a pool it needs is not given."""
    if settings.pools.postgres is None:
        raise SettingsError(["settings.json: pools.postgres: is missing. ai-memory keeps its memories there."])
    name = settings.service.name
    pool = PostgresPool(name, settings.pools.postgres, secrets)
    memories, embedder = MemoryStore(pool), Embedder()
    tools = ("store", "recall", "list", "forget")
    server: MCPServer[None] = MCPServer(
        name,
        title="AI Memory",
        instructions=INSTRUCTIONS,
        version=VERSION,
        request_state_security=request_state_security(secrets),
        # The tools never change while the process lives, so there is nothing to listen for; a stream that is open for
        # nothing would hold up every shutdown.
        subscriptions=False,
        middleware=[OperationMetrics(name, lambda: tools)],
    )
    MemoryTools(memories, embedder, pool).register(server)
    return Assembly(Registry(name, [pool, embedder, memories]), http_app(server, settings.service, MAX_BODY_BYTES))
