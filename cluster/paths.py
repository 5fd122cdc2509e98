"""Where everything of a clone's cluster lives. Pure: computing a path never creates it."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

RUN_PREFIX = "sophia-"


def clone_id(root: Path) -> str:
    """Eight hex digits that name this clone: they tell its sockets, cgroups, chains and links from another clone's."""
    return hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:8]


def cache_dir() -> Path:
    """The cache all clones share: built binaries, keyed by what they were built from."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "sophia"


@contextlib.contextmanager
def cache_lock(name: str) -> Iterator[None]:
    """Held by one process of this user at a time; another waits."""
    cache_dir().mkdir(parents=True, exist_ok=True)
    with (cache_dir() / f".{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def run_base() -> Path:
    """`/run` for root; for others the session's own runtime directory, else a private name under the temporary one."""
    if os.geteuid() == 0:
        return Path("/run")
    given = os.environ.get("XDG_RUNTIME_DIR")
    return Path(given) if given else Path("/tmp")  # noqa: S108 - only for simulated nodes; directories are made 0700


@dataclass(frozen=True)
class Layout:
    """The directories of one clone's cluster.

    Sockets are in `run`, not under the clone: a Unix socket's path ends at 108 bytes, a clone's need not.
    """

    root: Path

    @classmethod
    def of(cls, root: Path | None = None) -> Layout:
        """The layout of the clone that contains this file, or of `root`."""
        return cls((root or Path(__file__).resolve().parent.parent).resolve())

    @property
    def id(self) -> str:
        return clone_id(self.root)

    @property
    def local(self) -> Path:
        return self.root / ".local"

    @property
    def state(self) -> Path:
        return self.local / "cluster"

    @property
    def kubeconfig(self) -> Path:
        return self.local / "kubeconfig"

    @property
    def lock(self) -> Path:
        return self.local / "cluster.lock"

    @property
    def pki(self) -> Path:
        return self.state / "pki"

    @property
    def config(self) -> Path:
        return self.state / "config"

    @property
    def logs(self) -> Path:
        return self.state / "logs"

    @property
    def pids(self) -> Path:
        return self.state / "pids"

    @property
    def status_file(self) -> Path:
        return self.state / "status.json"

    @property
    def volumes(self) -> Path:
        """Persistent volumes: survive `down`, go with `clean`."""
        return self.state / "volumes"

    @property
    def run(self) -> Path:
        return run_base() / f"{RUN_PREFIX}{self.id}"

    @property
    def data_link(self) -> Path:
        """A short name for `state`: the kubelet makes sockets below its root directory."""
        return self.run / "data"

    @property
    def containerd_socket(self) -> Path:
        return self.run / "containerd.sock"

    @property
    def docker_socket(self) -> Path:
        return self.run / "docker.sock"

    @property
    def docker_host(self) -> str:
        return f"unix://{self.docker_socket}"

    @property
    def cgroup(self) -> str:
        """The cgroup, in every hierarchy, below which all of ours live."""
        return f"/{RUN_PREFIX}{self.id}"

    @property
    def link(self) -> str:
        """The network interface that carries the node's address: 15 characters, the longest name Linux allows."""
        return f"{RUN_PREFIX}{self.id}"
