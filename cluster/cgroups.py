"""The cgroup with our name, in every hierarchy: all our processes live in it, so that none can be forgotten at a stop."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

from cluster.commands import read
from cluster.paths import Layout


def cgroup_hierarchies(mounts: str) -> list[tuple[Path, str]]:
    """(mount point, controllers) of every cgroup hierarchy in /proc/mounts; controllers is `unified` for version 2."""
    found = []
    for line in mounts.splitlines():
        _, where, kind, options = line.split()[:4]
        if kind == "cgroup":
            names = [o for o in options.split(",") if o not in {"rw", "ro", "relatime", "nosuid", "nodev", "noexec"}]
            found.append((Path(where), ",".join(names)))
        elif kind == "cgroup2":
            found.append((Path(where), "unified"))
    return found


def is_unified(mounts: str) -> bool:
    """Whether the machine runs on cgroup version 2 alone."""
    found = cgroup_hierarchies(mounts)
    return [c for _, c in found] == ["unified"]


def _own_cgroups(layout: Layout) -> list[Path]:
    return [where / layout.cgroup.strip("/") for where, _ in cgroup_hierarchies(read(Path("/proc/mounts")))]


def cgroups_up(layout: Layout) -> None:
    """Our cgroup in every hierarchy, and the calling process (so all its children) into a leaf of it."""
    unified = is_unified(read(Path("/proc/mounts")))
    for own in _own_cgroups(layout):
        own.mkdir(exist_ok=True)
        if unified:
            _delegate(own.parent)
            _delegate(own)
        _inherit_cpuset(own)
        leaf = own / "daemons"
        leaf.mkdir(exist_ok=True)
        _inherit_cpuset(leaf)
        (leaf / "cgroup.procs").write_text(str(os.getpid()))


def _delegate(cgroup: Path) -> None:
    """Passes every controller on to the children (version 2); one that the kernel refuses is left out."""
    for controller in read(cgroup / "cgroup.controllers").split():
        with contextlib.suppress(OSError):
            (cgroup / "cgroup.subtree_control").write_text(f"+{controller}")


def _inherit_cpuset(cgroup: Path) -> None:
    """Version 1 starts a cpuset empty, and nothing can run in an empty one."""
    for name in ("cpuset.cpus", "cpuset.mems"):
        path = cgroup / name
        if path.exists() and not read(path).strip() and read(cgroup.parent / name).strip():
            path.write_text(read(cgroup.parent / name).strip())


def cgroup_processes(layout: Layout) -> set[int]:
    """Every process that lives in a cgroup of ours."""
    found: set[int] = set()
    for own in _own_cgroups(layout):
        for procs in own.rglob("cgroup.procs") if own.exists() else ():
            with contextlib.suppress(OSError):
                found.update(int(p) for p in procs.read_text().split())
    return found


def kill_cgroup(layout: Layout) -> None:
    """Kills whatever is left in our cgroups: shims, containers, builds. Never the calling process."""
    for _ in range(50):
        left = cgroup_processes(layout) - {os.getpid()}
        if not left:
            return
        for pid in left:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.1)


def cgroups_down(layout: Layout) -> None:
    """Removes our cgroups, leaves first; the calling process goes back to the top first if it is in one."""
    for own in _own_cgroups(layout):
        if not own.exists():
            continue
        if str(os.getpid()) in read(own / "daemons" / "cgroup.procs").split():
            with contextlib.suppress(OSError):
                (own.parent / "cgroup.procs").write_text(str(os.getpid()))
        for folder in sorted((p for p in own.rglob("*") if p.is_dir()), key=lambda p: len(p.parts), reverse=True):
            with contextlib.suppress(OSError):
                folder.rmdir()
        with contextlib.suppress(OSError):
            own.rmdir()
