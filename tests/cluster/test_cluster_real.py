"""The real thing, beside whatever runs on the machine. Needs root; about a minute."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from pathlib import Path

import pytest

from cluster.paths import Layout
from tests.cluster.isolated import IsolatedClone

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("a cluster of its own"), pytest.mark.timeout(300)]

WORKLOAD = (Path(__file__).parent / "workload.yaml").read_text()


def _box(clone: IsolatedClone, script: str) -> str:
    return clone.kubectl("-n", "probe", "exec", "box", "--", "sh", "-c", script).stdout


def _ready(clone: IsolatedClone, pods: int) -> bool:
    shown = clone.kubectl("-n", "probe", "get", "pods", "-o", "json")
    if shown.returncode:
        return False
    found = [p["status"].get("conditions", []) for p in json.loads(shown.stdout)["items"]]
    return sum(any(c["type"] == "Ready" and c["status"] == "True" for c in cs) for cs in found) == pods


def _traces(clone: IsolatedClone) -> list[str]:
    """What of the clone is still on the machine."""
    layout = Layout(clone.root)
    links = clone.inside("ip", "-brief", "link").stdout.splitlines()
    rules = clone.inside("iptables-save").stdout.splitlines()
    found = [line for line in links if not line.startswith("lo ")]
    found += [line for line in rules if line.startswith(("-A", ":KUBE", ":SOPHIA", ":CNI"))]
    found += [line for line in clone.inside("cat", "/proc/mounts").stdout.splitlines() if layout.id in line or "clone" in line]
    found += [str(p) for p in Path("/sys/fs/cgroup").rglob(f"sophia-{layout.id}")]
    found += clone.inside("ls", "/run", "/var/lib/kubelet").stdout.split("sophia")[1:]
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = process.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(clone.root) in line or layout.id in line:
            found.append(line)
    return found


def test_a_cluster_works_restarts_on_its_data_and_leaves_nothing(isolated_clone: IsolatedClone) -> None:
    clone = isolated_clone
    started = clone.cluster("up")
    assert started.returncode == 0, started.stderr

    version = json.loads(clone.kubectl("version", "-o", "json").stdout)["serverVersion"]
    assert re.fullmatch(r"v1\.\d+\.\d+", version["gitVersion"])
    assert (version["major"], version["minor"]) == tuple(version["gitVersion"].lstrip("v").split(".")[:2])

    clone.until(lambda: clone.kubectl("get", "serviceaccount", "default").returncode == 0)
    clone.until(lambda: clone.kubectl("apply", "-f", "-", text=WORKLOAD).returncode == 0)
    clone.until(lambda: _ready(clone, 2))

    # names, a Service's address, the API server from a pod, and metrics
    address = clone.kubectl("-n", "probe", "get", "service", "web", "-o", "jsonpath={.spec.clusterIP}").stdout
    assert f"Address: {address}" in _box(clone, "nslookup web.probe.svc.cluster.local")
    assert "hello" in _box(clone, f"nc {address} 80 </dev/null")
    assert "yes" in _box(clone, "nc -w 3 10.96.0.1 443 </dev/null && echo yes")
    clone.until(lambda: "sophia" in clone.kubectl("top", "nodes").stdout, 90)

    # a user of the cluster cannot weaken what a namespace demands
    refused = clone.kubectl("-n", "probe", "run", "rooted", "--image=x", "--privileged")
    assert refused.returncode != 0
    assert "violates PodSecurity" in refused.stderr

    # secrets are not readable in the store's files
    clone.kubectl("-n", "probe", "create", "secret", "generic", "s", "--from-literal=key=canary-4711")
    stored = b"".join(p.read_bytes() for p in (clone.root / ".local/cluster/etcd").rglob("*") if p.is_file())
    assert b"web.probe" in stored or b"probe/web" in stored
    assert b"canary-4711" not in stored

    # a crash of the store is repaired
    pid_file = clone.root / ".local/cluster/pids/etcd.pid"
    before = pid_file.read_text()
    os.kill(int(before.split()[0]), signal.SIGKILL)
    clone.until(lambda: pid_file.read_text() != before and clone.cluster("status").returncode == 0)

    assert clone.cluster("down").returncode == 0
    assert _traces(clone) == []

    assert clone.cluster("up").returncode == 0
    clone.until(lambda: _ready(clone, 2))
    assert len(_box(clone, "cat /data/starts").splitlines()) == 2

    # the launcher is killed: its processes live on, `down` finds them all the same
    os.kill(int((clone.root / ".local/cluster/pids/supervisor.pid").read_text().split()[0]), signal.SIGKILL)
    assert "crashed" in clone.cluster("status").stdout
    assert clone.cluster("clean").returncode == 0
    assert _traces(clone) == []
    assert not (clone.root / ".local/cluster").exists()


def test_simulated_nodes_make_pods_ready_and_claims_bound(isolated_clone: IsolatedClone) -> None:
    clone = isolated_clone
    started = clone.cluster("up", "--nodes", "simulated", "--count", "2")
    assert started.returncode == 0, started.stderr
    clone.until(lambda: clone.kubectl("apply", "-f", "-", text=WORKLOAD).returncode == 0)
    clone.until(lambda: _ready(clone, 2))
    claim = clone.kubectl("-n", "probe", "get", "pvc", "data", "-o", "jsonpath={.status.phase}")
    assert claim.stdout == "Bound"
    assert clone.cluster("down").returncode == 0
    assert _traces(clone) == []


def test_a_taken_port_is_named_with_its_holder(isolated_clone: IsolatedClone) -> None:
    clone = isolated_clone
    script = (
        "import socket, subprocess, sys; s = socket.create_server(('127.0.0.1', 5000));"
        "sys.exit(subprocess.run([sys.executable, '-m', 'cluster', 'up']).returncode)"
    )
    refused = clone.inside(sys.executable, "-c", script)
    assert refused.returncode == 1
    assert refused.stderr.count("\n") == 1
    assert re.search(r"port 5000 \(image registry\) is taken by process \d+ \(python", refused.stderr)
    assert _traces(clone) == []
