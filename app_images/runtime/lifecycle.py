"""The parts of a service: what each needs, in which order they start, how they stop.

Parts start as soon as everything they depend on has started, independent ones at the same time, and stop in the
reverse order. A start that fails is rolled back: no half-started process is left behind.
"""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from app_images.runtime import logs, metrics

log = logs.logger(__name__)


class Status(StrEnum):
    """How a part is doing."""

    UP = "up"
    """It does its work."""
    DEGRADED = "degraded"
    """It cannot do its work now, and recovers by itself; a restart would not help."""


@dataclass(frozen=True)
class Health:
    """What a part says about itself."""

    status: Status
    detail: str = ""
    """Why it is degraded, in words for an operator. No secrets: everybody who reaches the port may read it."""


class Service(ABC):
    """One part of a process with a life of its own: a pool, a model, a store."""

    name: str
    """Unique in the process."""
    depends_on: tuple[str, ...] = ()
    """Names of the parts that must have started before this one starts, and that stop after it."""

    @abstractmethod
    async def initialize(self) -> None:
        """Starts the part. An exception means that it cannot start, and the whole process stops."""

    async def health(self) -> Health:
        """How it is doing. Called often: must be quick and must not call a backend."""
        return Health(Status.UP)

    @abstractmethod
    async def shutdown(self) -> None:
        """Stops the part. Also called after an `initialize` that failed or was cancelled halfway."""


class LifecycleError(Exception):
    """Parts that cannot be started in any order: unknown names, duplicates, cycles."""


class StartupError(Exception):
    """A part that did not start; `__cause__` is the reason."""

    def __init__(self, part: str, cause: BaseException) -> None:
        self.part = part
        super().__init__(f"{part} did not start: {cause}")


def start_order(dependencies: Mapping[str, Collection[str]]) -> list[str]:
    """The parts so that each comes after everything it depends on; otherwise in the order they are given.

    Raises `LifecycleError` naming an unknown dependency, or the whole path of a cycle.
    """
    order: dict[str, None] = {}
    for name in dependencies:
        _visit(name, dependencies, order, [])
    return list(order)


def _visit(name: str, dependencies: Mapping[str, Collection[str]], order: dict[str, None], path: list[str]) -> None:
    if name in order:
        return
    if name in path:
        cycle = " -> ".join([*path[path.index(name) :], name])
        raise LifecycleError(f"{cycle} is a cycle: none of them can start first. Remove one of these dependencies.")
    if name not in dependencies:
        known = ", ".join(sorted(dependencies)) or "none"
        trail = " -> ".join([*path, name])
        raise LifecycleError(f"{trail}: {name!r} is not registered. Register it or correct the name (known: {known}).")
    for dependency in dependencies[name]:
        _visit(dependency, dependencies, order, [*path, name])
    order[name] = None


class Registry:
    """All parts of one process. Raises `LifecycleError` when made of parts that cannot be started."""

    def __init__(self, service_name: str, parts: Iterable[Service]) -> None:
        self.service_name = service_name
        self._parts: dict[str, Service] = {}
        for part in parts:
            if part.name in self._parts:
                raise LifecycleError(f"{part.name!r} is registered twice. Give each part a name of its own.")
            self._parts[part.name] = part
        self._order = start_order({name: part.depends_on for name, part in self._parts.items()})
        self._begun: list[Service] = []

    async def start(self) -> None:
        """Starts all parts, or none. Raises `StartupError` for the part that failed first."""
        began = time.monotonic()
        done = {name: asyncio.Event() for name in self._order}
        try:
            async with asyncio.TaskGroup() as group:
                for name in self._order:
                    group.create_task(self._start_part(self._parts[name], done), name=f"start {name}")
        except BaseExceptionGroup as failures:
            await self.stop()
            first = failures.exceptions[0]
            metrics.STARTUP_FAILURES.labels(self.service_name, _kind(first)).inc()
            raise first from first.__cause__
        except asyncio.CancelledError:
            await self.stop()
            raise
        metrics.STARTUP_DURATION.labels(self.service_name).observe(time.monotonic() - began)

    async def _start_part(self, part: Service, done: Mapping[str, asyncio.Event]) -> None:
        for dependency in part.depends_on:
            await done[dependency].wait()
        label, began = f"{self.service_name}.{part.name}", time.monotonic()
        self._begun.append(part)
        try:
            await part.initialize()
        except Exception as error:
            metrics.STARTUP_FAILURES.labels(label, type(error).__name__).inc()
            raise StartupError(part.name, error) from error
        seconds = time.monotonic() - began
        metrics.STARTUP_DURATION.labels(label).observe(seconds)
        log.info("part started", part=part.name, seconds=round(seconds, 3))
        done[part.name].set()

    async def stop(self, timeout_seconds: float = 10) -> None:
        """Stops what was begun, the last one first. A part that fails or hangs does not keep the others from stopping."""
        while self._begun:
            part = self._begun.pop()
            try:
                async with asyncio.timeout(timeout_seconds):
                    await part.shutdown()
            except Exception as error:
                log.error("part did not stop cleanly", part=part.name, error=repr(error))

    async def health(self, timeout_seconds: float = 2) -> dict[str, Health]:
        """How each part is doing, asked at the same time. A part that does not answer in time is degraded."""
        names = list(self._parts)
        answers = await asyncio.gather(*(self._ask(self._parts[name], timeout_seconds) for name in names))
        return dict(zip(names, answers, strict=True))

    async def _ask(self, part: Service, timeout_seconds: float) -> Health:
        try:
            async with asyncio.timeout(timeout_seconds):
                return await part.health()
        except Exception as error:
            log.warning("health check failed", part=part.name, error=repr(error))
            return Health(Status.DEGRADED, f"the check failed ({type(error).__name__})")


def _kind(error: BaseException) -> str:
    return type(error.__cause__ or error).__name__
