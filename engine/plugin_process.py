"""A child process that serves gRPC as Pulumi's plugins do: it prints its port first, then logs."""

from __future__ import annotations

import atexit
import contextlib
import os
import queue
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import grpc

PLUGIN_MAIN = Path(__file__).with_name("plugin_main.py")
"""What runs the SDK's modules in the child; see there."""
START_SECONDS = 60.0
"""How long a plugin may take to say its port. It imports the user's modules before it does, on a loaded machine."""
_STOP_SECONDS = 5.0
_KEPT_LINES = 12
# The same limit on both sides, as in the SDK: large stacks travel in one message.
_CHANNEL_OPTIONS = [("grpc.max_receive_message_length", 400 * 1024 * 1024), ("grpc.enable_http_proxy", 0)]

LineListener = Callable[[str, bool], None]
"""on_line(text, is_error), called from a reader thread."""


class PluginError(Exception):
    """The process could not be started, or has died. The message is for the user and ends with its last words."""


class PluginProcess:
    """Owns the process, its channel and the two threads that drain its output."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        cwd: Path,
        env: Mapping[str, str],
        name: str,
        on_line: LineListener | None = None,
        hint: str = "",
    ) -> None:
        """`hint` is added to the error for a process that prints something else than its port."""
        self.name = name
        self._on_line = on_line or (lambda text, is_error: None)
        self._last: deque[str] = deque(maxlen=_KEPT_LINES)
        self._first: queue.Queue[str] = queue.Queue()
        try:
            # A session of its own, so that Ctrl-C reaches the engine alone, which then ends its children in order.
            self._process = subprocess.Popen(
                list(command),
                cwd=cwd,
                env={**os.environ, **env},
                stdin=subprocess.PIPE,  # closes with the engine, however that ends; see plugin_main
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                start_new_session=True,
            )
        except OSError as error:
            raise PluginError(f"{name}: cannot run {command[0]}: {error.strerror or error}") from None
        self._readers = [
            threading.Thread(target=self._drain, args=(stream, is_error), daemon=True)
            for stream, is_error in ((self._process.stdout, False), (self._process.stderr, True))
        ]
        # An orderly end stops the child in order; after a kill it ends itself.
        atexit.register(self._stop)
        for reader in self._readers:
            reader.start()
        try:
            self.channel = grpc.insecure_channel(f"127.0.0.1:{self._port(hint)}", options=_CHANNEL_OPTIONS)
        except BaseException:
            self._stop()
            raise

    def _drain(self, stream: IO[str], is_error: bool) -> None:
        first = not is_error
        for line in stream:
            text = line.rstrip("\n")
            if first:
                self._first.put(text)
                first = False
                continue
            if text.strip():
                self._last.append(text)
            # A listener that fails must not end the draining: the process would block on its next line.
            with contextlib.suppress(Exception):
                self._on_line(text, is_error)
        if first:
            self._first.put("")

    def _port(self, hint: str) -> int:
        try:
            line = self._first.get(timeout=START_SECONDS)
        except queue.Empty:
            raise PluginError(f"{self.name}: did not start within {START_SECONDS:g} s{self.last_words()}") from None
        if line.strip().isdigit():
            return int(line)
        if line:
            raise PluginError(f"{self.name}: printed {line[:200]!r} where its port was expected. {hint}".rstrip())
        raise self.died()

    def died(self) -> PluginError:
        """The error for a process that is gone. Waits for its end, and for its last words to be read."""
        try:
            code: int | str = self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            code = "unknown"
        self._readers[1].join(1)
        return PluginError(f"{self.name}: the process ended (exit code {code}){self.last_words()}")

    def last_words(self) -> str:
        return "".join(f"\n  {line}" for line in self._last)

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def call(self, method: Callable[..., Any], request: Any, timeout: float | None = None) -> Any:
        """One RPC. Raises PluginError if the process is gone, else lets grpc.RpcError through."""
        try:
            return method(request, timeout=timeout)
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.UNAVAILABLE:
                raise self.died() from None
            raise

    def close(self) -> None:
        self.channel.close()
        self._stop()

    def _stop(self) -> None:
        if self.alive:
            self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for reader in self._readers:
            reader.join(1)
        atexit.unregister(self._stop)
