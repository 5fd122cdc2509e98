"""Mounts below our own directories: finding them, taking them down, removing files without reaching into one."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from cluster.commands import read, succeeds


def mounts_below(roots: Iterable[Path], mounts: str) -> list[str]:
    """Mount points at or below `roots`, deepest last mounted first."""
    wanted = [str(r) for r in roots]
    points = [line.split()[1].replace("\\040", " ") for line in mounts.splitlines()]
    return [p for p in reversed(points) if any(p == w or p.startswith(w + "/") for w in wanted)]


def unmount_below(roots: Iterable[Path]) -> None:
    """Unmounts everything at or below `roots`, lazily where it is busy."""
    listed = tuple(roots)
    for _ in range(3):
        left = mounts_below(listed, read(Path("/proc/mounts")))
        if not left:
            return
        for point in left:
            if not succeeds(["umount", point]):
                succeeds(["umount", "--lazy", point])


def remove_tree(path: Path) -> None:
    """Removes a directory of ours with all in it, never crossing into something still mounted there."""
    if mounts_below([path], read(Path("/proc/mounts"))):
        unmount_below([path])
    if mounts_below([path], read(Path("/proc/mounts"))):
        return
    shutil.rmtree(path, ignore_errors=True)
