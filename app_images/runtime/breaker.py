"""Circuit breaker: stops calling a backend that fails, and tries it again with a single call.

closed  --failures in a row-->  open  --recovery time-->  half-open  --the trial succeeds-->  closed
                                  ^---------------the trial fails---------------'
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from enum import StrEnum


class State(StrEnum):
    """What the breaker does with a call."""

    CLOSED = "closed"
    """Lets it through."""
    OPEN = "open"
    """Refuses it."""
    HALF_OPEN = "half-open"
    """Lets one through to see, refuses the others."""


class CircuitOpenError(Exception):
    """A call that was refused because its backend is failing."""

    def __init__(self, backend: str, retry_after: float) -> None:
        self.backend = backend
        self.retry_after = retry_after
        super().__init__(f"{backend} is failing and is not called for the moment; retry in {retry_after:.0f} s")


class CircuitBreaker:
    """The breaker of one backend in one process. Not thread-safe: it belongs to one event loop."""

    def __init__(self, backend: str, failures: int = 5, recovery_seconds: float = 60, clock: Callable[[], float] = time.monotonic) -> None:
        self.backend = backend
        self._threshold = failures
        self._recovery = recovery_seconds
        self._clock = clock
        self._failures = 0
        self._opened_at: float | None = None
        self._on_trial = False

    @property
    def state(self) -> State:
        """The state now; an open circuit becomes half-open by the passage of time alone."""
        if self._opened_at is None:
            return State.CLOSED
        return State.OPEN if self._clock() - self._opened_at < self._recovery else State.HALF_OPEN

    @property
    def retry_after(self) -> float:
        """Seconds until a call may be let through; 0 where it may be now."""
        if self._opened_at is None:
            return 0.0
        return max(0.0, self._recovery - (self._clock() - self._opened_at))

    def admit(self) -> None:
        """Lets a call through or raises `CircuitOpenError`. Whoever is let through must report how it went."""
        state = self.state
        if state is State.OPEN or (state is State.HALF_OPEN and self._on_trial):
            raise CircuitOpenError(self.backend, max(1.0, self.retry_after))
        self._on_trial = state is State.HALF_OPEN

    def succeeded(self) -> None:
        """The call was answered. A late answer to a call from before the circuit opened does not close it."""
        if self.state is not State.OPEN:
            self.reset()

    def failed(self) -> None:
        """The backend did not answer. Late failures of calls from before the circuit opened do not prolong it."""
        state = self.state
        if state is State.OPEN:
            return
        self._failures += 1
        if state is State.HALF_OPEN or self._failures >= self._threshold:
            self._opened_at = self._clock()
            self._on_trial = False

    def released(self) -> None:
        """The call ended without a verdict, for example cancelled by its caller: the next one may be the trial."""
        self._on_trial = False

    def reset(self) -> None:
        """Closes the circuit: the backend is known to answer."""
        self._failures = 0
        self._opened_at = None
        self._on_trial = False

    @asynccontextmanager
    async def guard(self, counts: Callable[[BaseException], bool]) -> AsyncIterator[None]:
        """Runs a call under the breaker. `counts` says whether an exception is a failure of the backend.

        Other exceptions mean that the backend answered, and count as a success.
        """
        self.admit()
        try:
            yield
        except (asyncio.CancelledError, GeneratorExit):
            self.released()
            raise
        except BaseException as error:
            if counts(error):
                self.failed()
            else:
                self.succeeded()
            raise
        self.succeeded()
