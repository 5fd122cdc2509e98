"""What must be true of the machine before anything is started; each refusal is one line that says what works instead."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path

from cluster import addresses as at
from cluster import cgroups, network
from cluster.addresses import Listener
from cluster.commands import read
from cluster.errors import ClusterError
from cluster.packages import ELSEWHERE, find
from cluster.paths import RUN_PREFIX, Layout, run_base
from cluster.processes import read_pid

MIN_MEMORY_MIB = 2048
"""Control plane and node take about 900 MiB; the rest is for pods."""
MIN_DISK_MIB = 3072
"""Images, layers and volumes of a small platform."""
MIN_DISK_COLD_MIB = 8192
"""And Go's caches, when the binaries must be built first."""
_SEPARATORS = ",:\\\"'$\n"
_LISTEN = "0A"
_ANY = {"00000000", "0" * 32}


@dataclass(frozen=True)
class Socket:
    """A listening TCP socket of the machine."""

    address: str
    """Hexadecimal as /proc/net/tcp has it."""
    port: int
    inode: str


def refuse_platform(system: str, simulated: bool, uid: int) -> None:
    """Raises where the cluster cannot run at all."""
    if system != "Linux":
        raise ClusterError(f"the one-machine cluster runs on Linux only, this is {system}: {_cap(ELSEWHERE)}.")
    if uid != 0 and not simulated:
        raise ClusterError(
            "containers need root: run as root (sudo), or `python -m cluster up --nodes simulated` for an API server "
            f"whose pods do not run, {ELSEWHERE}."
        )


def refuse_path(root: Path) -> None:
    """Raises where the clone's path has a character that separates paths in mount options and daemons' flags."""
    bad = sorted(set(str(root)) & set(_SEPARATORS))
    if bad:
        raise ClusterError(f"the path of this clone ({root}) contains {' and '.join(bad)}, which mounts cannot carry: move the clone.")


def refuse_cgroups(mounts: str) -> None:
    """Raises where no usable cgroups are mounted."""
    found = cgroups.cgroup_hierarchies(mounts)
    names = {name for _, controllers in found for name in controllers.split(",")}
    lacking = {"cpu", "memory", "cpuset"} - names
    if cgroups.is_unified(mounts):
        where = found[0][0]
        text = (where / "cgroup.controllers").read_text() if (where / "cgroup.controllers").exists() else ""
        lacking = {"cpu", "memory", "cpuset"} - set(text.split())
    if lacking:
        raise ClusterError(
            f"cgroup controllers are missing ({', '.join(sorted(lacking))}), containers cannot run here:"
            f" use `--nodes simulated`, {ELSEWHERE}."
        )


def refuse_resources(memory_mib: int, disk_mib: int, cold: bool) -> None:
    """Raises where memory or disk are too small."""
    if memory_mib < MIN_MEMORY_MIB:
        raise ClusterError(f"{memory_mib} MiB of memory available, {MIN_MEMORY_MIB} needed: free some, {ELSEWHERE}.")
    needed = MIN_DISK_COLD_MIB if cold else MIN_DISK_MIB
    if disk_mib < needed:
        raise ClusterError(f"{disk_mib} MiB of disk free, {needed} needed: free some, {ELSEWHERE}.")


def parse_sockets(text: str) -> list[Socket]:
    """Listening sockets in the text of /proc/net/tcp or tcp6."""
    found = []
    for line in text.splitlines()[1:]:
        parts = line.split()
        if len(parts) > 9 and parts[3] == _LISTEN:
            address, _, port = parts[1].partition(":")
            found.append(Socket(address, int(port, 16), parts[9]))
    return found


def hex_address(address: str) -> str:
    """An IPv4 address as /proc/net/tcp writes it (little-endian)."""
    return "".join(f"{int(part):02X}" for part in reversed(address.split(".")))


def conflict(listener: Listener, sockets: Iterable[Socket]) -> Socket | None:
    """The socket that keeps `listener` from listening."""
    taken = {*_ANY, hex_address(listener.address)}
    return next((s for s in sockets if s.port == listener.port and s.address in taken), None)


