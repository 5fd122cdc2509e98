from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from cluster import addresses as at
from cluster import api, cgroups, checks, mounts, network
from cluster.addresses import Listener
from cluster.errors import ClusterError
from cluster.host import has_capability
from cluster.paths import Layout
from cluster.processes import Process, read_pid, write_pid

V1 = "\n".join(f"cgroup /sys/fs/cgroup/{c} cgroup rw,relatime,{c} 0 0" for c in ("cpu", "cpuset", "memory"))

REFUSALS: list[tuple[str, Callable[[], None], str]] = [
    ("system", lambda: checks.refuse_platform("Darwin", False, 0), "runs on Linux only, this is Darwin"),
    ("root", lambda: checks.refuse_platform("Linux", False, 1000), "--nodes simulated"),
    ("path", lambda: checks.refuse_path(Path("/home/a,b")), "contains ,"),
    ("cgroups", lambda: checks.refuse_cgroups(V1.replace("memory", "pids")), r"missing \(memory\)"),
    ("memory", lambda: checks.refuse_resources(500, 99999, False), "500 MiB of memory available, 2048 needed"),
    ("disk", lambda: checks.refuse_resources(9999, 4000, True), "4000 MiB of disk free, 8192 needed"),
    (
        "network",
        lambda: checks.refuse_networks([json.dumps([{"dst": "10.244.7.0/24", "dev": "vpn0"}])], "sophia-0"),
        r"10\.244\.7\.0/24 \(vpn0\) overlaps",
    ),
]


@pytest.mark.parametrize(("check", "message"), [r[1:] for r in REFUSALS], ids=[r[0] for r in REFUSALS])
def test_a_refusal_is_one_line_that_says_what_to_do(check: Callable[[], None], message: str) -> None:
    with pytest.raises(ClusterError, match=message) as caught:
        check()
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")


@pytest.mark.parametrize(
    "check",
    [
        lambda: checks.refuse_platform("Linux", True, 1000),
        lambda: checks.refuse_platform("Linux", False, 0),
        lambda: checks.refuse_path(Path("/home/a clone")),
        lambda: checks.refuse_cgroups(V1),
        lambda: checks.refuse_resources(4096, 4000, False),
        lambda: checks.refuse_networks([json.dumps([{"dst": "default", "dev": "eth0"}, {"dst": "10.0.0.0/8", "dev": "vpn0"}])], "x"),
        lambda: checks.refuse_networks([json.dumps([{"dst": at.POD_CIDR, "dev": "sophia-1"}])], "sophia-1"),
    ],
)
def test_what_is_all_right_is_not_refused(check: Callable[[], None]) -> None:
    check()


def test_unknown_nodes_are_refused_with_the_choices(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="'many' is neither `real` nor `simulated`"):
        api.up("many", layout=Layout(tmp_path))


def test_a_taken_port_is_found_with_its_process() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(ClusterError, match=rf"port {port} \(registry\) is taken by process {os.getpid()} \("):
            checks.refuse_ports([Listener("127.0.0.1", port, "registry")], checks.listening())
    checks.refuse_ports([Listener("127.0.0.1", port, "registry")], checks.listening())


@pytest.mark.parametrize(
    ("address", "conflicts"),
    [("0100007F", True), ("00000000", True), ("0" * 32, True), ("0101A8C0", False)],
)
def test_a_listener_on_another_address_is_no_conflict(address: str, conflicts: bool) -> None:
    text = f"header\n 0: {address}:1388 00000000:0000 0A 0:0 0:0 0 0 0 4711 1\n"
    (found,) = checks.parse_sockets(text)
    assert (found.port, found.inode) == (5000, "4711")
    assert (checks.conflict(Listener("127.0.0.1", 5000, "x"), [found]) is not None) is conflicts


def test_sockets_that_do_not_listen_are_passed_over() -> None:
    assert checks.parse_sockets("header\n 0: 0100007F:1388 0100007F:0050 01 0:0 0:0 0 0 0 4711 1\n") == []


