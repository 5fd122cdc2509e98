"""Where states are kept: Pulumi's own file backend layout, so that `pulumi login file://…` continues on the same state."""

from __future__ import annotations

import datetime
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from engine.checkpoint import VERSION, CheckpointError, dumps


class BackendError(Exception):
    """The backend cannot be used; the message says why and what to do."""


class FileBackend:
    """`<folder>/.pulumi`: states in `stacks/<project>/<stack>.json`, the previous one beside it as `.bak`."""

    def __init__(self, url: str, cwd: Path) -> None:
        """A backend from a URL: `file://~`, `file:///absolute`, `file://relative` (to `cwd`). Raises BackendError for others."""
        scheme, separator, path = url.partition("://")
        if not separator or scheme != "file":
            raise BackendError(
                f"backend {url!r}: the embedded engine has file:// backends only; others need the pulumi CLI (`--engine pulumi`)."
            )
        folder = Path(path.split("?", 1)[0]).expanduser()
        self.url = url
        self.folder = (folder if folder.is_absolute() else cwd / folder) / ".pulumi"

    def state_file(self, project: str, stack: str) -> Path:
        return self.folder / "stacks" / project / f"{stack}.json"

    def stacks(self, project: str) -> list[str]:
        return sorted(p.stem for p in (self.folder / "stacks" / project).glob("*.json"))

    def load(self, project: str, stack: str) -> dict[str, Any] | None:
        """The stored document, or None when there is no such stack. Raises BackendError for a broken file."""
        path = self.state_file(project, stack)
        try:
            document = json.loads(path.read_text())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise BackendError(f"{path}: cannot be read as a state: {error}. The one before it is {path.name}.bak.") from None
        if not isinstance(document, dict):
            raise BackendError(f"{path}: is not a state. The one before it is {path.name}.bak.")
        return document

    def save(self, project: str, stack: str, deployment: dict[str, Any]) -> None:
        """Replaces the stored state; whoever reads it sees the old or the new one, whole."""
        self._prepare(project)
        name = f"organization/{project}/{stack}"
        document = {"version": VERSION, "checkpoint": {"stack": name, "latest": deployment}}
        write_atomically(self.state_file(project, stack), dumps(document))

    def back_up(self, project: str, stack: str) -> None:
        """Keeps the state as it is now as `.bak`; once an operation, so that it is the state before the whole of it."""
        path = self.state_file(project, stack)
        if path.exists():
            write_atomically(path.with_name(path.name + ".bak"), path.read_text())

    def _prepare(self, project: str) -> None:
        folder = self.folder / "stacks" / project
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        meta = self.folder / "meta.yaml"
        if not meta.exists():
            write_atomically(meta, "version: 1\n")

    @contextmanager
    def lock(self, project: str, stack: str) -> Iterator[None]:
        """Holds the stack for one operation. Raises BackendError naming the holder."""
        from engine.lock import StackLock

        self._prepare(project)
        with StackLock(self.folder / "locks" / "organization" / project / stack):
            yield


def write_atomically(path: Path, text: str) -> None:
    """Writes beside the target, to disk, then renames: a crash leaves the old file or the new. Readable by the owner only."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def timestamp() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat().replace("+00:00", "Z")


__all__ = ["BackendError", "CheckpointError", "FileBackend", "timestamp", "write_atomically"]
