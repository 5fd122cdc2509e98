"""A crash at any moment leaves a state that the next run continues from."""

from __future__ import annotations

import copy
import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.backend import FileBackend
from engine.checkpoint import decode_deployment, decode_resource, deployment_text, encode_resource, integrity_errors
from engine.journal import SnapshotManager
from engine.model import PendingOperation, ResourceState, Snapshot
from engine.recovery import StackState, Texts, replay
from engine.secrets import PassphraseCrypter


class Plain:
    state = "v1:x:y"

    def encrypt(self, plaintext):
        return plaintext

    def decrypt(self, ciphertext):
        return ciphertext


def contents(snapshot):
    return [(r.urn, r.delete, r.outputs) for r in snapshot.resources], [(p.resource.urn, p.type) for p in snapshot.pending_operations]


def resource(name, **changes):
    return ResourceState(f"urn:pulumi:s::p::t::{name}", "t", custom=True, id=name).copy(**changes)


class Disk:
    """What a crash would leave: the state as last written whole, and the journal."""

    def __init__(self, base):
        self.lines = []
        self.texts = Texts(Plain())
        self.persist(base)

    def persist(self, snapshot):
        self.state = decode_deployment(json.loads(deployment_text(snapshot, Plain(), self.texts.of)), Plain())
        return "fingerprint"

    def start(self, header):
        self.lines = [json.dumps(header)]

    def append(self, record, *, durable):
        self.lines.append(json.dumps(record))

    @property
    def size(self):
        return sum(map(len, self.lines))

    def recovered(self, torn=""):
        lines = [*self.lines, torn] if torn else self.lines
        return replay(copy.deepcopy(self.state), lines, Plain())


def an_operation(manager, rng, known):
    """One random change, as the executor makes them; `known` are the recorded states that may still be changed."""
    choice = rng.randrange(7)
    new = resource(f"n{rng.randrange(1000)}", outputs={"v": rng.randrange(9)})
    if choice == 0:
        ticket = manager.begin("creating", new)
        if rng.random() < 0.7:
            manager.success(ticket, None, new)
            known.append(new)
        else:
            manager.failure(ticket)
    elif choice in (1, 2, 3) and known:
        old = known.pop(rng.randrange(len(known)))
        if choice == 1:
            changed = old.copy(outputs={"v": "updated"})
            manager.success(manager.begin("updating", old), old, changed)
            known.append(changed)
        elif choice == 2:
            manager.same(old, old.copy())
        else:
            manager.success(manager.begin("deleting", old), old)
    elif choice == 4 and known:
        old = known[rng.randrange(len(known))]
        old.delete = True
        manager.outputs(old)
        manager.success(None, None, old.copy(delete=False))
    elif choice == 5 and known:
        old = known[rng.randrange(len(known))]
        old.outputs = {"v": "registered"}
        manager.outputs(old)
    else:
        manager.begin("creating", new)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 100_000), st.integers(0, 30), st.integers(0, 12))
def test_a_crash_after_any_change_recovers_exactly_what_was_recorded(seed, length, above):
    """With a journal from the beginning, from some size on, or never; unflushed `same` records may be lost, nothing else."""
    rng = random.Random(seed)
    base = [resource(f"b{i}") for i in range(rng.randrange(8))]
    left_open = [PendingOperation(resource("b0"), "updating"), PendingOperation(resource(f"n{rng.randrange(9)}"), "creating")]
    snapshot = Snapshot(base, left_open[: rng.randrange(3)])
    disk = Disk(snapshot)
    manager = SnapshotManager(snapshot, disk.persist, disk, lambda r: encode_resource(r, Plain()), above, disk.texts.forget)
    for _ in range(length):
        an_operation(manager, rng, base)
        expected = contents(manager.snapshot())
        if disk.lines or contents(disk.state) == expected:
            assert contents(disk.recovered()) == expected
            assert contents(disk.recovered(torn='{"begin": 99, "resour')) == expected
        else:
            assert not disk.lines, "only unchanged resources wait for the next write, and only without a journal"
            assert sorted(contents(disk.state)[0], key=str) == sorted(expected[0], key=str)
    manager.close()
    assert contents(disk.state) == contents(manager.snapshot())


def test_a_journal_that_grows_is_folded_in(monkeypatch):
    monkeypatch.setattr("engine.journal.COMPACT_ABOVE", 2000)
    disk = Disk(Snapshot([]))
    manager = SnapshotManager(Snapshot([]), disk.persist, disk, lambda r: encode_resource(r, Plain()), above=0)
    for i in range(100):
        manager.success(manager.begin("creating", new := resource(f"r{i}")), None, new)
        assert disk.size < 3000 and contents(disk.recovered()) == contents(manager.snapshot())
    assert [r.name for r in disk.recovered().resources] == [f"r{i}" for i in range(100)]


def test_new_resources_come_in_order_of_completion_before_untouched_old_ones():
    a, b, c = (resource(n) for n in "abc")
    manager = SnapshotManager(Snapshot([a, b, c]), lambda s: "")
    manager.same(b, b2 := b.copy())
    manager.success(manager.begin("creating", new := resource("new")), None, new)
    assert [r.name for r in manager.snapshot().resources] == ["b", "new", "a", "c"]
    assert manager.snapshot().resources[0] is b2


