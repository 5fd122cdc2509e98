"""Where states are kept: Pulumi's own file backend layout, so that `pulumi login file://…` continues on the same state."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import yaml

from engine.checkpoint import VERSION
from engine.lock import StackLock
from engine.storage import BackendError, write_atomically

LAYOUT = 1
"""The version of the layout: stacks are kept by project (pulumi: pkg/backend/diy/meta.go)."""
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,100}")


class FileBackend:
    """`<folder>/.pulumi`: states in `stacks/<project>/<stack>.json`, the previous one beside it as `.bak`.

    States that the CLI compressed with gzip are read, and written back uncompressed, which the CLI reads with any setting.
    """

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

    # -- reading ---------------------------------------------------------------------------------------------------

    def state_file(self, project: str, stack: str) -> Path:
        """Where a stack's state is written. Raises BackendError for what is not a stack's name."""
        for what, name in (("project", project), ("stack", stack)):
            if not _NAME.fullmatch(name) or name.strip(".") == "":
                raise BackendError(f"{what} name {name!r}: may have letters, digits, `-`, `_` and `.` only, and at most 100 of them.")
        return self.folder / "stacks" / project / f"{stack}.json"

    def stacks(self, project: str) -> list[str]:
        """Names of the stacks of a project."""
        found = (self.folder / "stacks" / project).glob("*.json*")
        return sorted({p.name.removesuffix(".gz").removesuffix(".json") for p in found if p.name.endswith((".json", ".json.gz"))})

    def load(self, project: str, stack: str) -> dict[str, Any] | None:
        """The stored document, or None when there is no such stack. Raises BackendError for what cannot be used."""
        self._check_layout()
        path = self._stored(project, stack)
        if path is None:
            return None
        content = self._read(path)
        self._check_journal_of_cli(project, stack, content)
        try:
            document = json.loads(gzip.decompress(content) if path.suffix == ".gz" else content)
        except (OSError, ValueError, EOFError) as error:
            raise BackendError(f"{path}: cannot be read as a state: {error}. The one before it is {path.name}.bak.") from None
        if not isinstance(document, dict):
            raise BackendError(f"{path}: is not a state. The one before it is {path.name}.bak.")
        return document

    def fingerprint(self, project: str, stack: str) -> str:
        """SHA-256 of the stored file; empty when there is none."""
        path = self._stored(project, stack)
        return hashlib.sha256(self._read(path)).hexdigest() if path else ""

    def _stored(self, project: str, stack: str) -> Path | None:
        """The file that holds the state. Of several forms the newest counts, as for the CLI."""
        plain = self.state_file(project, stack)
        forms = [p for p in (plain, plain.with_name(f"{plain.name}.gz"), plain.with_name(f"{plain.name}.zst")) if p.exists()]
        if not forms:
            return None
        newest = max(forms, key=lambda p: p.stat().st_mtime_ns)
        if newest.suffix == ".zst":
            raise BackendError(f"{newest}: is compressed with zstd, which needs the pulumi CLI; the embedded engine reads gzip at most.")
        return newest

    @staticmethod
    def _read(path: Path) -> bytes:
        try:
            return path.read_bytes()
        except OSError as error:
            raise BackendError(f"{path}: cannot be read: {error.strerror}.") from None

    def _check_layout(self) -> None:
        meta = self.folder / "meta.yaml"
        if meta.exists():
            try:
                version = yaml.safe_load(meta.read_text())["version"]
            except (OSError, yaml.YAMLError, TypeError, KeyError):
                raise BackendError(f"{meta}: is not the description of a Pulumi file backend.") from None
        else:
            version = 0 if any((self.folder / "stacks").glob("*.json*")) else LAYOUT
        if version != LAYOUT:
            raise BackendError(
                f"{self.folder}: has version {version} of the layout; the embedded engine knows version {LAYOUT}. "
                "`pulumi state upgrade` brings an older one up to date."
            )

    def _check_journal_of_cli(self, project: str, stack: str, content: bytes) -> None:
        """What a CLI that crashed had not yet put into the state must not be lost by writing another state over it."""
        manifest = self.folder / "journal" / project / stack / "manifest.json"
        with contextlib.suppress(OSError, ValueError, AttributeError):
            if json.loads(manifest.read_text()).get("baseCheckpointHash") == hashlib.sha256(content).hexdigest():
                raise BackendError(
                    f"{manifest.parent}: a run of the pulumi CLI was cut off and its changes are not in the state yet. "
                    f"Let the CLI take them in first: pulumi refresh --stack {stack}"
                )

    # -- writing ---------------------------------------------------------------------------------------------------

    def save(self, project: str, stack: str, deployment: str) -> str:
        """Replaces the stored state by a deployment in JSON; whoever reads it sees the old or the new one, whole.

        Returns the fingerprint of what was stored.
        """
        self._prepare(project)
        path = self.state_file(project, stack)
        text = f'{{"version":{VERSION},"checkpoint":{{"stack":"organization/{project}/{stack}","latest":{deployment}}}}}'
        write_atomically(path, text)
        compressed = path.with_name(f"{path.name}.gz")
        if compressed.exists():
            compressed.replace(path.with_name(f"{compressed.name}.bak"))
        return hashlib.sha256(text.encode()).hexdigest()

    def back_up(self, project: str, stack: str) -> None:
        """Keeps the state as it is now as `.bak`; once an operation, so that it is the state before the whole of it."""
        path = self.state_file(project, stack)
        if path.exists():
            write_atomically(path.with_name(f"{path.name}.bak"), path.read_text())

    def _prepare(self, project: str) -> None:
        self._check_layout()
        (self.folder / "stacks" / project).mkdir(parents=True, exist_ok=True, mode=0o700)
        meta = self.folder / "meta.yaml"
        if not meta.exists():
            write_atomically(meta, f"version: {LAYOUT}\n")

    def stack_lock(self, project: str, stack: str) -> StackLock:
        """The lock of one stack, to be entered for one operation."""
        self.state_file(project, stack)  # checks the names
        self._prepare(project)
        return StackLock(self.folder / "locks" / "organization" / project / stack)
