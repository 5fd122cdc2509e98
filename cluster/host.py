"""What the cluster changes on the machine outside its own files, and how each change is taken back.

An interface with the node's address, chains with our name in iptables, a cgroup with our name, a handful of kernel settings
(recorded before, restored after). Everything here can be called again at any moment and does nothing the second time.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from cluster import cgroups, mounts, network
from cluster.commands import read, succeeds
from cluster.configs import Host
from cluster.packages import find
from cluster.paths import Layout

_CAP_SYS_RESOURCE = 24
KERNEL_SETTINGS = (
    "net/ipv4/ip_forward",  # set by us: pods reach the world through the machine
    "vm/overcommit_memory",  # the rest are set by the kubelet, which does not put them back
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
)


def detect(state: Path) -> Host:
    """Looks at the machine. Needs root for the overlay test."""
    resolv = Path("/etc/resolv.conf")
    stub = Path("/run/systemd/resolve/resolv.conf")
    # systemd-resolved writes 127.0.0.53 into /etc/resolv.conf; a pod's own loopback has no resolver
    chosen = stub if stub.exists() and "127.0.0.53" in read(resolv) else resolv
    plugin = find("ptp")
    return Host(
        snapshotter="overlayfs" if can_overlay(state) else "native",
        may_lower_oom_score=has_capability(read(Path("/proc/self/status")), _CAP_SYS_RESOURCE),
        name_servers="nameserver" in read(chosen),
        resolv_conf=str(chosen),
        cni_plugins=str(Path(plugin).parent) if plugin else "/usr/lib/cni",
    )


def has_capability(status: str, number: int) -> bool:
    """Whether the process whose /proc/…/status this is has a capability in effect."""
    for line in status.splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> number & 1)
    return False


def can_overlay(state: Path) -> bool:
    """Whether an overlay can be mounted on the file system of `state` (it cannot on another overlay)."""
    probe = state / "overlay-probe"
    for name in ("lower", "upper", "work", "merged"):
        (probe / name).mkdir(parents=True, exist_ok=True)
    options = f"lowerdir={probe / 'lower'},upperdir={probe / 'upper'},workdir={probe / 'work'}"
    mounted = succeeds(["mount", "-t", "overlay", "overlay", "-o", options, str(probe / "merged")])
    if mounted:
        succeeds(["umount", str(probe / "merged")])
    mounts.remove_tree(probe)
    return mounted


def prepare(layout: Layout) -> None:
    """Makes link, chains, settings and cgroups. The caller is root."""
    save_kernel_settings(layout)
    network.link_up(layout)
    network.chains_up(layout)
    (Path("/proc/sys") / "net/ipv4/ip_forward").write_text("1")
    cgroups.cgroups_up(layout)


def restore(layout: Layout, kube_proxy: str | None) -> None:
    """Takes back everything that `prepare`, the kubelet, kube-proxy and containerd did to the machine."""
    cgroups.kill_cgroup(layout)
    mounts.unmount_below([layout.run, layout.state])
    if network.chains_are_up(layout):  # only then are the machine's Kubernetes rules ours: see `checks.refuse_kube_chains`
        if kube_proxy:
            succeeds([kube_proxy, "--cleanup"])
        network.remove_kube_chains()
    network.chains_down(layout)
    network.link_down(layout)
    restore_kernel_settings(layout)
    cgroups.cgroups_down(layout)
    for name in ("/run/containerd/s", "/run/containerd/runc", "/run/containerd", "/run/docker/plugins", "/run/docker"):
        with contextlib.suppress(OSError):
            Path(name).rmdir()  # succeeds only when nobody else uses it
    mounts.remove_tree(layout.run)


COMPILED_IN = ("/var/lib/kubelet", "/var/lib/cni")
"""Places that the kubelet's device manager and CNI's result cache write to whatever they are told."""


def save_kernel_settings(layout: Layout) -> None:
    """Records the settings, and which directories are not there, unless a record of an earlier, unfinished run is there."""
    record = layout.state / "kernel-settings.json"
    if record.exists() and json.loads(record.read_text()).get("boot") == _boot():
        return
    values = {n: read(Path("/proc/sys") / n).strip() for n in KERNEL_SETTINGS}
    absent = [p for p in COMPILED_IN if not Path(p).exists()]
    record.write_text(json.dumps({"boot": _boot(), "values": values, "absent": absent}))


def restore_kernel_settings(layout: Layout) -> None:
    record = layout.state / "kernel-settings.json"
    if not record.exists():
        return
    saved = json.loads(record.read_text())
    values: dict[str, str] = saved["values"] if saved["boot"] == _boot() else {}
    if other_networks():
        values.pop("net/ipv4/ip_forward", None)  # somebody else (Docker, libvirt, …) may rely on it by now
    for name, value in values.items():
        path = Path("/proc/sys") / name
        if value and read(path).strip() != value:
            path.write_text(value)
    # After a reboot somebody else may have made them: another Kubernetes of the user's, say.
    for path in saved["absent"] if saved["boot"] == _boot() else ():
        mounts.remove_tree(Path(path))
    record.unlink()


def other_networks() -> bool:
    """Whether a container or virtual machine network of somebody else exists."""
    names = (p.name for p in Path("/sys/class/net").iterdir())
    return any(n.startswith(("docker", "br-", "virbr", "podman", "cni", "lxc", "lxd", "tailscale", "wg")) for n in names)


def _boot() -> str:
    return read(Path("/proc/sys/kernel/random/boot_id")).strip()