def listening() -> list[Socket]:
    """Every listening TCP socket of this machine."""
    return [s for name in ("tcp", "tcp6") for s in parse_sockets(read(Path("/proc/net") / name))]


def refuse_ports(listeners: Sequence[Listener], sockets: Sequence[Socket]) -> None:
    """Raises when a port is taken, naming the port, its use, and the process that has it."""
    for listener in listeners:
        taken = conflict(listener, sockets)
        if taken:
            raise ClusterError(f"port {listener.port} ({listener.use}) is taken by {_holder(taken.inode)}: stop that, {ELSEWHERE}.")


def _holder(inode: str) -> str:
    wanted = f"socket:[{inode}]"
    for descriptor in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if str(descriptor.readlink()) == wanted:
                process = descriptor.parent.parent
                return f"process {process.name} ({read(process / 'comm').strip()})"
        except OSError:
            continue
    return "a process of another user"


def refuse_other_clone(layout: Layout, base: Path | None = None) -> None:
    """Raises when another clone's cluster runs on this machine: addresses and ports are the same."""
    for owner in (base or run_base()).glob(f"{RUN_PREFIX}*/owner"):
        if owner.parent.name == f"{RUN_PREFIX}{layout.id}":
            continue
        clone = Path(read(owner).strip())
        other = Layout.of(clone)
        if read_pid(other.pids / "supervisor.pid"):
            raise ClusterError(f"the clone in {clone} runs its cluster on this machine: run `python -m cluster down` there, {ELSEWHERE}.")


def refuse_networks(routes: Sequence[str], own_link: str) -> None:
    """Raises when the machine already routes one of our networks elsewhere. `routes` as `ip -json route` gives them."""
    ours = [ip_network(n) for n in (f"{at.NODE_IP}/32", at.POD_CIDR, at.SERVICE_CIDR)]
    for text in routes:
        for route in json.loads(text or "[]"):
            destination = str(route.get("dst", "default"))
            if destination == "default" or route.get("dev") == own_link or ":" in destination:
                continue
            theirs = ip_network(destination, strict=False)
            if theirs.prefixlen > 8 and any(theirs.overlaps(n) for n in ours):
                raise ClusterError(
                    f"the network {theirs} ({route.get('dev')}) overlaps the cluster's ({at.NODE_IP}, {at.POD_CIDR},"
                    f" {at.SERVICE_CIDR}): disconnect it, {ELSEWHERE}."
                )


def check(layout: Layout, *, simulated: bool, cold: bool) -> None:
    """All refusals, cheapest first. Call only when this clone's cluster does not run."""
    refuse_platform(platform.system(), simulated, os.geteuid())
    refuse_path(layout.root)
    refuse_other_clone(layout)
    memory = next(
        (int(line.split()[1]) // 1024 for line in read(Path("/proc/meminfo")).splitlines() if line.startswith("MemAvailable")),
        0,
    )
    layout.local.mkdir(exist_ok=True)
    refuse_resources(memory, shutil.disk_usage(layout.local).free // 2**20, cold)
    refuse_ports(at.SIMULATED_LISTENERS if simulated else at.REAL_LISTENERS, listening())
    if simulated:
        return
    refuse_cgroups(read(Path("/proc/mounts")))
    ip = find("ip")
    if ip is None:
        raise ClusterError(f"the program `ip` (package iproute2) is missing: install it, {ELSEWHERE}.")
    shown = subprocess.run([ip, "-json", "route"], capture_output=True, text=True, check=False)
    refuse_networks([shown.stdout], layout.link)


def refuse_kube_chains() -> None:
    """Raises when some other Kubernetes node's rules are on this machine. Needs iptables."""
    found = network.kube_chains()
    if found:
        raise ClusterError(
            f"this machine already has Kubernetes' iptables rules (chain {found[0][1]}), so a Kubernetes node of somebody else runs"
            f" here: stop it, {ELSEWHERE}."
        )


def _cap(text: str) -> str:
    return text.removeprefix("or ")