def test_begin_is_written_before_the_provider_is_called():
    written = []
    manager = SnapshotManager(Snapshot([]), lambda s: written.append(contents(s)))
    ticket = manager.begin("creating", resource("a"))
    assert written[-1][1] == [("urn:pulumi:s::p::t::a", "creating")]
    manager.failure(ticket)
    assert written[-1] == ([], [])


@pytest.mark.parametrize(("outcome", "left"), [("success", []), ("failure", ["creating"]), ("nothing", ["creating"]), ("complete", [])])
def test_what_an_earlier_run_left_open_is_kept_until_it_is_settled(outcome, left):
    """Two crashes in a row must not forget that the first one may have made something."""
    manager = SnapshotManager(Snapshot([], [PendingOperation(resource("a"), "creating")]), lambda s: "")
    if outcome in ("success", "failure"):
        ticket = manager.begin("creating", new := resource("a"))
        assert len(manager.snapshot().pending_operations) == 1, "not listed twice"
        manager.success(ticket, None, new) if outcome == "success" else manager.failure(ticket)
    manager.close(complete=outcome == "complete")
    assert [p.type for p in manager.snapshot().pending_operations] == left


@pytest.fixture(scope="module")
def crypter():
    return PassphraseCrypter.new("x")


def opened(tmp_path, crypter):
    return StackState(FileBackend(f"file://{tmp_path}", tmp_path), "p", "s", crypter)


def killed_run(tmp_path, crypter, count):
    """A run that is killed after it made one resource and while it makes another."""
    state = opened(tmp_path, crypter)
    manager = state.manager(Snapshot([resource(f"r{i}") for i in range(count)]))
    manager.success(manager.begin("creating", new := resource("new")), None, new)
    manager.begin("creating", resource("cut-off"))


@pytest.mark.parametrize("count", [3, 300])
def test_a_killed_run_is_continued(tmp_path, crypter, count):
    """With a whole file for few resources, with a journal for many: the next run sees what was done and what was under way."""
    killed_run(tmp_path, crypter, count)
    assert bool(list(tmp_path.rglob("*.journal"))) == (count == 300)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    again = opened(tmp_path, crypter)
    seen = again.peek()
    assert before == {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}, "a preview writes nothing"
    loaded = again.load()
    assert contents(seen) == contents(loaded)
    assert [r.name for r in loaded.resources][0] == "new" and len(loaded.resources) == count + 1
    assert [(p.resource.name, p.type) for p in loaded.pending_operations] == [("cut-off", "creating")]
    assert integrity_errors(loaded) == [] and again.notes == []
    again.finish(again.manager(loaded))
    assert [r.name for r in opened(tmp_path, crypter).load().resources][0] == "new"
    assert not list(tmp_path.rglob("*.journal*"))


def test_a_stack_that_grows_changes_to_a_journal_while_it_does(tmp_path, crypter):
    state = opened(tmp_path, crypter)
    manager = state.manager(Snapshot([]))
    for i in range(250):
        manager.success(manager.begin("creating", new := resource(f"r{i}")), None, new)
    assert len(list(tmp_path.rglob("*.journal"))) == 1
    assert [r.name for r in opened(tmp_path, crypter).load().resources] == [f"r{i}" for i in range(250)]


def test_a_journal_of_another_state_is_set_aside_and_told_about(tmp_path, crypter):
    """The CLI does not know our journal: what it wrote since counts, and what the crashed run noted is kept for a look."""
    killed_run(tmp_path, crypter, 300)
    path = opened(tmp_path, crypter)._backend.state_file("p", "s")
    document = json.loads(path.read_text())
    document["checkpoint"]["latest"]["resources"] = document["checkpoint"]["latest"]["resources"][:5]
    path.write_text(json.dumps(document))
    again = opened(tmp_path, crypter)
    assert len(again.load().resources) == 5
    assert "cut off" in again.notes[0] and len(list(tmp_path.rglob("*.aside"))) == 1 and not list(tmp_path.rglob("*.journal"))


def test_a_crash_between_the_last_write_and_the_end_of_the_journal_is_no_news(tmp_path, crypter):
    state = opened(tmp_path, crypter)
    manager = state.manager(Snapshot([resource(f"r{i}") for i in range(300)]))
    manager.success(manager.begin("creating", new := resource("new")), None, new)
    manager.close()
    again = opened(tmp_path, crypter)
    assert len(again.load().resources) == 301 and again.notes == [] and not list(tmp_path.rglob("*.journal*"))


def test_the_state_file_is_private_and_has_the_layout_of_the_cli(tmp_path, crypter):
    opened(tmp_path, crypter).save(Snapshot([resource("a", outputs={"line": "a\u2028b"})]))
    path = tmp_path / ".pulumi" / "stacks" / "p" / "s.json"
    assert path.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / ".pulumi" / "meta.yaml").read_text() == "version: 1\n"
    document = json.loads(path.read_text())
    assert document["version"] == 3 and document["checkpoint"]["stack"] == "organization/p/s"
    assert decode_resource(document["checkpoint"]["latest"]["resources"][0], crypter).name == "a"
