"""Keeps the recorded state up to date while an operation runs, so that a crash at any moment loses nothing.

Small states are written whole after every change, which the CLI can read at any time. Writing a large one whole for every
resource would be quadratic, so changes go to a journal beside it, one line each, and are folded in at the end or by the
next run after a crash.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.backend import FileBackend
from engine.checkpoint import Crypter, decode_deployment, decode_resource, encode_deployment, encode_resource
from engine.model import PendingOperation, ResourceState, Snapshot

JOURNAL_ABOVE = 200
"""Resources from which on a journal is used: a whole write of 200 takes about 10 ms, of 3000 about 200 ms."""


class SnapshotManager:
    """The state during an operation: new resources in the order of their completion, then the old ones not touched yet.

    That order is what makes a state valid at every moment: what a resource refers to was completed before it.
    Thread-safe. `persist` is called with the whole state; an `append` for single changes is optional.
    """

    def __init__(
        self,
        base: Snapshot,
        persist: Callable[[Snapshot], None],
        append: Callable[[dict[str, Any]], None] | None = None,
        encode: Callable[[ResourceState], dict[str, Any]] | None = None,
    ) -> None:
        self._base = list(base.resources)
        self._metadata = base.metadata
        self._index = {id(state): index for index, state in enumerate(self._base)}
        self._gone: set[int] = set()
        self._news: dict[int, ResourceState] = {}
        self._numbers: dict[int, int] = {}
        self._pending: dict[int, PendingOperation] = {}
        self._next = 0
        self._persist = persist
        self._append = append
        self._encode = encode
        self._lock = threading.RLock()
        self._dirty = False

    def snapshot(self) -> Snapshot:
        with self._lock:
            olds = [state for index, state in enumerate(self._base) if index not in self._gone]
            return Snapshot([*self._news.values(), *olds], list(self._pending.values()), self._metadata)

    def begin(self, op_type: str, resource: ResourceState) -> int:
        """Notes that an operation is about to start; on disk before the provider is called."""
        with self._lock:
            ticket = self._take_number()
            self._pending[ticket] = PendingOperation(resource, op_type)
            self._write({"begin": ticket, "type": op_type}, resource)
            return ticket

    def success(self, ticket: int | None, old: ResourceState | None = None, new: ResourceState | None = None) -> None:
        """`old` is no more, `new` is; either may be absent."""
        with self._lock:
            self._pending.pop(ticket, None) if ticket is not None else None
            self._write({"end": ticket, **self._swap(old, new)}, new)

    def failure(self, ticket: int) -> None:
        """The operation did not happen."""
        with self._lock:
            self._pending.pop(ticket, None)
            self._write({"end": ticket}, None)

    def same(self, old: ResourceState, new: ResourceState) -> None:
        """An unchanged resource. Written with the next change, for losing this in a crash loses nothing."""
        with self._lock:
            record = self._swap(old, new)
            if self._append is not None:
                self._write(record, new, durable=False)
            self._dirty = True

    def outputs(self, resource: ResourceState) -> None:
        """A recorded resource changed in place."""
        with self._lock:
            self._write({"again": self._reference(resource)}, resource)

    def close(self) -> None:
        """Writes the whole state."""
        with self._lock:
            self._persist(self.snapshot())

    def _take_number(self) -> int:
        self._next += 1
        return self._next

    def _swap(self, old: ResourceState | None, new: ResourceState | None) -> dict[str, Any]:
        record: dict[str, Any] = {}
        if old is not None:
            record["old"] = self._reference(old)
            self._remove(old)
        if new is not None:
            number = self._take_number()
            self._news[number] = new
            self._numbers[id(new)] = number
            record["new"] = number
        return record

    def _reference(self, state: ResourceState) -> list[Any]:
        """How the journal names a resource: by its place in the base, or by the number it was added under."""
        if id(state) in self._index:
            return ["base", self._index[id(state)]]
        return ["new", self._numbers[id(state)]]

    def _remove(self, state: ResourceState) -> None:
        if id(state) in self._index:
            self._gone.add(self._index[id(state)])
        else:
            self._news.pop(self._numbers[id(state)], None)

    def _write(self, record: dict[str, Any], resource: ResourceState | None, *, durable: bool = True) -> None:
        if self._append is None:
            self._persist(self.snapshot())
        else:
            assert self._encode is not None, "a journal needs an encoder"
            if resource is not None:
                record["resource"] = self._encode(resource)
            self._append({**record, "durable": durable})


class Journal:
    """The file of single changes beside a stored state."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("a")
        self._file_lock = threading.Lock()

    def append(self, record: dict[str, Any]) -> None:
        durable = record.pop("durable", True)
        with self._file_lock:
            self._file.write(json.dumps(record, separators=(",", ":")) + "\n")
            if durable:
                self._file.flush()
                os.fsync(self._file.fileno())

    def remove(self) -> None:
        self._file.close()
        self.path.unlink(missing_ok=True)


