"""One operation on a stack at a time, among embedded engines and the CLI alike."""

from __future__ import annotations

import fcntl
import getpass
import json
import os
import socket
import uuid
from pathlib import Path
from types import TracebackType
from typing import Any

from engine.storage import BackendError, timestamp

_ENGINE = "embedded"


class StackLock:
    """Pulumi's lock files (one JSON file a holder, in the stack's lock folder), made safe by a lock of the kernel.

    Pulumi's protocol writes its file and then looks for others, so two that start together both back off. Between
    embedded engines the kernel's lock decides first, and it goes with the process, so that a crash leaves nothing to clean.
    What a dead process of this machine left is removed, where the CLI would ask for `pulumi cancel`: after a crash the
    next run just works. The price: a CLI in a container that shares this machine's host name, but not its process ids, looks
    dead. Container runtimes give every container a name of its own, unless they are told not to.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._mine = folder / f"{uuid.uuid4()}.json"
        # Beside the folder, not in it: to the CLI every file in there is a lock.
        self._guard_path = folder.parent / f".{folder.name}.guard"
        self._guard: int | None = None

    def __enter__(self) -> StackLock:
        """Raises BackendError naming the holder."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        guard = os.open(self._guard_path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(guard)
            raise BackendError(_message(self._others())) from None
        self._guard = guard
        try:
            self._refuse_if_held()
            self._write()
            self._refuse_if_held()  # the CLI may have come in between; it looks again after writing, too
        except BaseException:
            self.release()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.release()

    def release(self) -> None:
        """Gives the stack free. May be called more than once."""
        if self._guard is not None:
            self._mine.unlink(missing_ok=True)
            os.close(self._guard)
            self._guard = None

    def _write(self) -> None:
        about = {"pid": os.getpid(), "username": _user(), "hostname": socket.gethostname(), "timestamp": timestamp(), "engine": _ENGINE}
        part = self._folder.parent / f".{self._mine.name}"
        part.write_text(json.dumps(about))
        part.replace(self._mine)

    def _refuse_if_held(self) -> None:
        held = {}
        for path, about in self._others().items():
            if _is_left_over(about):
                path.unlink(missing_ok=True)
            else:
                held[path] = about
        if held:
            raise BackendError(_message(held))

    def _others(self) -> dict[Path, dict[str, Any]]:
        """Everybody else's lock files and what they say; nothing for one that cannot be read."""
        found: dict[Path, dict[str, Any]] = {}
        for path in sorted(self._folder.glob("*.json")):
            if path == self._mine:
                continue
            try:
                about = json.loads(path.read_text())
            except FileNotFoundError:
                continue  # given free meanwhile
            except (OSError, ValueError):
                about = {}
            found[path] = about if isinstance(about, dict) else {}
        return found


def _is_left_over(about: dict[str, Any]) -> bool:
    """Whether its holder is gone for certain. Asked while the kernel's lock is held, which no embedded engine can share."""
    if about.get("hostname") != socket.gethostname():
        return False
    return about.get("engine") == _ENGINE or (isinstance(about.get("pid"), int) and not _alive(about["pid"]))


def _message(holders: dict[Path, dict[str, Any]]) -> str:
    known = [about for about in holders.values() if about]
    who = "; ".join(f"{a.get('username')}@{a.get('hostname')} (pid {a.get('pid')}) since {a.get('timestamp')}" for a in known)
    where = f" Lock file: {next(iter(holders))}." if holders else ""
    return (
        f"the stack is currently locked by {who or 'another process'}. "
        f"Wait until it is done; if nothing runs there any more, remove the lock.{where}"
    )


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
