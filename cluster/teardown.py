"""The clean stop: pods, daemons, mounts, network, cgroups, in that order. Data stays.

The same function serves the supervisor's SIGTERM and a `down` that finds the supervisor dead. Everything it ends it knows by
pid file, and everything that still lives in our cgroups after that is killed: nothing of ours outlives it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable

from cluster import cri, host
from cluster.launch import Launch
from cluster.paths import Layout
from cluster.processes import read_pid

POD_GRACE_SECONDS = 15
"""How long containers have between SIGTERM and SIGKILL; Postgres needs a few seconds to write its last checkpoint.
Shorter than Kubernetes' 30: one container that ignores SIGTERM makes every stop take this long."""
_FIRST = ("kubelet",)
_LAST = ("containerd", "kube-apiserver")
_VERY_LAST = ("etcd",)


def teardown(layout: Layout) -> None:
    """Stops what runs of this clone's cluster. Does nothing where nothing runs."""
    launch = Launch.load(layout)
    simulated = launch is not None and launch.simulated
    running = {p.stem for p in layout.pids.glob("*.pid")} - {"supervisor"}
    _stop(layout, [n for n in _FIRST if n in running])
    middle = running - {*_FIRST, *_LAST, *_VERY_LAST}
    others = threading.Thread(target=_stop, args=(layout, middle))
    others.start()
    if "containerd" in running and layout.containerd_socket.exists() and read_pid(layout.pids / "containerd.pid"):
        cri.stop_all(layout.containerd_socket, POD_GRACE_SECONDS)
    others.join()
    for group in (_LAST, _VERY_LAST):
        _stop(layout, [n for n in group if n in running])
    if not simulated and os.geteuid() == 0:
        host.restore(layout, launch.programs.get("kube-proxy") if launch else None)
    layout.status_file.unlink(missing_ok=True)
    for pid_file in layout.pids.glob("*.pid"):
        pid_file.unlink()


def _stop(layout: Layout, names: Iterable[str]) -> None:
    """Ends the named components at the same time."""
    threads = [threading.Thread(target=_stop_one, args=(layout, name)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _stop_one(layout: Layout, name: str) -> None:
    process = read_pid(layout.pids / f"{name}.pid")
    if process:
        process.stop(20)
