"""What all parts of one run share."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, ParamSpec, TypeVar

from engine.events import EventStream
from engine.model import ResourceState, make_urn
from engine.provider import Call
from engine.providers.registry import ProviderRegistry

P = ParamSpec("P")
T = TypeVar("T")


class Bail(Exception):
    """The run cannot go on and the user has been told why already; nothing more is printed."""


@dataclass
class RunContext:
    """Identity, mode and shared services of a run."""

    project: str
    stack: str
    preview: bool
    registry: ProviderRegistry
    events: EventStream
    workers: ThreadPoolExecutor
    loop: asyncio.AbstractEventLoop
    previous: list[ResourceState]
    """The recorded resources as they were when the run began, in their order."""
    interrupted: frozenset[str] = frozenset()
    cancelled: threading.Event = field(default_factory=threading.Event)
    errored: bool = False
    """Something was reported that makes the run fail in the end, although it may go on for now."""
    policy_violation: bool = False
    defect: bool = False
    """The engine itself failed."""

    def __post_init__(self) -> None:
        self.olds = {s.urn: s for s in self.previous if not s.delete}

    @property
    def stack_urn(self) -> str:
        return make_urn(self.stack, self.project, "", "pulumi:pulumi:Stack", f"{self.project}-{self.stack}")

    def call(self, urn: str, timeout: float | None = None) -> Call:
        def log(severity: str, message: str, ephemeral: bool) -> None:
            self.loop.call_soon_threadsafe(lambda: self.events.diagnostic(severity, message, urn, ephemeral=ephemeral))

        return Call(urn=urn, preview=self.preview, cancelled=self.cancelled, log=log, timeout=timeout, adopt=urn in self.interrupted)

    async def blocking(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs provider code on a worker thread."""
        return await self.loop.run_in_executor(self.workers, lambda: function(*args, **kwargs))

    def error(self, message: str, urn: str = "") -> None:
        self.errored = True
        self.events.diagnostic("error", message, urn)

    def bail(self, message: str, urn: str = "") -> Bail:
        """Reports an error and returns the exception that ends the run."""
        self.error(message, urn)
        return Bail(message)


Json = dict[str, Any]
