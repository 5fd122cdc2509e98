"""Starts Postgres, and makes its data directory the first time.

The contract is that of Docker's official image: POSTGRES_USER, POSTGRES_DB, POSTGRES_PASSWORD_FILE, PGDATA; the
arguments are a command, by default `postgres`. Standard library only, for it runs on the bare base image.

The directory is made beside its final place and renamed when it is complete, so that a crash in between leaves nothing
that a later start could take for a database. Stopping is Postgres' own affair: this process becomes it.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

DEFAULT_PGDATA = "/var/lib/postgresql/data/pgdata"
SOCKET_DIR = "/var/run/postgresql"

# Passwords only, and hashed ones, also on the socket: whoever gets into the container is not the database's owner.
HBA = """\
# TYPE  DATABASE     USER  ADDRESS  METHOD
local   all          all            scram-sha-256
local   replication  all            scram-sha-256
host    all          all   all      scram-sha-256
"""


class EntrypointError(Exception):
    """Why the server cannot be started, in one line with the fix."""


def main(arguments: list[str]) -> NoReturn:
    """Becomes the command in `arguments`; before a `postgres` without a data directory, makes one."""
    command = arguments or ["postgres"]
    if command[0] == "postgres":
        # As process 1 a signal without a handler is ignored; while initialising, both mean: stop now.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            command = server_command(os.environ, command[1:])
        except EntrypointError as error:
            print(f"postgres: {error}", file=sys.stderr)
            sys.exit(2)
        except KeyboardInterrupt:
            print("postgres: stopped while initialising; the next start begins anew", file=sys.stderr)
            sys.exit(1)
        # An ignored or handled signal would be inherited by the server in its default form; make that explicit.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.execvp(command[0], command)  # noqa: S606 - no shell, on purpose


def server_command(environ: Mapping[str, str], options: list[str]) -> list[str]:
    """The command line of the server; makes its data directory where there is none."""
    pgdata = Path(environ.get("PGDATA") or DEFAULT_PGDATA)
    try:
        prepare(pgdata, environ)
    except OSError as error:
        place = error.filename or pgdata
        raise EntrypointError(f"{place}: {error.strerror}. User id {os.geteuid()} must be able to write the volume.") from None
    sockets = SOCKET_DIR if os.access(SOCKET_DIR, os.W_OK) else "/tmp"  # noqa: S108 - the container's own
    fixed = ["-c", "listen_addresses=*", "-c", f"unix_socket_directories={sockets}"]
    return ["postgres", "-D", str(pgdata), *fixed, *options]


def prepare(pgdata: Path, environ: Mapping[str, str]) -> None:
    """Makes the data directory unless there is one. Raises `EntrypointError`."""
    unfinished = pgdata.with_name(f"{pgdata.name}.initializing")
    if (pgdata / "PG_VERSION").exists():
        if pgdata.stat().st_uid != os.geteuid():
            raise EntrypointError(
                f"{pgdata} belongs to user id {pgdata.stat().st_uid}, this process is {os.geteuid()}. "
                "Run the container as the owner, or give it a volume of its own."
            )
        return
    if pgdata.exists() and any(pgdata.iterdir()):
        raise EntrypointError(f"{pgdata} is neither empty nor a data directory. Empty it, or let PGDATA name another folder.")
    if pgdata.is_mount():
        raise EntrypointError(f"{pgdata} is a volume itself. Let PGDATA name a folder in it, for example {pgdata}/pgdata.")
    pgdata.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(unfinished, ignore_errors=True)
    initialise(unfinished, environ)
    unfinished.rename(pgdata)
    _sync(pgdata.parent)


def initialise(folder: Path, environ: Mapping[str, str]) -> None:
    """Makes a complete data directory in `folder`: role with password, database, checksums, rules of access."""
    user = environ.get("POSTGRES_USER") or "postgres"
    database = environ.get("POSTGRES_DB") or user
    password = environ.get("POSTGRES_PASSWORD_FILE")
    if not password or not os.access(password, os.R_OK) or not Path(password).read_bytes().strip():
        raise EntrypointError("POSTGRES_PASSWORD_FILE does not name a readable file with a password. Mount one and name it.")
    try:
        pwd.getpwuid(os.geteuid())
    except KeyError:
        raise EntrypointError(
            f"user id {os.geteuid()} has no name in /etc/passwd, which initdb needs. Run the first start as user 10001."
        ) from None
    options = ["--encoding=UTF8", "--locale=C.UTF-8", "--data-checksums", "--auth=scram-sha-256"]
    _run(["initdb", f"--pgdata={folder}", f"--username={user}", f"--pwfile={password}", *options])
    if database != "postgres":
        # Without a server: nothing listens before the directory is complete.
        _run(
            ["postgres", "--single", "-j", "-D", str(folder), "postgres"],
            f"CREATE DATABASE {quoted(database)} OWNER {quoted(user)};\n",
        )
    (folder / "pg_hba.conf").write_text(HBA)


def quoted(name: str) -> str:
    """`name` as an identifier in SQL."""
    return '"' + name.replace('"', '""') + '"'


def _run(command: list[str], text: str = "") -> None:
    done = subprocess.run(command, input=text, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode or "ERROR:" in done.stdout or "FATAL:" in done.stdout:
        reasons = [line for line in done.stdout.splitlines() if "error" in line.lower() or "fatal" in line.lower()]
        raise EntrypointError(f"{command[0]} failed ({done.returncode}): {'; '.join(reasons) or done.stdout[-500:]}")


def _sync(folder: Path) -> None:
    """Makes a rename in `folder` last through a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    main(sys.argv[1:])
