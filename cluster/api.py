"""The door of this room: start, stop and ask about the one-machine cluster.

from cluster import api
status = api.up(progress=print)
status.kubeconfig, status.docker_host, status.registry
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from cluster import addresses as at
from cluster import certificates as certs
from cluster import checks, configs, host, kubeconfigs, mounts, packages, simulated, toolchain
from cluster.errors import ClusterError
from cluster.kubeapi import Api
from cluster.launch import REAL, SIMULATED, Launch, Report
from cluster.packages import Program
from cluster.paths import Layout
from cluster.processes import read_pid, resident_bytes
from cluster.supervisor import api_server
from cluster.teardown import teardown

Progress = Callable[[str], None]
START_SECONDS = 180
"""How long all components may take to work; measured 8 s warm on 2 cores, several times that on a busy machine."""
HOPELESS_RESTARTS = 5
"""A component that ended this often while the cluster starts will not start; about 16 s with the launcher's pauses."""
STOP_SECONDS = 120


@dataclass(frozen=True)
class ComponentStatus:
    """One component as it is now."""

    name: str
    ready: bool
    pid: int
    restarts: int
    memory_mib: int
    error: str = ""


@dataclass(frozen=True)
class ClusterStatus:
    """The cluster as it is now."""

    running: bool
    """Whether all components work."""
    phase: str
    """`stopped`, `starting`, `running`, `stopping`, or `crashed` (the supervisor is gone; `up` or `down` puts that right)."""
    nodes: str
    kubeconfig: str
    context: str
    docker_host: str
    """For DOCKER_HOST; empty with simulated nodes."""
    registry: str
    """Prefix of image names; empty with simulated nodes."""
    logs: str
    components: list[ComponentStatus] = field(default_factory=list)

    @property
    def memory_mib(self) -> int:
        return sum(c.memory_mib for c in self.components)

    def as_dict(self) -> dict[str, object]:
        return {**asdict(self), "memory_mib": self.memory_mib}


def missing_requirements(nodes: str = REAL) -> list[Program]:
    """Programs that `up` would install from the distribution."""
    return packages.missing([packages.ETCD] if nodes == SIMULATED else packages.REAL_NODE)