def test_another_clones_running_cluster_is_named(tmp_path: Path) -> None:
    base, other, own = tmp_path / "run", tmp_path / "other", Layout(tmp_path / "own")
    owner = base / f"sophia-{Layout(other).id}"
    owner.mkdir(parents=True)
    (owner / "owner").write_text(f"{other}\n")
    checks.refuse_other_clone(own, base)  # a directory left behind is no cluster
    me = Process.of(os.getpid())
    assert me
    write_pid(Layout(other).pids / "supervisor.pid", me)
    with pytest.raises(ClusterError, match=f"the clone in {other} runs its cluster"):
        checks.refuse_other_clone(own, base)
    checks.refuse_other_clone(Layout(other), base)


def test_a_pid_used_again_is_not_ours(tmp_path: Path) -> None:
    me = Process.of(os.getpid())
    assert me
    write_pid(tmp_path / "x.pid", me)
    assert read_pid(tmp_path / "x.pid") == me
    write_pid(tmp_path / "x.pid", Process(me.pid, me.started + 1))
    assert read_pid(tmp_path / "x.pid") is None
    assert read_pid(tmp_path / "none.pid") is None


def test_cgroup_versions_are_told_apart() -> None:
    assert not cgroups.is_unified(V1)
    assert not cgroups.is_unified(V1 + "\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0")
    assert cgroups.is_unified("proc /proc proc rw 0 0\ncgroup2 /sys/fs/cgroup cgroup2 rw 0 0")


def test_version_2_needs_its_controllers(tmp_path: Path) -> None:
    mounted = f"cgroup2 {tmp_path} cgroup2 rw 0 0"
    (tmp_path / "cgroup.controllers").write_text("cpuset cpu io memory pids\n")
    checks.refuse_cgroups(mounted)
    (tmp_path / "cgroup.controllers").write_text("cpu pids\n")
    with pytest.raises(ClusterError, match=r"missing \(cpuset, memory\)"):
        checks.refuse_cgroups(mounted)


@pytest.mark.parametrize(("mask", "has"), [("000001ffffffffff", True), ("000001fffeffffff", False), ("0", False)])
def test_capabilities_are_read(mask: str, has: bool) -> None:
    assert has_capability(f"Name:\tx\nCapEff:\t{mask}\n", 24) is has


def test_only_mounts_at_or_below_are_ours() -> None:
    text = "a /run/sophia-1 tmpfs rw 0 0\nb /run/sophia-1/x y rw 0 0\nc /run/sophia-12 z rw 0 0\nd /run/sophia-1/with\\040space y rw 0 0"
    assert mounts.mounts_below([Path("/run/sophia-1")], text) == ["/run/sophia-1/with space", "/run/sophia-1/x", "/run/sophia-1"]


def test_kube_chains_are_found_in_every_table() -> None:
    saved = "*nat\n:PREROUTING ACCEPT [0:0]\n:KUBE-SERVICES - [0:0]\nCOMMIT\n*mangle\n:KUBE-PROXY-CANARY - [0:0]\nCOMMIT\n:DOCKER - [0:0]\n"
    assert network.parse_kube_chains(saved) == [("nat", "KUBE-SERVICES"), ("mangle", "KUBE-PROXY-CANARY")]


def test_chain_names_fit_and_tell_clones_apart() -> None:
    one, two = Layout(Path("/one")), Layout(Path("/two"))
    chains = [(table, network.chain_name(clone, hook)) for clone in (one, two) for table, hook, _ in network.chain_rules(clone)]
    assert len(set(chains)) == len(chains)
    assert max(len(name) for _, name in chains) <= 28
    assert len(one.link) <= 15


def test_status_of_a_clone_that_never_ran(tmp_path: Path) -> None:
    now = api.status(Layout(tmp_path))
    assert (now.running, now.phase, now.components, now.memory_mib) == (False, "stopped", [], 0)
    json.dumps(now.as_dict())
