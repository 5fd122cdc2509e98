"""Runs a service from its first log line to its exit status.

On SIGTERM: not ready, no new connections, requests in flight finish (`shutdown_grace_seconds`), then the parts stop in
reverse order. A second SIGTERM cuts what is in flight and gives each part a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import uvicorn
import uvloop

from app_images.runtime import logs, metrics, redaction
from app_images.runtime.front import App, Front, Phase
from app_images.runtime.lifecycle import LifecycleError, Registry
from app_images.runtime.settings import Secrets, Settings, SettingsError, load

log = logs.logger(__name__)

# Longer than the idle time of the usual proxies (60 s), so that they close a connection and not we: a request that
# crosses our close on the wire would be lost.
_KEEP_ALIVE_SECONDS = 75

# Seconds each part has to stop. The kubelet kills 5 s after the grace is over; a part that hangs must leave time to the others.
_PART_TIMEOUT_SECONDS = 2
_HURRIED_PART_TIMEOUT_SECONDS = 1


@dataclass(frozen=True)
class Assembly:
    """A service put together, not yet started."""

    registry: Registry
    """Its parts."""
    app: App
    """Its ASGI application; the front is put before it."""


class _Server(uvicorn.Server):
    """uvicorn without its own signal handlers."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def main(assemble: Callable[[Settings, Secrets], Assembly]) -> int:
    """Loads the settings, assembles the service and runs it. Returns the exit status.

    0 after a requested stop, 1 where it could not start or run, 2 where its settings are wrong. Mistakes of the
    deployment are one log line each, without a traceback.
    """
    logs.configure("service")
    try:
        settings, secrets = load()
        logs.configure(settings.service.name)
        assembly = assemble(settings, secrets)
    except SettingsError as error:
        for line in error.lines:
            log.error("the settings are wrong", problem=line)
        return 2
    except LifecycleError as error:
        log.error("the service cannot be put together", problem=str(error))
        return 1
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(Process(settings, assembly).run())


class Process:
    """The running service."""

    def __init__(self, settings: Settings, assembly: Assembly) -> None:
        self._settings = settings.service
        self._registry = assembly.registry
        self._front = Front(assembly.app, settings.service, assembly.registry)
        self._server = _Server(
            uvicorn.Config(
                self._front,
                log_config=None,
                access_log=False,
                server_header=False,
                lifespan="on",
                timeout_keep_alive=_KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=settings.service.shutdown_grace_seconds,
            )
        )
        self._stop = asyncio.Event()
        self._hurry = False

    async def run(self) -> int:
        """Serves until a signal or a failure; returns the exit status."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled, number)
        try:
            listener = _listen(self._settings.port)
            stop_metrics = metrics.serve(self._settings.metrics_port)
        except OSError as error:
            ports = f"{self._settings.port} or {self._settings.metrics_port}"
            log.error("cannot listen", problem=f"port {ports}: {error.strerror}. Free it or change the settings.")
            return 1
        server = asyncio.create_task(self._server.serve(sockets=[listener]), name="server")
        try:
            return await self._live(server)
        finally:
            stop_metrics()

    async def _live(self, server: asyncio.Task[None]) -> int:
        stop = asyncio.create_task(self._stop.wait(), name="stop")
        status = await self._start(server, stop)
        if status is None:
            self._front.phase = Phase.READY
            log.info("ready", port=self._settings.port, metrics_port=self._settings.metrics_port)
            await asyncio.wait({server, stop}, return_when=asyncio.FIRST_COMPLETED)
            status = 0 if self._stop.is_set() else 1
        self._front.phase = Phase.STOPPING
        stop.cancel()
        await self._drain(server)
        await self._registry.stop(_HURRIED_PART_TIMEOUT_SECONDS if self._hurry else _PART_TIMEOUT_SECONDS)
        log.info("stopped", exit_status=status)
        return status

    async def _start(self, server: asyncio.Task[None], stop: asyncio.Task[bool]) -> int | None:
        """Starts the parts while `/health` already answers. None where all is well, else the exit status."""
        start = asyncio.create_task(self._registry.start(), name="start")
        await asyncio.wait({start, server, stop}, return_when=asyncio.FIRST_COMPLETED)
        if start.done() and not (error := start.exception()):
            return None
        if start.done():
            log.error("the service did not start", problem=redaction.clean(str(error)), exc_info=_unexpected(error))
            return 1
        start.cancel()
        await asyncio.wait({start})
        return 0 if self._stop.is_set() else 1

    async def _drain(self, server: asyncio.Task[None]) -> None:
        if self._front.in_flight:
            log.info("finishing requests", in_flight=self._front.in_flight)
        self._server.should_exit = True
        try:
            await server
        except (Exception, SystemExit) as error:
            log.error("the server failed", error=repr(error))

    def _signalled(self, number: int) -> None:
        if self._stop.is_set():
            log.warning("asked again: not waiting for requests in flight", signal=signal.Signals(number).name)
            self._hurry = self._server.force_exit = True
            return
        log.info("stopping", signal=signal.Signals(number).name)
        # Not ready before anything else: whoever asks from now on must not be sent more.
        self._front.phase = Phase.STOPPING
        self._stop.set()


def _unexpected(error: BaseException | None) -> BaseException | None:
    """The cause where it needs a traceback; a missing secret or model explains itself."""
    cause = error.__cause__ if error else None
    return None if isinstance(cause, SettingsError | OSError) else cause


def _listen(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Inherited by accepted connections. Without it, head and body of an answer are two packets of which the second
        # waits for the caller's delayed acknowledgement: 40 ms for every call.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.bind(("0.0.0.0", port))  # noqa: S104 - a pod is reached at its own address only
        listener.listen(2048)
    except OSError:
        listener.close()
        raise
    listener.setblocking(False)
    return listener
