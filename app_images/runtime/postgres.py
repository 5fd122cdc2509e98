"""The pool to Postgres."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol, TypeVar

import asyncpg  # type: ignore[import-untyped]

from app_images.runtime.backend import Backend
from app_images.runtime.settings import PostgresPoolSettings, Secrets

PASSWORD = "postgres-password"  # noqa: S105 - the name of the secret

# SQLSTATE classes that speak of the server or of our access to it, not of a statement: connection, authorization,
# unknown database, resources used up, operator intervention (shutdown, starting up).
_OUTAGE_STATES = ("08", "28", "3D", "53", "57P")

T = TypeVar("T")


class Connection(Protocol):
    """The part of a connection that services use; parameters are `$1`, `$2`, …, never text in the statement."""

    async def execute(self, query: str, *args: Any) -> str: ...

    async def executemany(self, query: str, args: Sequence[Sequence[Any]]) -> None: ...

    async def fetch(self, query: str, *args: Any) -> list[Any]: ...

    async def fetchrow(self, query: str, *args: Any) -> Any: ...

    async def fetchval(self, query: str, *args: Any) -> Any: ...

    def transaction(self) -> AbstractAsyncContextManager[Any]: ...

    def is_closed(self) -> bool: ...


class PoolExhaustedError(Exception):
    """All connections stayed in use for the whole waiting time: overload, not an outage."""


class PostgresPool(Backend):
    """Connections to one Postgres database."""

    name = "postgres"

    def __init__(self, service_name: str, settings: PostgresPoolSettings, secrets: Secrets) -> None:
        super().__init__(service_name, settings)
        self._settings = settings
        self._secrets = secrets
        self._pool: Any = None

    async def open(self) -> None:
        """Opens `min` connections. The password is read anew for each connection, so that it can be rotated."""
        settings = self._settings
        self._secrets.read(PASSWORD)  # a missing secret is a mistake of the deployment, not an outage
        pool = asyncpg.create_pool(
            host=settings.host,
            port=settings.port,
            database=settings.database,
            user=settings.user,
            password=lambda: self._secrets.read(PASSWORD),
            min_size=settings.min,
            max_size=settings.max,
            timeout=min(settings.timeout_seconds, 10),
            command_timeout=settings.timeout_seconds,
            # Plans of prepared statements outlive a migration by other replicas; 5 minutes bound it, as for idle
            # connections that a firewall between us and the server may have forgotten.
            max_inactive_connection_lifetime=300,
            server_settings={"application_name": self.service_name},
        )
        try:
            await pool
            async with pool.acquire() as connection:
                await connection.fetchval("SELECT 1")
        except BaseException:
            pool.terminate()
            raise
        self._pool = pool

    async def check(self) -> None:
        """One round trip."""
        async with self._pool.acquire(timeout=self._settings.timeout_seconds) as connection:
            await connection.fetchval("SELECT 1")

    async def close(self) -> None:
        """Waits for connections in use; what is still in use when the caller's patience ends is cut."""
        pool, self._pool = self._pool, None
        if pool is None:
            return
        try:
            await pool.close()
        except asyncio.CancelledError:
            pool.terminate()
            raise

    def sizes(self) -> tuple[int, int]:
        """Connections in use, and open connections."""
        if self._pool is None:
            return 0, 0
        size = self._pool.get_size()
        return size - self._pool.get_idle_size(), size

    def is_outage(self, error: BaseException) -> bool:
        """Connections refused, lost or timed out; logins refused; a server that starts, stops or is full."""
        if isinstance(error, asyncpg.PostgresError):
            return str(error.sqlstate or "").startswith(_OUTAGE_STATES)
        if isinstance(error, asyncpg.InterfaceError):
            return "closed" in str(error) or "connection" in str(error)
        return isinstance(error, OSError | TimeoutError)

    def explain(self, error: BaseException) -> str:
        """Address and reason."""
        settings = self._settings
        reason = str(error) or type(error).__name__
        if isinstance(error, TimeoutError):
            reason = "no answer in time"
        return f"postgres at {settings.host}:{settings.port}, database {settings.database}: {reason}"

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A connection for a short time. Raises `CircuitOpenError` or `PoolExhaustedError` without calling the server."""
        async with self.breaker.guard(self._counts):
            connection = await self._acquire()
            try:
                yield connection
            except BaseException as error:
                if self.is_outage(error):
                    self.note_outage(error)
                raise
            finally:
                await self._pool.release(connection)

    async def run(self, operation: Callable[[Connection], Awaitable[T]]) -> T:
        """`operation` with a connection; once more where the connection was lost, as all are when the server restarts.

        So `operation` must be safe to repeat.
        """
        try:
            async with self.connection() as connection:
                return await operation(connection)
        except Exception as error:
            if not _lost(error):
                raise
        async with self.connection() as connection:
            return await operation(connection)

    async def _acquire(self) -> Any:
        settings = self._settings
        try:
            return await self._pool.acquire(timeout=settings.timeout_seconds)
        except TimeoutError as error:
            if self._pool.get_size() == settings.max and self._pool.get_idle_size() == 0:
                raise PoolExhaustedError(
                    f"all {settings.max} connections to postgres were in use for {settings.timeout_seconds:g} s"
                ) from None
            self.note_outage(error)
            raise
        except Exception as error:
            if self.is_outage(error):
                self.note_outage(error)
            raise

    def _counts(self, error: BaseException) -> bool:
        return not isinstance(error, PoolExhaustedError) and self.is_outage(error)


def _lost(error: Exception) -> bool:
    """Whether an established connection broke, so that a new one may well work."""
    gone = asyncpg.ConnectionDoesNotExistError, asyncpg.AdminShutdownError, asyncpg.CrashShutdownError, ConnectionResetError
    return isinstance(error, gone) or (isinstance(error, asyncpg.InterfaceError) and "closed" in str(error))
