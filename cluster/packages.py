"""Programs from the distribution: which are missing, and installing them without waking their services.

Debian's packages enable and start what they bring (etcd, docker, containerd, the registry). We run our own instances, so
during our one `apt-get` call a `policy-rc.d` that forbids starts is in place, and afterwards the units that came with it
are disabled: the machine gains programs, not services.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cluster.errors import ClusterError
from cluster.paths import cache_lock

POLICY = Path("/usr/sbin/policy-rc.d")
_POLICY_MARK = "# written by sophia for one apt call"
_SBIN = ("/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/lib/cni")
ELSEWHERE = "or use another cluster: set `kubernetes:context` in the stack to a context of kind, k3d, … in your KUBECONFIG"


@dataclass(frozen=True)
class Program:
    """A program we start or that something we start needs, and the Debian package that has it."""

    name: str
    package: str
    why: str
    units: tuple[str, ...] = ()


ETCD = Program("etcd", "etcd-server", "the cluster's store", ("etcd.service",))
REAL_NODE = (
    ETCD,
    Program("containerd", "containerd", "runs the containers", ("containerd.service",)),
    Program("runc", "runc", "runs the containers"),
    Program("ptp", "containernetworking-plugins", "connects pods to the machine"),
    Program("iptables", "iptables", "Service addresses"),
    Program("busybox", "busybox-static", "the pause container"),
    Program("docker-registry", "docker-registry", "image registry", ("docker-registry.service",)),
    Program("dockerd", "docker.io", "builds images", ("docker.service", "docker.socket")),
)
IMAGES = (Program("debootstrap", "debootstrap", "the base image where no public registry is reachable"),)


def search_path() -> str:
    """PATH with the system directories that a user's PATH may lack."""
    have = os.environ.get("PATH", os.defpath).split(os.pathsep)
    return os.pathsep.join([*have, *(d for d in _SBIN if d not in have)])


def find(program: str) -> str | None:
    """Full path of a program, or None."""
    return shutil.which(program, path=search_path())


def require(program: str) -> str:
    """Full path of a program that must be there by now."""
    found = find(program)
    if found is None:
        raise ClusterError(f"{program} is not installed; install it, {ELSEWHERE}.")
    return found


def missing(programs: Sequence[Program]) -> list[Program]:
    """Those of `programs` that are not installed."""
    return [p for p in programs if find(p.name) is None]


def install(programs: Sequence[Program], say: Callable[[str], None], log: Path) -> None:
    """Installs what is missing of `programs`, after saying what. Does nothing when nothing is.

    Raises ClusterError where that is not possible: no apt, not root, or apt's own error.
    """
    wanted = missing(programs)
    if not wanted:
        return
    names = ", ".join(p.name for p in wanted)
    apt = shutil.which("apt-get")
    if apt is None:
        raise ClusterError(f"missing programs: {names}. There is no apt-get here: install them yourself, {ELSEWHERE}.")
    packages = sorted({p.package for p in wanted})
    if os.geteuid() != 0:
        raise ClusterError(
            f"missing programs: {names}. Run `sudo apt-get install --no-install-recommends {' '.join(packages)}`, {ELSEWHERE}."
        )
    say(f"installing Debian packages: {' '.join(packages)} (services stay off)")
    with cache_lock("apt"), services_stay_off():
        _apt([apt, "update"], log)
        _apt([apt, "install", "--yes", "--no-install-recommends", *packages], log)
    _disable([unit for p in wanted for unit in p.units])
    still = missing(wanted)
    if still:
        raise ClusterError(f"apt-get installed {' '.join(packages)} but {still[0].name} is still missing; see {log}.")


def _apt(command: list[str], log: Path) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    with log.open("ab") as out:
        done = subprocess.run(command, stdout=out, stderr=out, stdin=subprocess.DEVNULL, env=env, check=False)
    if done.returncode != 0 and command[1] == "install":
        raise ClusterError(f"`{' '.join(command)}` failed ({done.returncode}); see {log}.")


@contextmanager
def services_stay_off(policy: Path = POLICY) -> Iterator[None]:
    """Forbids package scripts to start services, and puts back what was there before, also after a crash of ours."""
    saved = policy.with_name(policy.name + ".sophia-saved")
    ours = policy.exists() and _POLICY_MARK in policy.read_text(errors="replace")
    if policy.exists() and not ours:
        policy.rename(saved)
    policy.write_text(f"#!/bin/sh\n{_POLICY_MARK}\nexit 101\n")
    policy.chmod(policy.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    try:
        yield
    finally:
        policy.unlink(missing_ok=True)
        if saved.exists():
            saved.rename(policy)


def _disable(units: Sequence[str]) -> None:
    systemctl = shutil.which("systemctl")
    if systemctl is None or not units:
        return
    for unit in units:
        subprocess.run([systemctl, "disable", unit], capture_output=True, check=False)
