"""Processes by number and start time, so that a number used again by the kernel is never mistaken for ours."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

_START_TIME = 19
"""Position of the start time in /proc/PID/stat after the name (field 22 of proc(5), counted from the state)."""
_ZOMBIE = "Z"


@dataclass(frozen=True)
class Process:
    """One process of this boot."""

    pid: int
    started: int

    @classmethod
    def of(cls, pid: int) -> Process | None:
        """The process that has this number now; None when none has, or when it is a zombie."""
        try:
            after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return None
        return None if after_name[0] == _ZOMBIE else cls(pid, int(after_name[_START_TIME]))

    def alive(self) -> bool:
        return Process.of(self.pid) == self

    def signal(self, number: int) -> None:
        if self.alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def stop(self, seconds: float) -> None:
        """SIGTERM, and SIGKILL when it has not ended after `seconds`."""
        self.signal(signal.SIGTERM)
        if not self.wait(seconds):
            self.signal(signal.SIGKILL)
            self.wait(5)

    def wait(self, seconds: float) -> bool:
        """Whether it has ended, waiting up to `seconds`."""
        end = time.monotonic() + seconds
        while self.alive():
            if time.monotonic() > end:
                return False
            time.sleep(0.05)
        return True


def write_pid(path: Path, process: Process) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{process.pid} {process.started}\n")


def read_pid(path: Path) -> Process | None:
    """The process a pid file names, if it is alive."""
    try:
        pid, started = path.read_text().split()
    except (OSError, ValueError):
        return None
    process = Process(int(pid), int(started))
    return process if process.alive() else None


def resident_bytes(pid: int) -> int:
    """Resident memory of a process, 0 when it is gone."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
