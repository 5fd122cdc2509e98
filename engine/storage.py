"""Files that survive a crash, and the one error of everything that keeps state."""

from __future__ import annotations

import datetime
import os
from pathlib import Path


class BackendError(Exception):
    """The backend cannot be used; the message says why and what to do."""


def write_atomically(path: Path, text: str) -> None:
    """Writes beside the target, to disk, then renames: a crash leaves the old file or the new. Readable by the owner only."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the new name, too, survives a power cut
    finally:
        os.close(folder)


def timestamp() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat().replace("+00:00", "Z")
