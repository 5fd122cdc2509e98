"""The file backend, shared with the real CLI."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
from pathlib import Path

import pytest

from engine.backend import FileBackend
from engine.storage import BackendError, write_atomically


@pytest.fixture
def backend(tmp_path):
    return FileBackend(f"file://{tmp_path}", tmp_path)


def test_what_is_saved_is_loaded_and_listed(backend):
    assert backend.load("p", "s") is None and backend.stacks("p") == [] and backend.fingerprint("p", "s") == ""
    fingerprint = backend.save("p", "s", '{"resources":[]}')
    assert backend.load("p", "s") == {"version": 3, "checkpoint": {"stack": "organization/p/s", "latest": {"resources": []}}}
    assert fingerprint == backend.fingerprint("p", "s") and backend.stacks("p") == ["s"] and backend.stacks("other") == []
    backend.back_up("p", "s")
    assert backend.stacks("p") == ["s"], "a backup is not a stack"


@pytest.mark.parametrize(
    ("url", "folder"),
    [
        ("file:///a/b", "/a/b"),
        ("file://rel/x", "/cwd/rel/x"),
        ("file://~/x", "~/x"),
        ("file://.", "/cwd"),
        ("file:///a?no_tmp_dir=true", "/a"),
    ],
)
def test_urls(url, folder):
    assert FileBackend(url, Path("/cwd")).folder == Path(folder).expanduser() / ".pulumi"


@pytest.mark.parametrize("url", ["s3://bucket", "https://api.example", "nonsense"])
def test_other_backends_need_the_cli(tmp_path, url):
    with pytest.raises(BackendError, match="need the pulumi CLI"):
        FileBackend(url, tmp_path)


def test_a_compressed_state_is_read_and_replaced_by_a_plain_one(backend):
    backend.save("p", "s", "{}")
    path = backend.state_file("p", "s")
    packed = path.with_name("s.json.gz")
    packed.write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()
    assert backend.load("p", "s") is not None and backend.stacks("p") == ["s"]
    backend.save("p", "s", '{"metadata":{}}')
    assert backend.load("p", "s")["checkpoint"]["latest"] == {"metadata": {}}
    assert sorted(p.name for p in path.parent.iterdir()) == ["s.json", "s.json.gz.bak"], "as the CLI leaves it when it changes the form"


def test_of_two_forms_the_newer_counts(backend):
    backend.save("p", "s", '{"metadata":{"form":"plain"}}')
    path = backend.state_file("p", "s")
    packed = path.with_name("s.json.gz")
    packed.write_bytes(gzip.compress(path.read_bytes().replace(b"plain", b"packed")))
    os.utime(path, (1, 1))
    assert backend.load("p", "s")["checkpoint"]["latest"]["metadata"] == {"form": "packed"}


def zstd(folder):
    (folder / "stacks" / "p" / "s.json.zst").write_bytes(b"(")


def legacy(folder):
    (folder / "meta.yaml").unlink()
    (folder / "stacks" / "s.json").write_text("{}")


def newer(folder):
    (folder / "meta.yaml").write_text("version: 2\n")


def no_meta(folder):
    (folder / "meta.yaml").write_text("[]")


def broken(folder):
    (folder / "stacks" / "p" / "s.json").write_text("{")


def no_state(folder):
    (folder / "stacks" / "p" / "s.json").write_text("[]")


def interrupted_cli(folder):
    state = (folder / "stacks" / "p" / "s.json").read_bytes()
    (folder / "journal" / "p" / "s").mkdir(parents=True)
    manifest = {"epochID": "x", "baseCheckpointHash": hashlib.sha256(state).hexdigest()}
    (folder / "journal" / "p" / "s" / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (zstd, "zstd, which needs the pulumi CLI"),
        (legacy, "version 0 of the layout.*pulumi state upgrade"),
        (newer, "version 2 of the layout"),
        (no_meta, "meta.yaml: is not the description"),
        (broken, r"s\.json: cannot be read as a state.*s\.json\.bak"),
        (no_state, r"s\.json: is not a state"),
        (interrupted_cli, "a run of the pulumi CLI was cut off.*pulumi refresh --stack s"),
    ],
)
def test_what_cannot_be_used_says_why(backend, damage, message):
    backend.save("p", "s", "{}")
    damage(backend.folder)
    with pytest.raises(BackendError, match=message):
        backend.load("p", "s")


def test_a_journal_that_the_cli_has_taken_in_is_no_hindrance(backend):
    backend.save("p", "s", "{}")
    interrupted_cli(backend.folder)
    backend.save("p", "s", '{"metadata":{}}')
    assert backend.load("p", "s") is not None


@pytest.mark.parametrize("name", ["", "..", "../s", "a/b", "a b", "x" * 101])
def test_names_are_names_and_not_paths(backend, name):
    with pytest.raises(BackendError, match="stack name"):
        backend.load("p", name)


def test_a_write_that_fails_leaves_what_was_there(tmp_path):
    path = tmp_path / "file"
    write_atomically(path, "before")
    with pytest.raises(UnicodeEncodeError):
        write_atomically(path, "\ud800")
    assert path.read_text() == "before" and [p.name for p in tmp_path.iterdir()] == ["file"]
