"""The entrypoint of the Postgres image, run as a process that is not root with the image's own binaries."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.app_images.conftest import NOBODY, Postgres, free_port, run_entrypoint, wait_for


class Box:
    """A volume, a password file and a log of one test."""

    def __init__(self, folder: Path, root: Path) -> None:
        self.folder, self.root = folder, root
        self.volume, self.secret, self.log = root / "volume", root / "password", root / "log"
        self.volume.mkdir(parents=True)
        self.secret.write_text("first-password")
        self.port = free_port()
        for path in (root, self.volume, self.secret):
            if os.getuid() == 0:
                os.chown(path, NOBODY, NOBODY)

    @property
    def pgdata(self) -> Path:
        return self.volume / "pgdata"

    def start(self, *arguments: str, **environment: str) -> int:
        base = {"PGDATA": str(self.pgdata), "POSTGRES_USER": "app", "POSTGRES_DB": "things", "POSTGRES_PASSWORD_FILE": str(self.secret)}
        command = list(arguments) or ["postgres", "-c", f"port={self.port}"]
        return run_entrypoint(self.folder, {**base, **environment}, command, self.log)

    def finished(self, pid: int) -> int:
        """The exit status of a process that ends by itself."""
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def ready(self) -> bool:
        command = [f"{self.folder}/pg/pginstall/bin/pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        return subprocess.run(command).returncode == 0

    def psql(self, statement: str, password: str = "first-password", host: str = "127.0.0.1") -> subprocess.CompletedProcess[str]:
        command = [f"{self.folder}/pg/pginstall/bin/psql", "-w", "-h", host, "-p", str(self.port), "-U", "app", "-d", "things"]
        environment = {**os.environ, "PGPASSWORD": password}
        return subprocess.run([*command, "-Atc", statement], env=environment, capture_output=True, text=True)


@pytest.fixture
def box(postgres_folder: Path) -> Iterator[Box]:
    root = postgres_folder / f"box{time.monotonic_ns()}"
    yield Box(postgres_folder, root)
    shutil.rmtree(root, ignore_errors=True)


def test_the_first_start_makes_a_cluster_and_the_next_keeps_it(box):
    pid = box.start()
    wait_for(box.ready)
    assert box.psql("CREATE TABLE t AS SELECT 1 AS x").returncode == 0
    assert box.psql("SHOW data_checksums").stdout.strip() == "on"
    assert box.psql("SHOW server_encoding").stdout.strip() == "UTF8"
    assert box.psql("SELECT datdba::regrole FROM pg_database WHERE datname = 'things'").stdout.strip() == "app"
    assert box.psql("CREATE EXTENSION vector").returncode == 0
    os.kill(pid, signal.SIGINT)
    assert box.finished(pid) == 0
    assert "database system is shut down" in box.log.read_text()
    box.secret.write_text("second-password")
    pid = box.start()
    wait_for(box.ready)
    assert box.psql("SELECT x FROM t").stdout.strip() == "1"
    os.kill(pid, signal.SIGINT)
    assert box.finished(pid) == 0


def test_nobody_gets_in_without_the_password(box):
    pid = box.start()
    wait_for(box.ready)
    assert "password authentication failed" in box.psql("SELECT 1", password="guess").stderr
    sockets = "/var/run/postgresql" if Path(f"/var/run/postgresql/.s.PGSQL.{box.port}").exists() else "/tmp"
    assert "password authentication failed" in box.psql("SELECT 1", password="guess", host=sockets).stderr
    assert box.psql("SELECT 1", host=sockets).stdout.strip() == "1"
    assert "trust" not in (box.pgdata / "pg_hba.conf").read_text()
    stored = box.psql("SELECT rolpassword FROM pg_authid WHERE rolname = 'app'").stdout
    assert stored.startswith("SCRAM-SHA-256$")
    os.kill(pid, signal.SIGINT)
    box.finished(pid)
    assert "first-password" not in box.log.read_text()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_crash_while_initialising_leaves_nothing_that_is_taken_for_a_cluster(box, number):
    pid = box.start()
    unfinished = box.volume / "pgdata.initializing"
    wait_for(lambda: (unfinished / "PG_VERSION").exists() or box.pgdata.exists())
    assert not box.pgdata.exists()
    # The death of a container's first process is the death of all.
    os.killpg(pid, number) if number is signal.SIGKILL else os.kill(pid, number)
    box.finished(pid)
    assert not (box.pgdata / "PG_VERSION").exists()
    pid = box.start()
    wait_for(box.ready)
    assert not unfinished.exists()
    assert box.psql("SELECT 1").stdout.strip() == "1"
    os.kill(pid, signal.SIGINT)
    assert box.finished(pid) == 0


def test_a_database_and_a_role_may_have_any_name(box):
    pid = box.start(POSTGRES_USER="app", POSTGRES_DB='we"ird; DROP')
    wait_for(box.ready)
    server = Postgres(box.port, "first-password", box.folder, pid)
    command = [f"{server.folder}/pg/pginstall/bin/psql", "-h", "127.0.0.1", "-p", str(box.port), "-U", "app", "-d", 'we"ird; DROP']
    done = subprocess.run(
        [*command, "-Atc", "SELECT 1"], env={**os.environ, "PGPASSWORD": "first-password"}, capture_output=True, text=True
    )
    assert done.stdout.strip() == "1", done.stderr
    os.kill(pid, signal.SIGINT)
    box.finished(pid)


@pytest.mark.parametrize(
    ("prepare", "environment", "words"),
    [
        (lambda box: None, {"POSTGRES_PASSWORD_FILE": ""}, "POSTGRES_PASSWORD_FILE does not name a readable file"),
        (lambda box: box.secret.write_text("\n"), {}, "POSTGRES_PASSWORD_FILE does not name a readable file"),
        (lambda box: (box.pgdata.mkdir(), (box.pgdata / "notes").write_text("")), {}, "neither empty nor a data directory"),
        (lambda box: None, {"PGDATA": "/proc/nowhere/pgdata"}, "must be able to write the volume"),
    ],
)
def test_what_cannot_work_is_one_line(box, prepare, environment, words):
    prepare(box)
    assert box.finished(box.start(**environment)) == 2
    (line,) = box.log.read_text().splitlines()
    assert words in line


@pytest.mark.skipif(os.getuid() != 0, reason="only root can make files of another owner")
def test_a_volume_of_another_owner_is_named_with_both_ids(box):
    box.pgdata.mkdir()
    (box.pgdata / "PG_VERSION").write_text("16\n")
    assert box.finished(box.start()) == 2
    assert f"belongs to user id 0, this process is {NOBODY}" in box.log.read_text()


def test_another_command_is_simply_run(box):
    assert box.finished(box.start("psql", "--version")) == 0
    assert "psql (PostgreSQL) 16" in box.log.read_text()
    assert not box.pgdata.exists()