def status(layout: Layout | None = None) -> ClusterStatus:
    """What runs, from the supervisor's account; no call to the cluster, so it never hangs."""
    layout = layout or Layout.of()
    launch, report = Launch.load(layout), Report.load(layout.status_file)
    supervisor = read_pid(layout.pids / "supervisor.pid")
    phase = "stopped" if report is None else report.phase if supervisor else "crashed"
    real = launch is None or not launch.simulated
    parts = [
        ComponentStatus(n, c.ready, c.pid, c.restarts, resident_bytes(c.pid) // 2**20 if c.pid else 0, c.error)
        for n, c in (report.components.items() if report else ())
    ]
    return ClusterStatus(
        running=phase == "running" and all(p.ready for p in parts),
        phase=phase,
        nodes=launch.nodes if launch else REAL,
        kubeconfig=str(layout.kubeconfig),
        context=at.CONTEXT,
        docker_host=layout.docker_host if real else "",
        registry=at.REGISTRY if real else "",
        logs=str(layout.logs),
        components=parts,
    )


def up(nodes: str = REAL, progress: Progress | None = None, layout: Layout | None = None, count: int = 1) -> ClusterStatus:
    """Starts the cluster, or does nothing when it runs. `nodes` is `real` or `simulated` (then `count` of them).

    Raises ClusterError with one line when this machine cannot, or when a component does not start.
    """
    layout, say = layout or Layout.of(), progress or (lambda _: None)
    if nodes not in (REAL, SIMULATED):
        raise ClusterError(f"nodes: {nodes!r} is neither `{REAL}` nor `{SIMULATED}`.")
    with _locked(layout):
        now = status(layout)
        if now.running and now.nodes == nodes:
            _mention_if_outdated(layout, say)
            return now
        if now.phase == "running" and now.nodes == nodes:
            _wait_until_running(layout, say)
            return status(layout)
        if now.phase != "stopped":
            say(f"stopping the {now.phase} cluster")
            _stop(layout)
        launch = _prepare(layout, nodes, count, say)
        _start(layout, launch, say)
        return status(layout)


def down(progress: Progress | None = None, layout: Layout | None = None) -> None:
    """Stops the cluster and takes back all it did to the machine. Data, images and volumes stay for the next `up`."""
    layout, say = layout or Layout.of(), progress or (lambda _: None)
    with _locked(layout):
        if status(layout).phase != "stopped" or any(layout.pids.glob("*.pid")):
            say("stopping pods and daemons")
            _stop(layout)


def clean(progress: Progress | None = None, layout: Layout | None = None) -> None:
    """`down`, and removes the cluster's data: etcd, images, volumes, certificates, logs."""
    layout, say = layout or Layout.of(), progress or (lambda _: None)
    down(progress, layout)
    say("removing the cluster's data")
    if layout.state.exists():
        mounts.remove_tree(layout.state)
    layout.kubeconfig.unlink(missing_ok=True)


def kubectl(layout: Layout | None = None) -> Path:
    """The kubectl that belongs to this cluster's version."""
    launch = Launch.load(layout or Layout.of())
    if launch is None:
        raise ClusterError("the cluster was never started: `python -m cluster up`.")
    return Path(launch.programs["kubectl"])


@contextlib.contextmanager
def _locked(layout: Layout) -> Iterator[None]:
    """One `up`, `down` or `clean` at a time; a second waits."""
    layout.local.mkdir(exist_ok=True)
    with layout.lock.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _prepare(layout: Layout, nodes: str, count: int, say: Progress) -> Launch:
    is_simulated = nodes == SIMULATED
    modules = toolchain.SIMULATED if is_simulated else toolchain.REAL
    go = toolchain.find_go(toolchain.needed_go(modules))
    cold = go is None or any(not p.exists() for p in toolchain.binaries(modules, go).values())
    checks.check(layout, simulated=is_simulated, cold=cold)
    for folder in (layout.state, layout.config, layout.logs, layout.pids, layout.volumes, layout.run):
        folder.mkdir(parents=True, exist_ok=True)
    for private in (layout.config, layout.volumes, layout.run):
        private.chmod(0o700)
    packages.install([packages.ETCD] if is_simulated else packages.REAL_NODE, say, layout.logs / "apt.log")
    if not is_simulated:
        checks.refuse_kube_chains()
    built = toolchain.build(modules, say, layout.logs / "build.log")
    found = configs.Host() if is_simulated else host.detect(layout.state)
    _configure(layout, found, is_simulated=is_simulated)
    distribution = ("etcd",) if is_simulated else ("etcd", "containerd", "ctr", "docker-registry", "dockerd", "busybox")
    programs = {n: str(p) for n, p in built.items()} | {n: packages.require(n) for n in distribution}
    launch = Launch(nodes, {**programs, "PATH": packages.search_path()}, found, count)
    launch.save(layout)
    return launch


def _mention_if_outdated(layout: Layout, say: Progress) -> None:
    """Says when the running cluster is not what this version of the clone would start. Pods are not restarted unasked."""
    launch, report = Launch.load(layout), Report.load(layout.status_file)
    if launch is None or report is None:
        return
    modules = toolchain.SIMULATED if launch.simulated else toolchain.REAL
    go = toolchain.find_go(toolchain.needed_go(modules))
    pinned = toolchain.binaries(modules, go) if go else {}
    other_binaries = any(launch.programs.get(name) != str(path) for name, path in pinned.items())
    if other_binaries or launch.fingerprint(layout) != report.fingerprint:
        say("the running cluster was started by another version of this clone; `python -m cluster down`, then `up`, renews it")


def _configure(layout: Layout, found: configs.Host, *, is_simulated: bool) -> None:
    certs.ensure_all(layout.pki)
    configs.ensure_encryption_key(layout)
    server = api_server(is_simulated)
    for leaf in certs.LEAVES:
        if leaf.client and leaf.authority == certs.CA:
            kubeconfigs.write(layout.config / f"{leaf.file}.kubeconfig", layout.pki, leaf.file, server)
    kubeconfigs.write(layout.kubeconfig, layout.pki, "admin", f"https://{at.LOOPBACK}:{at.API_PORT}")
    _give_to_owner(layout.kubeconfig, layout.root)
    if is_simulated:
        simulated.write_config(layout)
    else:
        configs.write_all(layout, found)
    (layout.run / "owner").write_text(f"{layout.root}\n")
    if not layout.data_link.exists():
        layout.data_link.symlink_to(layout.state)


def _give_to_owner(path: Path, root: Path) -> None:
    """After `sudo make up` the kubeconfig is for whoever owns the clone."""
    if os.geteuid() == 0:
        owner = root.stat()
        os.chown(path, owner.st_uid, owner.st_gid)


def _start(layout: Layout, launch: Launch, say: Progress) -> None:
    layout.status_file.unlink(missing_ok=True)
    here = Path(__file__).resolve().parent.parent
    with (layout.logs / "supervisor.log").open("ab") as log:
        subprocess.Popen(
            [sys.executable, "-m", "cluster.supervisor", str(layout.root)],
            cwd=here,
            env={**os.environ, "PATH": launch.programs["PATH"]},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        _wait_until_running(layout, say)
        _wait_for_nodes(layout, launch, say)
    except ClusterError:
        _stop(layout)
        raise


def _wait_until_running(layout: Layout, say: Progress) -> None:
    began, shown = time.monotonic(), set[str]()
    while True:
        report = Report.load(layout.status_file)
        states = report.components if report else {}
        for name, state in states.items():
            if state.ready and name not in shown:
                shown.add(name)
                say(f"{name} works")
        waiting = {n: s for n, s in states.items() if not s.ready}
        if states and not waiting:
            return
        waited = time.monotonic() - began
        if waited > 3 and not read_pid(layout.pids / "supervisor.pid"):
            raise ClusterError(f"the launcher ended: {_last_line(layout.logs / 'supervisor.log')}")
        hopeless = [n for n, s in waiting.items() if s.restarts >= HOPELESS_RESTARTS]
        if hopeless or waited > START_SECONDS:
            raise ClusterError(_why_not_started(layout, hopeless or list(waiting), waited))
        time.sleep(0.1)


def _why_not_started(layout: Layout, waiting: list[str], waited: float) -> str:
    first = waiting[0] if waiting else "the launcher"
    log = layout.logs / f"{first}.log"
    return f"{first} did not start in {waited:.0f} s: {_last_line(log)} (log: {log})"


def _wait_for_nodes(layout: Layout, launch: Launch, say: Progress) -> None:
    api = Api(api_server(launch.simulated), layout.pki)
    if launch.simulated:
        simulated.create_nodes(api, launch.count)
    end, reason = time.monotonic() + START_SECONDS, "no node"
    while time.monotonic() < end:
        with contextlib.suppress(OSError):
            nodes = api.get("/api/v1/nodes")["items"]
            pending = [n for n in nodes if not _is_ready(n)]
            if nodes and not pending:
                say(f"{len(nodes)} node{'s' if len(nodes) > 1 else ''} ready")
                return
            reason = _why_not_ready(pending[0]) if pending else "no node has registered"
        time.sleep(0.2)
    raise ClusterError(f"no node became ready in {START_SECONDS} s: {reason} (log: {layout.logs / 'kubelet.log'})")


def _is_ready(node: dict[str, object]) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in _conditions(node))


def _why_not_ready(node: dict[str, object]) -> str:
    return next((c.get("message", "") for c in _conditions(node) if c["type"] == "Ready"), "it has not reported")


def _conditions(node: dict[str, object]) -> list[dict[str, str]]:
    state = node.get("status")
    return state.get("conditions", []) if isinstance(state, dict) else []


def _stop(layout: Layout) -> None:
    supervisor = read_pid(layout.pids / "supervisor.pid")
    if supervisor:
        supervisor.stop(STOP_SECONDS)
    if supervisor is None or any(layout.pids.glob("*.pid")):
        teardown(layout)
    if layout.run.exists():
        shutil.rmtree(layout.run, ignore_errors=True)


def _last_line(log: Path) -> str:
    return toolchain.last_line(log) if log.exists() else "no log"
