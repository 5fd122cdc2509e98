"""One operation at a time, whoever runs it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from engine.lock import StackLock
from engine.storage import BackendError

DEAD = 2**22 + 1
"""Above the largest process id that Linux gives."""


def left(folder, name="other.json", **about):
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(json.dumps({"pid": os.getpid(), "username": "u", "hostname": socket.gethostname(), "timestamp": "t", **about}))
    return path


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "locks" / "dev"


def test_one_operation_at_a_time(folder):
    with StackLock(folder), pytest.raises(BackendError, match=rf"currently locked by .*\(pid {os.getpid()}\)"), StackLock(folder):
        pass
    with StackLock(folder):
        pass


def test_to_the_cli_every_file_in_the_folder_is_a_lock_so_there_is_none_but_ours(folder):
    with StackLock(folder):
        (ours,) = folder.iterdir()
        about = json.loads(ours.read_text())
        assert ours.suffix == ".json" and about["pid"] == os.getpid() and about["hostname"] == socket.gethostname()
        assert {"username", "timestamp"} <= about.keys()
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("about", "held"),
    [
        ({"pid": DEAD}, False),
        ({"pid": os.getpid(), "engine": "embedded"}, False),  # a crash, and the id was given to another process since
        ({"pid": os.getpid()}, True),  # a CLI that is there
        ({"hostname": "elsewhere", "pid": DEAD}, True),
        ({"hostname": "elsewhere", "pid": DEAD, "engine": "embedded"}, True),
    ],
)
def test_what_the_dead_of_this_machine_left_is_removed_and_nothing_else(folder, about, held):
    path = left(folder, **about)
    if held:
        with pytest.raises(BackendError, match=r"locked by u@.*Lock file: .*other\.json"), StackLock(folder):
            pass
        assert path.exists() and len(list(folder.iterdir())) == 1, "nothing of ours stays behind"
    else:
        with StackLock(folder):
            assert not path.exists()


def test_an_unreadable_lock_is_respected(folder):
    left(folder).write_text("{")
    with pytest.raises(BackendError, match="locked by another process"), StackLock(folder):
        pass


def test_a_cli_that_came_in_between_wins(folder, monkeypatch):
    write = StackLock._write

    def write_late(lock):
        left(folder)
        write(lock)

    monkeypatch.setattr(StackLock, "_write", write_late)
    with pytest.raises(BackendError, match="locked by u@"), StackLock(folder):
        pass
    assert [p.name for p in folder.iterdir()] == ["other.json"]


HOLD = "import sys,time; from pathlib import Path; from engine.lock import StackLock\n"
HOLD += "with StackLock(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"


def test_a_killed_holder_is_no_hindrance(folder):
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    with pytest.raises(BackendError, match=rf"\(pid {holder.pid}\)"), StackLock(folder):
        pass
    holder.kill()
    holder.wait()
    assert len(list(folder.iterdir())) == 1
    with StackLock(folder):
        assert len(list(folder.iterdir())) == 1
