"""One operation on a stack at a time, among embedded engines and the CLI alike."""

from __future__ import annotations

import contextlib
import fcntl
import getpass
import json
import os
import socket
import uuid
from pathlib import Path
from types import TracebackType

from engine.backend import BackendError, timestamp


class StackLock:
    """Pulumi's lock files (one JSON file a holder, in the stack's lock folder), made safe by a lock of the kernel.

    Pulumi's protocol writes its file and then looks for others, so two that start together both back off. Between
    embedded engines the kernel's lock decides instead, and it goes with the process, so that a crash leaves nothing to clean.
    A file of a process of this machine that is no longer there is removed; the CLI would ask for `pulumi cancel`.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._mine = folder / f"{uuid.uuid4()}.json"
        self._guard: int | None = None

    def __enter__(self) -> StackLock:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        guard = os.open(self._folder / ".embedded", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(guard)
            raise BackendError(self._message(self._holders())) from None
        self._guard = guard
        holders = self._holders()
        if holders:
            self._release_guard()
            raise BackendError(self._message(holders))
        about = {"pid": os.getpid(), "username": _user(), "hostname": socket.gethostname(), "timestamp": timestamp()}
        self._mine.write_text(json.dumps(about))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._mine.unlink(missing_ok=True)
        self._release_guard()

    def _release_guard(self) -> None:
        if self._guard is not None:
            os.close(self._guard)
            self._guard = None

    def _holders(self) -> list[Path]:
        """Lock files of others that still count; those of dead processes of this machine are removed."""
        found = []
        for path in sorted(self._folder.glob("*.json")):
            try:
                about = json.loads(path.read_text())
                dead = about["hostname"] == socket.gethostname() and not _alive(int(about["pid"]))
            except (OSError, ValueError, KeyError, TypeError):
                dead = False
            if dead:
                path.unlink(missing_ok=True)
            else:
                found.append(path)
        return found

    @staticmethod
    def _message(holders: list[Path]) -> str:
        lines = []
        for path in holders:
            with contextlib.suppress(OSError, ValueError):
                about = json.loads(path.read_text())
                lines.append(f"{about.get('username')}@{about.get('hostname')} (pid {about.get('pid')}) at {about.get('timestamp')}")
        who = "; ".join(lines) or "another process"
        where = f" Lock file: {holders[0]}." if holders else ""
        return f"the stack is currently locked by {who}. Wait until it is done; if nothing runs there any more, remove the lock.{where}"


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
