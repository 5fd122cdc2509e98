"""The pack as Pulumi runs it: a process in its own environment, asked over gRPC."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml
from google.protobuf.empty_pb2 import Empty
from google.protobuf.struct_pb2 import Struct
from pulumi.runtime.proto import analyzer_pb2, analyzer_pb2_grpc

from policies.sophia_policies import ports, probes, resources
from tests.policies.samples import LABELS, container, pod, workload

FOLDER = Path(__file__).resolve().parents[2] / "policies"
RULES = {rule.name for rule in (*ports.RULES, *ports.STACK_RULES, *resources.RULES, *probes.RULES)}

# How Pulumi sends a text that is not known at preview.
UNKNOWN_TEXT = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    python = yaml.safe_load((FOLDER / "PulumiPolicy.yaml").read_text())["runtime"]["options"]["virtualenv"] + "/bin/python"
    command = [str(FOLDER / python), "-u", "-m", "pulumi.policy", "127.0.0.1:1", str(FOLDER)]
    process = subprocess.Popen(command, cwd=FOLDER, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        yield f"127.0.0.1:{process.stdout.readline().decode().strip()}"
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture
def pack(address: str) -> Iterator[Any]:
    with grpc.insecure_channel(address) as channel:
        stub = analyzer_pb2_grpc.AnalyzerStub(channel)
        stub.Configure(analyzer_pb2.ConfigureAnalyzerRequest())
        yield stub


def struct(value: dict[str, Any]) -> Struct:
    result = Struct()
    result.update(value)
    return result


def request(name: str = "x", **changes: Any) -> dict[str, Any]:
    token, props = workload("Deployment", pod(container(**changes), labels={**LABELS, "app.kubernetes.io/name": name}))
    return {"type": token, "properties": struct(props), "urn": f"urn:pulumi:dev::sophia::{token}::{name}", "name": name}


def analyze(pack: Any, **changes: Any) -> list[Any]:
    return list(pack.Analyze(analyzer_pb2.AnalyzeRequest(**request(**changes))).diagnostics)


def test_every_rule_is_in_the_pack_and_mandatory(pack: Any) -> None:
    info = pack.GetAnalyzerInfo(Empty())
    assert {policy.name for policy in info.policies} == RULES
    assert {policy.enforcementLevel for policy in info.policies} == {analyzer_pb2.MANDATORY}


def test_a_good_workload_gives_no_finding(pack: Any) -> None:
    assert analyze(pack) == []


def test_a_finding_names_its_rule_and_its_resource(pack: Any) -> None:
    (found,) = analyze(pack, ports=[{"name": "mcp", "containerPort": 8500}])
    assert (found.policyName, found.enforcementLevel) == ("ports-in-range", analyzer_pb2.MANDATORY)
    assert found.urn.endswith("::x")
    assert "ports-in-range: Deployment ns/x, container main: " in found.message and "8500 is outside 9000-9100" in found.message


def test_an_unknown_value_is_an_advice_beside_the_findings(pack: Any) -> None:
    found = analyze(pack, ports=[{"name": "mcp", "containerPort": UNKNOWN_TEXT}], resources={})
    advice = [item for item in found if item.enforcementLevel == analyzer_pb2.ADVISORY]
    assert "ports-in-range" in {item.policyName for item in advice}
    assert all("containers[0].ports[0].containerPort can't be known during preview" in item.message for item in advice)
    assert {item.policyName for item in found if item not in advice} == {"requests-present", "limits-present"}


def test_levels_and_parameters_come_from_the_configuration(pack: Any) -> None:
    config = analyzer_pb2.ConfigureAnalyzerRequest()
    config.policyConfig["ports-in-range"].enforcementLevel = analyzer_pb2.ADVISORY
    config.policyConfig["ports-in-range"].properties.update({"ranges": {"mcp-server": [9500, 9600]}})
    config.policyConfig["limits-present"].enforcementLevel = analyzer_pb2.DISABLED
    pack.Configure(config)
    (found,) = analyze(pack, resources={"requests": {"cpu": "1", "memory": "1Gi"}})
    assert (found.policyName, found.enforcementLevel) == ("ports-in-range", analyzer_pb2.ADVISORY)
    assert "9001 is outside 9500-9600" in found.message


def test_two_services_on_one_port_are_found_over_the_stack(pack: Any) -> None:
    members = [analyzer_pb2.AnalyzerResource(**request(name=name)) for name in ("b", "a")]
    unknown = analyzer_pb2.AnalyzerResource(**request(name="c", ports=UNKNOWN_TEXT))
    found = pack.AnalyzeStack(analyzer_pb2.AnalyzeStackRequest(resources=[*members, unknown])).diagnostics
    assert [(item.policyName, item.urn.rpartition("::")[2]) for item in found] == [("stack-ports-unique", "b")]
