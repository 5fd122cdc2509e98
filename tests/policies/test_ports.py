"""Rules about ports."""

from __future__ import annotations

from typing import Any

import pytest

from policies.sophia_policies.ports import (
    pod_ports_unique,
    ports_in_range,
    service_ports_in_range,
    stack_ports_unique,
)
from policies.sophia_policies.rule import judge, settings
from policies.sophia_policies.workloads import workloads
from tests.policies.samples import LABELS, container, pod, verdict, workload


def one_port(port: Any, name: str = "main") -> dict[str, Any]:
    return container(ports=[{"name": name, "containerPort": port}])


@pytest.mark.parametrize(
    ("component", "port", "fine"),
    [
        ("mcp-server", 9000, True),
        ("mcp-server", 9100, True),
        ("mcp-server", 9001.0, True),
        ("mcp-server", 8999, False),
        ("mcp-server", 9101, False),
        ("mcp-server", 8500, False),
        ("api", 8000, True),
        ("api", 8100, True),
        ("api", 8101, False),
        ("mcp-gateway", 8090, True),
        ("monitoring", 9200, True),
        ("monitoring", 9300, True),
        ("monitoring", 9090, False),
        ("database", 5432, True),
        ("database", 5532, True),
        ("database", 6379, False),
        ("web", 9001, False),
    ],
)
def test_ports_are_in_the_range_of_their_kind(component: str, port: float, fine: bool) -> None:
    labels = {**LABELS, "app.kubernetes.io/component": component}
    assert (verdict(ports_in_range, one_port(port), labels=labels).findings == ()) is fine


def test_the_finding_names_rule_object_path_value_range_and_fix() -> None:
    assert verdict(ports_in_range, one_port(8500.0)).findings == (
        "ports-in-range: Deployment ns/x, container main: spec.template.spec.containers[0].ports[0].containerPort: "
        "8500 is outside 9000-9100 (mcp-server). Choose a port in the range of the service's kind, or name the service under "
        "exceptions in the pack's configuration.",
    )


@pytest.mark.parametrize(("name", "port", "fine"), [("prometheus", 9090, True), ("code-analysis", 3008, True), ("github", 3008, False)])
def test_exceptions_are_for_one_name_and_one_port(name: str, port: int, fine: bool) -> None:
    labels = {**LABELS, "app.kubernetes.io/name": name}
    assert (verdict(ports_in_range, one_port(port), labels=labels).findings == ()) is fine


def test_exceptions_and_ranges_come_from_the_configuration() -> None:
    assert verdict(ports_in_range, one_port(8500), config={"exceptions": {"ai-memory": 8500}}).findings == ()
    assert verdict(ports_in_range, one_port(8500), config={"ranges": {"mcp-server": [8500, 8500]}}).findings == ()
    assert verdict(ports_in_range, one_port(9001), config={"ranges": {"mcp-server": [8500, 8500]}}).findings != ()


def test_a_port_nobody_can_place_is_a_finding() -> None:
    (finding,) = verdict(ports_in_range, one_port(9001), labels={}).findings
    assert "9001 cannot be placed, for the label app.kubernetes.io/component is missing. Set it to one of api, database," in finding


def test_only_the_port_named_metrics_may_be_the_metrics_port() -> None:
    assert verdict(ports_in_range, one_port(9464, "metrics")).findings == ()
    assert verdict(ports_in_range, one_port(9464, "main")).findings != ()
    assert verdict(ports_in_range, one_port(9465, "metrics")).findings != ()


@pytest.mark.parametrize("role", ["initContainers", "ephemeralContainers"])
def test_other_containers_are_looked_at_too(role: str) -> None:
    assert len(verdict(ports_in_range, container(), **{role: [one_port(8500)]}).findings) == 1


@pytest.mark.parametrize(("port", "count"), [(9001, 0), (80, 1)])
def test_services_are_held_to_the_same_ranges(port: int, count: int) -> None:
    props = {"metadata": {"name": "s", "labels": LABELS}, "spec": {"ports": [{"port": port}, {"name": "metrics", "port": 9464}]}}
    findings = judge(service_ports_in_range, "kubernetes:core/v1:Service", props, {}).findings
    assert len(findings) == count
    assert all(line.startswith("service-ports-in-range: Service s: spec.ports[0].port: 80 is outside ") for line in findings)


@pytest.mark.parametrize(
    ("first", "second", "count"),
    [(9001, 9002, 0), (9001, 9001, 1)],
)
def test_a_pod_uses_a_port_once(first: int, second: int, count: int) -> None:
    containers = (one_port(first), {**one_port(second), "name": "other"})
    assert len(verdict(pod_ports_unique, *containers).findings) == count


def test_one_number_for_tcp_and_udp_is_fine() -> None:
    ports = [{"containerPort": 9001}, {"containerPort": 9001, "protocol": "UDP"}]
    assert verdict(pod_ports_unique, container(ports=ports)).findings == ()


def stack(*members: tuple[str, int]) -> list[str]:
    made = []
    for name, port in members:
        labels = {**LABELS, "app.kubernetes.io/name": name}
        ports = [{"containerPort": port}, {"name": "metrics", "containerPort": 9464}]
        token, props = workload("Deployment", pod(container(ports=ports), labels=labels))
        props["metadata"]["name"] = name
        made += list(workloads(token, props))
    found = stack_ports_unique.validate(made, settings(stack_ports_unique, {}))
    return [f"{who.name}: {finding.message}" for who, finding in found]


def test_no_two_services_of_a_stack_share_a_port() -> None:
    assert stack(("a", 9001), ("b", 9002)) == []
    assert stack(("a", 9001), ("b", 9001)) == [
        "Deployment ns/b: 9001 belongs to Deployment ns/a: no two services of a stack share a port. Choose a free one."
    ]


def test_two_deployments_of_one_service_may() -> None:
    """Blue and green are one service."""
    assert stack(("a", 9001), ("a", 9001)) == []
