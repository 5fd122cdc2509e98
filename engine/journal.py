"""Keeps the recorded state up to date while an operation runs, so that a crash at any moment loses nothing.

Small states are written whole after every change, which the CLI can read at any time. Writing a large one whole for every
resource would be quadratic, so from `JOURNAL_ABOVE` resources on changes go to a journal beside it, one line each, and are
folded in at the end or by the next run after a crash.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Protocol

from engine.model import PendingOperation, ResourceState, Snapshot

JOURNAL_ABOVE = 200
"""Resources from which on a journal is used: writing 200 of Kubernetes whole takes 10 ms, 3000 of them 200 ms."""
COMPACT_ABOVE = 64 * 2**20
"""Bytes of journal after which it is folded in, so that neither the file nor a recovery grows without bound."""


class Journal(Protocol):
    """Where single changes go."""

    @property
    def size(self) -> int: ...
    def start(self, header: dict[str, Any]) -> None: ...
    def append(self, record: dict[str, Any], *, durable: bool) -> None: ...


class SnapshotManager:
    """The state during an operation: new resources in the order of their completion, then the old ones not touched yet.

    That order is what makes a state valid at every moment: what a resource refers to was completed before it. Operations
    that the last run left open stay on record until one on the same resource succeeds, or this run does: what they may have
    made is still to be found. Thread-safe. `persist` is called with the whole state and returns its fingerprint.
    """

    def __init__(
        self,
        base: Snapshot,
        persist: Callable[[Snapshot], str],
        journal: Journal | None = None,
        encode: Callable[[ResourceState], dict[str, Any]] | None = None,
        above: int = JOURNAL_ABOVE,
        changed: Callable[[ResourceState], None] = lambda state: None,
    ) -> None:
        """Without a journal (and the encoder that it needs) the state is always written whole.

        `changed` is told of every resource that is not as it was when it was last written.
        """
        self._metadata = base.metadata
        self._base = list(base.resources)
        self._index = {id(state): index for index, state in enumerate(self._base)}
        self._gone: set[int] = set()
        self._news: dict[int, ResourceState] = {}
        self._numbers: dict[int, int] = {}
        self._open = list(base.pending_operations)
        self._pending: dict[int, PendingOperation] = {}
        self._next = 0
        self._persist = persist
        self._journal = journal
        self._encode = encode
        self._above = above
        self._changed = changed
        self._journaling = False
        self._lock = threading.RLock()

    def snapshot(self) -> Snapshot:
        with self._lock:
            olds = [state for index, state in enumerate(self._base) if index not in self._gone]
            return Snapshot([*self._news.values(), *olds], [*self._still_open(), *self._pending.values()], self._metadata)

    def begin(self, op_type: str, resource: ResourceState) -> int:
        """Notes that an operation is about to start; on disk when this returns, which is before the provider is called."""
        with self._lock:
            ticket = self._take_number()
            self._pending[ticket] = PendingOperation(resource, op_type)
            self._write({"begin": ticket, "type": op_type}, resource)
            return ticket

    def success(self, ticket: int | None, old: ResourceState | None = None, new: ResourceState | None = None) -> None:
        """`old` is no more, `new` is; either may be absent."""
        with self._lock:
            done = None if ticket is None else self._pending.pop(ticket, None)
            if done is not None:
                self._open = [p for p in self._open if p.resource.urn != done.resource.urn]
            self._write({"end": ticket, "done": True, **self._swap(old, new)}, new)

    def failure(self, ticket: int) -> None:
        """The operation did not happen."""
        with self._lock:
            self._pending.pop(ticket, None)
            self._write({"end": ticket}, None)

    def same(self, old: ResourceState, new: ResourceState) -> None:
        """An unchanged resource. Written with the next change, for losing this in a crash loses nothing."""
        with self._lock:
            record = self._swap(old, new)
            if self._journaling:
                self._append(record, new, durable=False)

    def outputs(self, resource: ResourceState) -> None:
        """A recorded resource changed in place."""
        with self._lock:
            self._write({"again": self._reference(resource)}, resource)

    def close(self, *, complete: bool = True) -> None:
        """Writes the whole state. `complete`: everything was done, so that nothing of an earlier run is open any more."""
        with self._lock:
            if complete:
                self._open = []
            self._persist_whole()

    def _still_open(self) -> list[PendingOperation]:
        """What an earlier run left open and is not under way again."""
        busy = {p.resource.urn for p in self._pending.values()}
        return [p for p in self._open if p.resource.urn not in busy]

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
            self._news.pop(self._numbers.pop(id(state)), None)

    # -- writing ---------------------------------------------------------------------------------------------------

    def _write(self, record: dict[str, Any], resource: ResourceState | None) -> None:
        if resource is not None:
            self._changed(resource)
        if self._journaling:
            assert self._journal is not None, "journaling has a journal"
            self._append(record, resource, durable=True)
            if self._journal.size > COMPACT_ABOVE:
                self._start_journal()
        elif self._journal is not None and len(self._news) + len(self._base) - len(self._gone) > self._above:
            self._start_journal()
        else:
            self._persist(self.snapshot())

    def _append(self, record: dict[str, Any], resource: ResourceState | None, *, durable: bool) -> None:
        assert self._journal is not None and self._encode is not None, "journaling has a journal and an encoder"
        if resource is not None:
            record["resource"] = self._encode(resource)
        self._journal.append(record, durable=durable)

    def _persist_whole(self) -> str:
        if self._journaling:
            self._append(dict(FOLD), None, durable=True)
        return self._persist(self.snapshot())

    def _start_journal(self) -> None:
        """Writes the state whole and makes it the base that the journal counts from."""
        assert self._journal is not None, "called with a journal"
        whole = self.snapshot()
        settled, opened = len(self._news), len(self._still_open())
        fingerprint = self._persist_whole()
        tickets = {str(ticket): opened + place for place, ticket in enumerate(self._pending)}
        self._base = whole.resources
        self._gone = set()
        self._news = dict(enumerate(whole.resources[:settled], 1))
        self._numbers = {id(state): number for number, state in self._news.items()}
        self._index = {id(state): place for place, state in enumerate(self._base) if place >= settled}
        self._gone = set(range(settled))
        self._next = max(self._next, settled)
        self._journal.start({"base": fingerprint, "settled": settled, "tickets": tickets})
        self._journaling = True


FOLD = {"fold": True}
"""The last record before the state is written whole: a journal that ends so and does not match the state is in it already."""
