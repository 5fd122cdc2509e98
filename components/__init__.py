"""Reusable building blocks of the platform. No knowledge of stacks: everything comes in through `args`."""

from components.app_image import AppImage, AppImageArgs
from components.connection_pool_config import ConnectionPoolConfig, ConnectionPoolConfigArgs
from components.mcp_server import McpServer, McpServerArgs
from components.postgres_database import PostgresDatabase, PostgresDatabaseArgs

__all__ = [
    "AppImage",
    "AppImageArgs",
    "ConnectionPoolConfig",
    "ConnectionPoolConfigArgs",
    "McpServer",
    "McpServerArgs",
    "PostgresDatabase",
    "PostgresDatabaseArgs",
]
