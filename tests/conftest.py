"""Fixtures for all rooms: the real cluster, where this machine can have one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster import api
from cluster.api import ClusterStatus
from cluster.errors import ClusterError

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def real_cluster() -> Iterator[ClusterStatus]:
    """The one-machine cluster of this clone, with KUBECONFIG and DOCKER_HOST set; stopped afterwards if it was not running before.

    Where containers cannot run the tests that need it are skipped with the reason, except with CI=true: there it must work.
    """
    was_running = api.status().phase == "running"
    try:
        status = api.up(progress=lambda text: print(f"cluster: {text}"))
    except ClusterError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(f"CI needs the cluster: {error}")
        pytest.skip(f"no cluster here: {error}")
    added = {"KUBECONFIG": status.kubeconfig, "DOCKER_HOST": status.docker_host}
    before = {name: os.environ.get(name) for name in added}
    os.environ.update(added)
    yield status
    for name, value in before.items():
        os.environ.pop(name) if value is None else os.environ.update({name: value})
    if not was_running:
        api.down()
