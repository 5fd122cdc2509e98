"""The launcher that stays: starts every process when what it needs works, restarts what crashes, stops all on SIGTERM.

Run as `python -m cluster.supervisor CLONE` by `up`, detached. One thread a component: each waits for the components it comes
after, starts its process, waits for its health, and then for its end. When the supervisor itself is killed, its processes live
on; the next `up` or `down` finds them by their pid files.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from cluster import addresses as at
from cluster import host, image, manifests
from cluster.components import MANIFESTS_TASK, PAUSE_IMAGE_TASK, TASKS, Component
from cluster.configs import PAUSE_IMAGE
from cluster.health import is_healthy
from cluster.kubeapi import Api
from cluster.launch import ComponentState, Launch, Report
from cluster.paths import Layout
from cluster.processes import Process, write_pid
from cluster.teardown import teardown

LOG_BYTES = 20 * 1024 * 1024
"""A log is put aside when it is larger; one older one is kept. So logs take at most 40 MB a component."""
_MAX_BACKOFF = 30
_SETTLED_SECONDS = 60
"""A process that lived this long had a good start: its next crash is a first one again."""


def api_server(simulated: bool) -> str:
    """The URL at which our own processes reach the API server."""
    return f"https://{at.LOOPBACK if simulated else at.NODE_IP}:{at.API_PORT}"


class Supervisor:
    """Runs one `Launch` until told to stop."""

    def __init__(self, layout: Layout, launch: Launch) -> None:
        self._layout = layout
        self._launch = launch
        self._components = launch.components(layout)
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        names = [c.name for c in self._components]
        names += [MANIFESTS_TASK] if launch.simulated else list(TASKS)
        self._ready = {name: threading.Event() for name in names}
        self._report = Report(launch.fingerprint(layout), components={n: ComponentState() for n in names})

    def run(self) -> None:
        """Starts everything, and returns when SIGTERM or SIGINT arrives."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stopping.set())
        self._save()
        threads = [threading.Thread(target=self._watch, args=(c,), daemon=True) for c in self._components]
        work = {MANIFESTS_TASK: self._apply_manifests, PAUSE_IMAGE_TASK: self._import_image}
        threads += [threading.Thread(target=self._task, args=(n, work[n]), daemon=True) for n in work if n in self._ready]
        for thread in threads:
            thread.start()
        while not self._stopping.wait(5):
            rotate_logs(self._layout.logs)
        with self._lock:
            self._report.phase = "stopping"
        self._save()

    def _set(self, name: str, **changes: object) -> None:
        with self._lock:
            state = self._report.components[name]
            for key, value in changes.items():
                setattr(state, key, value)
            if all(c.ready for c in self._report.components.values()) and self._report.phase == "starting":
                self._report.phase = "running"
        self._save()

    def _save(self) -> None:
        with self._lock:
            self._report.save(self._layout.status_file)

    def _wait_for(self, names: tuple[str, ...]) -> bool:
        for name in names:
            while not self._ready[name].wait(0.2):
                if self._stopping.is_set():
                    return False
        return not self._stopping.is_set()

    def _watch(self, component: Component) -> None:
        crashes = 0
        while self._wait_for(component.after):
            began = time.monotonic()
            code = self._run_once(component)
            if self._stopping.is_set():
                return
            crashes = 0 if time.monotonic() - began > _SETTLED_SECONDS else crashes + 1
            self._ready[component.name].clear()
            with self._lock:
                restarts = self._report.components[component.name].restarts + 1
            self._set(component.name, ready=False, pid=0, restarts=restarts, error=f"ended with {code}")
            self._stopping.wait(min(2.0 ** (crashes - 1) / 2, _MAX_BACKOFF) if crashes else 0)

    def _run_once(self, component: Component) -> int:
        self._layout.logs.mkdir(parents=True, exist_ok=True)
        with (self._layout.logs / f"{component.name}.log").open("ab") as log:
            child = subprocess.Popen(
                component.argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd=self._layout.state,
                env=child_environment(component, self._layout, os.environ),
            )
        process = Process.of(child.pid)
        if process:
            write_pid(self._layout.pids / f"{component.name}.pid", process)
        self._set(component.name, pid=child.pid)
        while child.poll() is None and not self._stopping.is_set():
            if is_healthy(component.health, self._layout.pki):
                self._set(component.name, ready=True, error="")
                self._ready[component.name].set()
                break
            time.sleep(0.2)
        return child.wait()

    def _task(self, name: str, work: Callable[[], None]) -> None:
        if not self._wait_for(TASKS[name]):
            return
        for attempt in range(10):
            try:
                work()
            except Exception as error:  # whatever it was: it is reported, and tried again
                self._set(name, error=f"{type(error).__name__}: {error}")
                if self._stopping.wait(attempt):
                    return
            else:
                self._set(name, ready=True, error="")
                self._ready[name].set()
                return

    def _apply_manifests(self) -> None:
        api = Api(api_server(self._launch.simulated), self._layout.pki)
        if not self._launch.simulated:
            manifests.mark_pods_not_ready(api)
        manifests.apply_all(api, manifests.load(self._launch.nodes, self._layout.pki))

    def _import_image(self) -> None:
        archive = self._layout.state / "pause.tar"
        image.write_archive(Path(self._launch.programs["busybox"]), archive)
        ctr = [self._launch.programs["ctr"], "--address", str(self._layout.containerd_socket), "--namespace", "k8s.io"]
        imported = subprocess.run([*ctr, "images", "import", str(archive)], capture_output=True, text=True, check=False)
        archive.unlink()
        if imported.returncode:
            raise RuntimeError(f"{PAUSE_IMAGE} could not be imported: {imported.stderr.strip()}")


_PROXY = ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")
_PULLS = {"containerd", "dockerd"}


def child_environment(component: Component, layout: Layout, own: Mapping[str, str]) -> dict[str, str]:
    """A clean environment: nothing of the user's shell but what pulling images needs (proxies, trusted authorities)."""
    env = {"PATH": own.get("PATH", os.defpath), "HOME": str(layout.state), "LANG": "C.UTF-8", **component.env}
    if component.name in _PULLS:
        env |= {k: own[k] for k in (*_PROXY, "SSL_CERT_FILE", "SSL_CERT_DIR") if k in own}
        ours = ",".join(("localhost", at.LOOPBACK, at.NODE_IP, at.POD_CIDR, at.SERVICE_CIDR))
        env["NO_PROXY"] = ",".join(filter(None, (own.get("NO_PROXY") or own.get("no_proxy"), ours)))
    return env


def rotate_logs(logs: Path, limit: int = LOG_BYTES) -> None:
    """Puts large logs aside. The processes hold the files open for appending, so the content is copied and cut."""
    for log in logs.glob("*.log"):
        with contextlib.suppress(OSError):
            if log.stat().st_size > limit:
                shutil.copyfile(log, log.with_suffix(".log.1"))
                os.truncate(log, 0)


def main() -> None:
    layout = Layout.of(Path(sys.argv[1]))
    launch = Launch.load(layout)
    own = Process.of(os.getpid())
    if launch is None or own is None:
        raise SystemExit("started without a launch file; use `python -m cluster up`")
    write_pid(layout.pids / "supervisor.pid", own)
    if not launch.simulated:
        host.prepare(layout)
    Supervisor(layout, launch).run()
    teardown(layout)


if __name__ == "__main__":
    main()
