"""A crash at any moment leaves a state that the next run continues from."""

from __future__ import annotations

import copy
import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import journal
from engine.backend import BackendError, FileBackend
from engine.checkpoint import decode_resource, encode_resource, integrity_errors
from engine.journal import SnapshotManager, StackState, replay
from engine.lock import StackLock
from engine.model import ResourceState, Snapshot
from engine.secrets import PassphraseCrypter


class Plain:
    state = "v1:x:y"

    def encrypt(self, plaintext):
        return plaintext

    def decrypt(self, ciphertext):
        return ciphertext


def urns(snapshot):
    return [(r.urn, r.delete, r.outputs) for r in snapshot.resources], [(p.resource.urn, p.type) for p in snapshot.pending_operations]


def resource(name, **changes):
    return ResourceState(f"urn:pulumi:s::p::t::{name}", "t", custom=True, id=name).copy(**changes)


def an_operation(manager, rng, base, made):
    """One random change, as the executor makes them. Calls back after every write."""
    choice = rng.randrange(6)
    new = resource(f"n{rng.randrange(1000)}", outputs={"v": rng.randrange(9)})
    if choice == 0:
        ticket = manager.begin("creating", new)
        manager.success(ticket, None, new) if rng.random() < 0.7 else manager.failure(ticket)
        if rng.random() < 0.3:
            made.append(new)
    elif choice == 1 and base:
        old = base.pop(rng.randrange(len(base)))
        ticket = manager.begin("updating", old)
        manager.success(ticket, old, old.copy(outputs={"v": "updated"}))
    elif choice == 2 and base:
        old = base.pop(rng.randrange(len(base)))
        manager.same(old, old.copy())
    elif choice == 3 and base:
        old = base.pop(rng.randrange(len(base)))
        ticket = manager.begin("deleting", old)
        manager.success(ticket, old)
    elif choice == 4 and base:
        old = base[rng.randrange(len(base))]
        old.delete = True
        manager.outputs(old)
        manager.success(None, None, old.copy(delete=False))
    else:
        manager.begin("creating", new)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 25))
def test_replay_gives_the_same_state_after_every_write(seed, length):
    rng = random.Random(seed)
    base = [resource(f"b{i}") for i in range(rng.randrange(8))]
    recorded = copy.deepcopy(base)
    lines, seen = [], []

    def append(record):
        record.pop("durable", None)
        lines.append(json.dumps(record))

    manager = SnapshotManager(Snapshot(base), lambda s: None, append, lambda r: encode_resource(r, Plain()))
    for _ in range(length):
        an_operation(manager, rng, base, [])
        seen.append((len(lines), urns(manager.snapshot())))
    for count, expected in seen:
        replayed = replay(Snapshot(copy.deepcopy(recorded)), lines[:count], Plain())
        assert urns(replayed) == expected
    torn = [*lines, '{"begin": 99, "resour']
    if seen:
        assert urns(replay(Snapshot(copy.deepcopy(recorded)), torn, Plain())) == seen[-1][1]


def test_new_resources_come_in_order_of_completion_before_untouched_old_ones():
    a, b, c = (resource(n) for n in "abc")
    manager = SnapshotManager(Snapshot([a, b, c]), lambda s: None)
    manager.same(b, b2 := b.copy())
    manager.success(manager.begin("creating", new := resource("new")), None, new)
    assert [r.name for r in manager.snapshot().resources] == ["b", "new", "a", "c"]
    assert manager.snapshot().resources[0] is b2


def test_begin_is_written_before_the_provider_is_called():
    written = []
    manager = SnapshotManager(Snapshot([]), lambda s: written.append(urns(s)))
    ticket = manager.begin("creating", resource("a"))
    assert written[-1][1] == [("urn:pulumi:s::p::t::a", "creating")]
    manager.failure(ticket)
    assert written[-1] == ([], [])


@pytest.fixture(scope="module")
def crypter():
    return PassphraseCrypter.new("x")


@pytest.mark.parametrize("count", [3, 300])
def test_a_killed_run_is_continued(tmp_path, crypter, count, monkeypatch):
    """With a whole file for few resources, with a journal for many: the next run sees what was done and what was under way."""
    backend = FileBackend(f"file://{tmp_path}", tmp_path)
    state = StackState(backend, "p", "s", crypter)
    manager = state.manager(Snapshot([resource(f"r{i}") for i in range(count)]))
    manager.success(manager.begin("creating", new := resource("new")), None, new)
    manager.begin("creating", resource("cut-off"))
    # no finish(): the process is gone
    again = StackState(backend, "p", "s", crypter)
    loaded = again.load()
    assert [r.name for r in loaded.resources][0] == "new" and len(loaded.resources) == count + 1
    assert [(p.resource.name, p.type) for p in loaded.pending_operations] == [("cut-off", "creating")]
    assert integrity_errors(loaded) == []
    again.finish(again.manager(loaded))
    assert [r.name for r in StackState(backend, "p", "s", crypter).load().resources][0] == "new"
    assert not list(tmp_path.rglob("*.journal"))
    assert (count > journal.JOURNAL_ABOVE) == (count == 300)


def test_the_state_file_is_private_and_has_the_layout_of_the_cli(tmp_path, crypter):
    backend = FileBackend(f"file://{tmp_path}", tmp_path)
    StackState(backend, "proj", "dev", crypter).save(Snapshot([resource("a")]))
    path = tmp_path / ".pulumi" / "stacks" / "proj" / "dev.json"
    assert path.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / ".pulumi" / "meta.yaml").read_text() == "version: 1\n"
    document = json.loads(path.read_text())
    assert document["version"] == 3 and document["checkpoint"]["stack"] == "organization/proj/dev"
    assert decode_resource(document["checkpoint"]["latest"]["resources"][0], crypter).name == "a"
    assert backend.stacks("proj") == ["dev"] and backend.stacks("other") == []


@pytest.mark.parametrize("url", ["s3://bucket", "https://api.example", "nonsense"])
def test_other_backends_need_the_cli(tmp_path, url):
    with pytest.raises(BackendError, match="needs? the pulumi CLI|need the pulumi CLI"):
        FileBackend(url, tmp_path)


def test_a_broken_state_file_names_itself(tmp_path, crypter):
    backend = FileBackend(f"file://{tmp_path}", tmp_path)
    StackState(backend, "p", "s", crypter).save(Snapshot())
    backend.state_file("p", "s").write_text("{")
    with pytest.raises(BackendError, match=r"s\.json: cannot be read"):
        backend.load("p", "s")


def test_one_operation_at_a_time(tmp_path):
    with StackLock(tmp_path), pytest.raises(BackendError, match="currently locked by .*pid"), StackLock(tmp_path):
        pass
    with StackLock(tmp_path):
        pass


def test_locks_of_the_dead_are_removed_and_of_other_machines_respected(tmp_path):
    import socket

    dead = tmp_path / "dead.json"
    dead.write_text(json.dumps({"pid": 2**22 + 1, "username": "u", "hostname": socket.gethostname(), "timestamp": "t"}))
    with StackLock(tmp_path):
        assert not dead.exists()
    (tmp_path / "far.json").write_text(json.dumps({"pid": 1, "username": "u", "hostname": "elsewhere", "timestamp": "t"}))
    with pytest.raises(BackendError, match="u@elsewhere"), StackLock(tmp_path):
        pass
