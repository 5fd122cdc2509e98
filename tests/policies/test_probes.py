"""Rules about probes."""

from __future__ import annotations

from typing import Any

import pytest

from policies.sophia_policies.probes import PROBES, probe_ports_exist, probe_timing, probes_differ, probes_present
from tests.policies.samples import container, verdict


@pytest.mark.parametrize("probe", PROBES)
@pytest.mark.parametrize("empty", [None, {}, {"periodSeconds": 5}], ids=["absent", "empty", "without an action"])
@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "ReplicationController", "Pod"])
def test_a_container_that_stays_has_three_probes(kind: str, probe: str, empty: Any) -> None:
    (finding,) = verdict(probes_present, container(**{probe: empty}), kind=kind).findings
    assert f"].{probe}: is missing. Without it, " in finding


BARE = container(startupProbe=None, readinessProbe=None, livenessProbe=None)


@pytest.mark.parametrize("kind", ["Job", "CronJob"])
def test_jobs_need_none(kind: str) -> None:
    assert verdict(probes_present, BARE, kind=kind).findings == ()


@pytest.mark.parametrize("policy", ["Never", "OnFailure"])
def test_pods_that_end_need_none(policy: str) -> None:
    assert verdict(probes_present, BARE, kind="Pod", restartPolicy=policy).findings == ()


def test_init_containers_need_none_but_sidecars_do() -> None:
    assert verdict(probes_present, container(), initContainers=[BARE], ephemeralContainers=[BARE]).findings == ()
    assert len(verdict(probes_present, container(), initContainers=[{**BARE, "restartPolicy": "Always"}]).findings) == 3


def test_which_probes_are_required_is_configured() -> None:
    assert verdict(probes_present, BARE, config={"required": []}).findings == ()
    assert len(verdict(probes_present, BARE, config={"required": ["readinessProbe"]}).findings) == 1


@pytest.mark.parametrize(
    ("readiness", "liveness", "same"),
    [
        ({"httpGet": {"path": "/a", "port": 9001}}, {"httpGet": {"path": "/a", "port": 9001}}, True),
        ({"httpGet": {"path": "/a", "port": "mcp"}}, {"httpGet": {"path": "/a", "port": 9001}}, True),
        ({"httpGet": {"path": "/a", "port": "mcp"}, "periodSeconds": 3}, {"httpGet": {"path": "/a", "port": "mcp"}}, True),
        ({"httpGet": {"path": "/a", "port": "mcp"}}, {"httpGet": {"path": "/b", "port": "mcp"}}, False),
        ({"httpGet": {"path": "/a", "port": "mcp"}}, {"tcpSocket": {"port": "mcp"}}, False),
        ({"exec": {"command": ["true"]}}, {"exec": {"command": ["true"]}}, True),
        ({"exec": {"command": ["true"]}}, {"exec": {"command": ["false"]}}, False),
        (None, None, False),
        (None, {"tcpSocket": {"port": "mcp"}}, False),
    ],
    ids=str,
)
def test_readiness_and_liveness_differ(readiness: Any, liveness: Any, same: bool) -> None:
    findings = verdict(probes_differ, container(readinessProbe=readiness, livenessProbe=liveness)).findings
    assert len(findings) == int(same)


@pytest.mark.parametrize(
    ("port", "there"),
    [("mcp", True), (9001, True), (9001.0, True), ("9001", True), (9464, True), ("http", False), (9002, False)],
)
@pytest.mark.parametrize("action", ["httpGet", "tcpSocket", "grpc"])
def test_a_probes_port_exists(action: str, port: Any, there: bool) -> None:
    assert (verdict(probe_ports_exist, container(livenessProbe={action: {"port": port}})).findings == ()) is there


def test_the_finding_lists_the_ports_there_are() -> None:
    (finding,) = verdict(probe_ports_exist, container(livenessProbe={"tcpSocket": {"port": 80.0}})).findings
    assert "livenessProbe.tcpSocket.port: 80 is not a port of the pod (it has 9001, 9464)" in finding


def test_a_number_may_be_a_neighbours_port_a_name_may_not() -> None:
    """Containers of a pod share its address, but names are each one's own."""
    sidecar = {"name": "side", "restartPolicy": "Always", "livenessProbe": {"tcpSocket": {"port": 9001}}}
    assert verdict(probe_ports_exist, container(), initContainers=[sidecar]).findings == ()
    sidecar["livenessProbe"] = {"tcpSocket": {"port": "mcp"}}
    assert len(verdict(probe_ports_exist, container(), initContainers=[sidecar]).findings) == 1


@pytest.mark.parametrize(
    ("timing", "fine"),
    [
        ({}, True),
        ({"timeoutSeconds": 10}, True),
        ({"timeoutSeconds": 11}, False),
        ({"periodSeconds": 5, "timeoutSeconds": 5}, True),
        ({"periodSeconds": 5.0, "timeoutSeconds": 6.0}, False),
        ({"periodSeconds": 1}, True),
        ({"periodSeconds": None, "timeoutSeconds": None}, True),
    ],
    ids=str,
)
@pytest.mark.parametrize("probe", PROBES)
def test_a_timeout_is_not_above_its_period(probe: str, timing: dict[str, Any], fine: bool) -> None:
    spec = container(**{probe: {"tcpSocket": {"port": "mcp"}, **timing}})
    assert (verdict(probe_timing, spec).findings == ()) is fine