def replay(base: Snapshot, lines: list[str], crypter: Crypter) -> Snapshot:
    """The state that a journal leads to. A torn last line, as a crash leaves it, is ignored."""
    bases: dict[int, ResourceState] = dict(enumerate(base.resources))
    news: dict[int, ResourceState] = {}
    pending: dict[int, PendingOperation] = {}
    for line in lines:
        try:
            record = json.loads(line)
        except ValueError:
            break
        resource = decode_resource(record["resource"], crypter) if "resource" in record else None
        if "begin" in record and resource is not None:
            pending[record["begin"]] = PendingOperation(resource, record["type"])
        pending.pop(record.get("end"), None)
        for key in ("old", "again"):
            if key not in record:
                continue
            kind, number = record[key]
            target = bases if kind == "base" else news
            if key == "old":
                target.pop(number, None)
            elif resource is not None and number in target:
                target[number] = resource
        if "new" in record and resource is not None:
            news[record["new"]] = resource
    resources = [*news.values(), *(bases[i] for i in sorted(bases))]
    return Snapshot(resources, list(pending.values()), base.metadata)


class StackState:
    """The state of one stack in a backend, for one operation. Open it under the backend's lock."""

    def __init__(self, backend: FileBackend, project: str, stack: str, crypter: Crypter) -> None:
        self._backend, self._project, self._stack, self._crypter = backend, project, stack, crypter
        self._journal: Journal | None = None
        path = backend.state_file(project, stack)
        self._journal_path = path.with_name(f"{stack}.journal")

    def load(self) -> Snapshot:
        """The recorded state, with what a crashed run left in its journal folded in (and the journal removed)."""
        from engine.checkpoint import deployment_of

        document = self._backend.load(self._project, self._stack)
        snapshot = decode_deployment(deployment_of(document), self._crypter) if document else Snapshot()
        if self._journal_path.exists():
            snapshot = replay(snapshot, self._journal_path.read_text().splitlines(), self._crypter)
            self.save(snapshot)
            self._journal_path.unlink()
        return snapshot

    def save(self, snapshot: Snapshot) -> None:
        self._backend.save(self._project, self._stack, encode_deployment(snapshot, self._crypter))

    def manager(self, snapshot: Snapshot, *, expected: int = 0) -> SnapshotManager:
        """A manager that keeps this state while an operation runs; `expected` is how many resources it may grow to."""
        self._backend.back_up(self._project, self._stack)
        cleared = Snapshot(snapshot.resources, [], snapshot.metadata)
        self.save(cleared)
        if max(len(snapshot.resources), expected) <= JOURNAL_ABOVE:
            return SnapshotManager(cleared, self.save)
        self._journal = Journal(self._journal_path)
        return SnapshotManager(cleared, self.save, self._journal.append, lambda state: encode_resource(state, self._crypter))

    def finish(self, manager: SnapshotManager) -> None:
        """Writes the final state; after that the journal has served."""
        manager.close()
        if self._journal is not None:
            self._journal.remove()
            self._journal = None
