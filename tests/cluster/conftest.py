"""Fixtures of the cluster's tests."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster import packages, toolchain
from tests.cluster.isolated import IsolatedClone

REPOSITORY = Path(__file__).resolve().parents[2]
# sysfs shows the network of the process that mounted it, so it stays; /run and the kubelet's fixed place are made private
_SETUP = "mount -t tmpfs run /run && mkdir -p /var/lib/kubelet && mount -t tmpfs kubelet /var/lib/kubelet && ip link set lo up"


def _refuse_or_skip(reason: str) -> None:
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture
def isolated_clone(tmp_path: Path) -> Iterator[IsolatedClone]:
    """The clone, nothing started; everything is taken down afterwards whatever happened."""
    if os.geteuid() != 0:
        _refuse_or_skip("containers need root")
    # The clone's own network leads nowhere: what it needs from outside is fetched before.
    log = tmp_path / "prepare.log"
    packages.install(packages.REAL_NODE, print, log)
    toolchain.build([*toolchain.REAL, toolchain.KWOK], print, log)
    holder = subprocess.Popen(
        ["unshare", "--net", "--mount", "--propagation=private", "sh", "-c", f"{_SETUP} && echo ready && exec sleep 3600"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout
    if holder.stdout.readline() != "ready\n":
        _refuse_or_skip("no namespaces here: unshare failed")
    root = tmp_path / "clone with a name that is longer than any socket path may be because clones are where people put them"
    shutil.copytree(REPOSITORY / "cluster", root / "cluster", ignore=shutil.ignore_patterns("__pycache__"))
    clone = IsolatedClone(root, holder.pid)
    try:
        yield clone
    finally:
        clone.cluster("clean")
        holder.kill()
        holder.wait()
