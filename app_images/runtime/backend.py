"""What every connection pool has: a breaker, a health monitor, gauges, and a start that waits for its backend.

A pool of another backend adds how to open, check and close it, and which errors mean that the backend failed.
"""

from __future__ import annotations

import asyncio
import contextlib
from abc import abstractmethod

from app_images.runtime import logs, metrics
from app_images.runtime.breaker import CircuitBreaker, State
from app_images.runtime.lifecycle import Health, Service, Status
from app_images.runtime.settings import PoolSection

log = logs.logger(__name__)

# Seconds between attempts while a backend does not answer, at most. Short, because a replica that waits longer than
# its backend was away is an outage of its own making; one connection attempt in this time harms no server.
RETRY_SECONDS = 5.0
_FIRST_RETRY_SECONDS = 0.25

# A check that takes longer tells as much as one that fails.
_CHECK_TIMEOUT_SECONDS = 5.0

_STATE_VALUES = {State.CLOSED: 0, State.HALF_OPEN: 1, State.OPEN: 2}


class Backend(Service):
    """A pool to one backend, as a part of the process.

    The start waits until the backend answers, however long that takes: the replica is not ready until then, so that a
    rolling update with a wrong address stops at its first pod. Once started, a backend that breaks degrades the
    replica but leaves it in rotation: all replicas share the backend, and taking all of them out helps nobody.

    The monitor asks a healthy backend every `health_interval_seconds` and a broken one every few seconds. Its questions
    pass by the breaker, and an answer closes it: so a backend that is back is used within seconds, not only after the
    breaker's recovery time.
    """

    def __init__(self, service_name: str, settings: PoolSection) -> None:
        self.service_name = service_name
        self._section = settings
        self.breaker = CircuitBreaker(self.name, settings.breaker.failures, settings.breaker.recovery_seconds)
        self._problem = "not connected yet"
        self._monitor: asyncio.Task[None] | None = None

    @abstractmethod
    async def open(self) -> None:
        """Opens the pool; raises what `is_outage` recognises where the backend does not answer."""

    @abstractmethod
    async def check(self) -> None:
        """Asks the backend the cheapest question there is, over the pool."""

    @abstractmethod
    async def close(self) -> None:
        """Closes the pool, also one that was not or only partly opened."""

    @abstractmethod
    def is_outage(self, error: BaseException) -> bool:
        """Whether `error` means that the backend failed, and not that it refused a particular request."""

    @abstractmethod
    def explain(self, error: BaseException) -> str:
        """One line for an operator: what, where, why. No secrets."""

    @abstractmethod
    def sizes(self) -> tuple[int, int]:
        """Connections in use, and open connections."""

    async def initialize(self) -> None:
        """Waits for the backend, then watches it."""
        self._show_gauges()
        delay = _FIRST_RETRY_SECONDS
        while True:
            try:
                await self.open()
                break
            except Exception as error:
                if not self.is_outage(error):
                    raise
                self._note(error)
            await asyncio.sleep(delay)
            delay = min(delay * 2, RETRY_SECONDS)
        self._note(None)
        self._monitor = asyncio.create_task(self._watch(), name=f"monitor {self.name}")

    async def health(self) -> Health:
        """What the monitor last saw; asks nobody."""
        if self.breaker.state is not State.CLOSED:
            return Health(Status.DEGRADED, f"{self._problem or 'calls failed'}; circuit {self.breaker.state}")
        return Health(Status.DEGRADED, self._problem) if self._problem else Health(Status.UP)

    async def shutdown(self) -> None:
        """Stops watching and closes the pool."""
        if self._monitor:
            self._monitor.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._monitor
            self._monitor = None
        await self.close()

    async def _watch(self) -> None:
        while True:
            interval = self._section.health_interval_seconds
            await asyncio.sleep(min(RETRY_SECONDS, interval) if self._problem else interval)
            try:
                async with asyncio.timeout(_CHECK_TIMEOUT_SECONDS):
                    await self.check()
            except Exception as error:
                self._note(error)
            else:
                self.breaker.reset()
                self._note(None)

    def note_outage(self, error: BaseException) -> None:
        """Tells the monitor that a call failed, so that it asks again soon."""
        self._note(error)

    def _note(self, error: BaseException | None) -> None:
        """Logs the change, not every repetition."""
        problem = self.explain(error) if error else ""
        if problem and problem != self._problem:
            log.warning("backend does not answer", backend=self.name, problem=problem)
        elif self._problem and not problem:
            log.info("backend answers", backend=self.name)
        self._problem = problem
        metrics.BACKEND_UP.labels(self.service_name, self.name).set(0 if problem else 1)

    def _show_gauges(self) -> None:
        metrics.ACTIVE_CONNECTIONS.labels(self.service_name, self.name).set_function(lambda: self.sizes()[0])
        metrics.POOL_SIZE.labels(self.service_name, self.name).set_function(lambda: self.sizes()[1])
        state = metrics.BREAKER_STATE.labels(self.service_name, self.name)
        state.set_function(lambda: _STATE_VALUES[self.breaker.state])
