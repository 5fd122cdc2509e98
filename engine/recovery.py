"""The state of one stack for one operation: reads it with what a crashed run left behind, and keeps it while a new one runs."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from engine.backend import FileBackend
from engine.checkpoint import (
    Crypter,
    decode_deployment,
    decode_resource,
    deployment_of,
    deployment_text,
    dumps,
    encode_resource,
)
from engine.journal import FOLD, SnapshotManager
from engine.model import PendingOperation, ResourceState, Snapshot
from engine.storage import BackendError


class JournalFile:
    """Single changes of a state in a file beside it, one JSON object a line."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: TextIO | None = None
        self.size = 0

    def start(self, header: dict[str, Any]) -> None:
        """Begins anew: what was written so far is in the state now."""
        if self._file is None:
            self._file = os.fdopen(os.open(self._path, os.O_WRONLY | os.O_CREAT, 0o600), "w", encoding="utf-8")
        self._file.seek(0)
        self._file.truncate()
        self.size = 0
        self.append(header, durable=True)

    def append(self, record: dict[str, Any], *, durable: bool) -> None:
        """Adds a record; a durable one is on disk, with all before it, when this returns."""
        assert self._file is not None, "a journal starts with its header"
        self.size += self._file.write(_line(record))
        if durable:
            self._file.flush()
            os.fsync(self._file.fileno())

    def remove(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
        self._path.unlink(missing_ok=True)


def _line(record: dict[str, Any]) -> str:
    return json.dumps(record, separators=(",", ":"), ensure_ascii=False) + "\n"


class Texts:
    """The JSON of resources, made once: of a state that is written after every change, all but one are as they were."""

    def __init__(self, crypter: Crypter) -> None:
        self._crypter = crypter
        self._made: dict[int, tuple[ResourceState, str]] = {}

    def of(self, state: ResourceState) -> str:
        made = self._made.get(id(state))
        if made is None:
            made = self._made[id(state)] = (state, dumps(encode_resource(state, self._crypter)))
        return made[1]

    def forget(self, state: ResourceState) -> None:
        """To be called when it has changed."""
        self._made.pop(id(state), None)

    def clear(self) -> None:
        """Makes everything anew next time."""
        self._made.clear()


def replay(base: Snapshot, lines: list[str], crypter: Crypter) -> Snapshot:
    """The state that a journal leads to: a header, then records. A torn last line, as a crash leaves it, is ignored."""
    records = _parsed(lines)
    if not records:
        return base
    header, settled = records[0], records[0]["settled"]
    tickets = {int(ticket): base.pending_operations[place] for ticket, place in header["tickets"].items()}
    return _Replay(base, settled, tickets, crypter).run(records[1:])


class _Replay:
    """Does to a recorded state what `SnapshotManager` did to the one in memory."""

    def __init__(self, base: Snapshot, settled: int, tickets: dict[int, PendingOperation], crypter: Crypter) -> None:
        self._metadata = base.metadata
        self._bases = dict(enumerate(base.resources[settled:], settled))
        self._news = dict(enumerate(base.resources[:settled], 1))
        self._pending = tickets
        self._open = [p for p in base.pending_operations if not any(p is t for t in tickets.values())]
        self._crypter = crypter

    def run(self, records: list[dict[str, Any]]) -> Snapshot:
        for record in records:
            resource = decode_resource(record["resource"], self._crypter) if "resource" in record else None
            if resource is not None and "begin" in record:
                self._pending[record["begin"]] = PendingOperation(resource, record["type"])
            self._end(record)
            self._change(record, resource)
        busy = {p.resource.urn for p in self._pending.values()}
        still_open = [p for p in self._open if p.resource.urn not in busy]
        resources = [*self._news.values(), *(self._bases[place] for place in sorted(self._bases))]
        return Snapshot(resources, [*still_open, *self._pending.values()], self._metadata)

    def _end(self, record: dict[str, Any]) -> None:
        ended = self._pending.pop(record["end"], None) if "end" in record else None
        if ended is not None and record.get("done"):
            self._open = [p for p in self._open if p.resource.urn != ended.resource.urn]

    def _change(self, record: dict[str, Any], resource: ResourceState | None) -> None:
        if "old" in record:
            kind, number = record["old"]
            (self._bases if kind == "base" else self._news).pop(number, None)
        if resource is not None and "again" in record:
            kind, number = record["again"]
            target = self._bases if kind == "base" else self._news
            if number in target:
                target[number] = resource
        if resource is not None and "new" in record:
            self._news[record["new"]] = resource


def _parsed(lines: list[str]) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = []
    for line in lines:
        try:
            records.append(json.loads(line))
        except ValueError:
            break
    return records


class StackState:
    """The recorded state of one stack in a backend. To change it, open it under the backend's lock."""

    def __init__(
        self,
        backend: FileBackend,
        project: str,
        stack: str,
        crypter: Crypter,
        written: Callable[[ResourceState], None] = lambda state: None,
    ) -> None:
        """`written` is told of every resource that is recorded anew while an operation runs."""
        self._written = written
        self._backend, self._project, self._stack, self._crypter = backend, project, stack, crypter
        self._journal: JournalFile | None = None
        self._texts = Texts(crypter)
        path = backend.state_file(project, stack)
        self._journal_path = path.with_name(f"{stack}.journal")
        self.notes: list[str] = []
        """What the user should be told about how the state was read."""

    def peek(self) -> Snapshot:
        """The recorded state with what a crashed run left in its journal. Writes nothing; for a preview."""
        document = self._backend.load(self._project, self._stack)
        snapshot = decode_deployment(deployment_of(document), self._crypter) if document else Snapshot()
        lines = self._journal_lines()
        if not lines or not self._matches(lines):
            return snapshot
        try:
            return replay(snapshot, lines, self._crypter)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise BackendError(f"{self._journal_path}: is not a journal of this state ({type(error).__name__} {error}).") from None

    def load(self) -> Snapshot:
        """As `peek`, and the journal is folded into the state and removed."""
        snapshot = self.peek()
        lines = self._journal_lines()
        if lines and self._matches(lines):
            with self._journal_path.open("a", encoding="utf-8") as file:
                file.write("\n" + _line(FOLD))
            self.save(snapshot)
        elif lines and lines[-1] + "\n" != _line(FOLD):
            aside = self._journal_path.with_name(f"{self._journal_path.name}.{time.time_ns()}.aside")
            self._journal_path.replace(aside)
            self.notes.append(
                f"a run was cut off, and the state was changed by something else before this one: what it recorded is kept in {aside}. "
                "Look there for resources that exist and are not in the state."
            )
        self._journal_path.unlink(missing_ok=True)
        return snapshot

    def save(self, snapshot: Snapshot) -> str:
        """Writes the state whole. Returns its fingerprint."""
        return self._backend.save(self._project, self._stack, deployment_text(snapshot, self._crypter, self._texts.of))

    def manager(self, snapshot: Snapshot) -> SnapshotManager:
        """A manager that keeps this state while an operation runs."""
        self._backend.back_up(self._project, self._stack)
        self.save(snapshot)
        self._journal = JournalFile(self._journal_path)
        return SnapshotManager(snapshot, self.save, self._journal, lambda r: encode_resource(r, self._crypter), changed=self._changed)

    def _changed(self, state: ResourceState) -> None:
        self._texts.forget(state)
        self._written(state)

    def finish(self, manager: SnapshotManager, *, complete: bool = True) -> None:
        """Writes the final state; after that the journal has served."""
        self._texts.clear()
        manager.close(complete=complete)
        if self._journal is not None:
            self._journal.remove()
            self._journal = None

    def _journal_lines(self) -> list[str]:
        """The journal, if there is one with a whole header: before that nothing was entrusted to it."""
        try:
            lines = self._journal_path.read_text(encoding="utf-8", errors="replace").split("\n")
        except FileNotFoundError:
            return []
        lines = [line for line in lines if line]
        return lines if _parsed(lines[:1]) else []

    def _matches(self, lines: list[str]) -> bool:
        return bool(_parsed(lines[:1])[0].get("base") == self._backend.fingerprint(self._project, self._stack))
