"""What holds for every component. A new one is added to `samples.programs` and to the table of type tokens."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import grpc
import pulumi
import pytest
from pulumi.provider.experimental.analyzer import Analyzer
from pulumi.runtime.proto import provider_pb2, provider_pb2_grpc

import components
from components import app_image, connection_pool_config, mcp_server, network, postgres_database, workload
from components.spec import InvalidArgsError, Spec
from tests.components.recording import Recorder, deploy
from tests.components.samples import everything, programs

ROOT = Path(__file__).resolve().parents[2]

TYPE_TOKENS = {
    components.AppImage: "sophia:platform:AppImage",
    components.ConnectionPoolConfig: "sophia:platform:ConnectionPoolConfig",
    components.McpServer: "sophia:platform:McpServer",
    components.PostgresDatabase: "sophia:platform:PostgresDatabase",
}

ARGS_AND_SPECS: list[tuple[Any, type[Spec], set[str]]] = [
    (app_image.AppImageArgs, app_image.AppImageSpec, set()),
    (connection_pool_config.BreakerArgs, connection_pool_config.BreakerSpec, set()),
    (connection_pool_config.PostgresPoolArgs, connection_pool_config.PostgresPoolSpec, {"password"}),
    (connection_pool_config.PoolConsumerArgs, connection_pool_config.PoolConsumerSpec, set()),
    (connection_pool_config.ConnectionPoolConfigArgs, connection_pool_config.ConnectionPoolConfigSpec, set()),
    (connection_pool_config.PoolBindingArgs, mcp_server.PoolBindingSpec, set()),
    (mcp_server.HealthCheckArgs, mcp_server.HealthCheckSpec, set()),
    (mcp_server.McpServerArgs, mcp_server.McpServerSpec, set()),
    (network.PeerArgs, network.PeerSpec, set()),
    (network.EdgeArgs, network.EdgeSpec, set()),
    (postgres_database.PostgresDatabaseArgs, postgres_database.PostgresDatabaseSpec, set()),
    (workload.ResourcesArgs, workload.ResourcesSpec, set()),
    (workload.AutoscalingArgs, workload.AutoscalingSpec, set()),
    (workload.SloArgs, workload.SloSpec, set()),
]


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Recorder:
    return everything(tmp_path_factory.mktemp("context"))


def test_every_exported_component_is_in_the_table() -> None:
    exported = {getattr(components, name) for name in components.__all__ if not name.endswith("Args")}
    assert exported == set(TYPE_TOKENS)


def test_every_args_type_is_in_the_table() -> None:
    declared = {
        value
        for module in (app_image, connection_pool_config, mcp_server, network, postgres_database, workload)
        for name, value in vars(module).items()
        if name.endswith("Args") and not name.startswith("_") and "Input" not in name
    }
    assert {row[0] for row in ARGS_AND_SPECS} == declared


@pytest.mark.parametrize("component", TYPE_TOKENS, ids=lambda c: c.__name__)
def test_type_token(component: type[pulumi.ComponentResource], tmp_path: Path) -> None:
    recorded = deploy(programs(tmp_path)[component])
    assert [(r.typ, r.name) for r in recorded.resources if not r.custom] == [(TYPE_TOKENS[component], "sample")]


@pytest.mark.parametrize("component", TYPE_TOKENS, ids=lambda c: c.__name__)
def test_constructor_is_what_the_component_host_calls(component: type[pulumi.ComponentResource]) -> None:
    parameters = inspect.signature(component.__init__).parameters
    assert list(parameters) == ["self", "name", "args", "opts"]
    assert parameters["opts"].default is None


@pytest.mark.parametrize(("args", "spec", "outside"), ARGS_AND_SPECS, ids=lambda v: getattr(v, "__name__", ""))
def test_arguments_and_their_model_are_in_step(args: Any, spec: type[Spec], outside: set[str]) -> None:
    assert (args.__required_keys__ | args.__optional_keys__) - outside == set(spec.model_fields)
    required = {name for name, info in spec.model_fields.items() if info.is_required()}
    assert args.__required_keys__ - outside == required


@pytest.mark.parametrize(("args", "spec", "outside"), ARGS_AND_SPECS, ids=lambda v: getattr(v, "__name__", ""))
def test_every_key_is_documented_twice(args: Any, spec: type[Spec], outside: set[str]) -> None:
    tree = ast.parse(inspect.getsource(args)).body[0]
    assert isinstance(tree, ast.ClassDef)
    body = tree.body[1:]
    fields = [node for node in body if isinstance(node, ast.AnnAssign)]
    docs = [node for node in body if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)]
    assert len(docs) == len(fields) > 0
    assert all(info.description for info in spec.model_fields.values())


def test_the_component_host_accepts_all_components() -> None:
    result = Analyzer("sophia").analyze(list(TYPE_TOKENS))
    definitions = result["component_definitions"]
    assert set(definitions) == {component.__name__ for component in TYPE_TOKENS}
    assert all(d.outputs for d in definitions.values())
    undocumented = [
        f"{name}.{key}" for name, d in definitions.items() for key, value in {**d.inputs, **d.outputs}.items() if not value.description
    ]
    assert undocumented == []


def test_the_component_package_serves_its_schema() -> None:
    command = [sys.executable, str(ROOT / "components"), "127.0.0.1:1"]
    host = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT / "components")
    try:
        assert host.stdout is not None
        port = host.stdout.readline().decode().strip()
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub = provider_pb2_grpc.ResourceProviderStub(channel)
            schema = stub.GetSchema(provider_pb2.GetSchemaRequest(), timeout=30).schema
    finally:
        host.terminate()
        host.wait(10)
    assert '"sophia:index:McpServer"' in schema


def test_every_kubernetes_object_carries_the_recommended_labels(deployed: Recorder) -> None:
    for token, inputs in deployed.kubernetes():
        labels = inputs["metadata"]["labels"]
        for key in ("name", "instance", "component", "part-of", "managed-by"):
            assert labels.get(f"app.kubernetes.io/{key}"), (token, key)


def test_every_kubernetes_object_has_a_fixed_name_and_a_namespace(deployed: Recorder) -> None:
    for token, inputs in deployed.kubernetes():
        assert inputs["metadata"].get("name"), token
        assert inputs["metadata"]["namespace"] == "sophia-dev", token


def pods(deployed: Recorder) -> list[tuple[str, dict[str, Any]]]:
    found = [(token, inputs["spec"]["template"]) for token, inputs in deployed.kubernetes() if "template" in inputs.get("spec", {})]
    assert len(found) == 2
    return found


def test_every_pod_keeps_to_the_restricted_standard(deployed: Recorder) -> None:
    for token, template in pods(deployed):
        spec = template["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True, token
        assert spec["securityContext"]["runAsUser"] == 10001, token
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, token
        assert spec["automountServiceAccountToken"] is False, token
        assert spec["enableServiceLinks"] is False, token
        for container in spec["containers"]:
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False
            assert context["readOnlyRootFilesystem"] is True
            assert context["capabilities"] == {"drop": ["ALL"]}


def test_every_volume_a_pod_can_write_is_sized(deployed: Recorder) -> None:
    for token, template in pods(deployed):
        for volume in template["spec"]["volumes"]:
            assert "emptyDir" not in volume or volume["emptyDir"]["sizeLimit"], token


def test_every_container_has_requests_limits_and_three_probes(deployed: Recorder) -> None:
    for _, template in pods(deployed):
        for container in template["spec"]["containers"]:
            assert set(container["resources"]["requests"]) == set(container["resources"]["limits"]) == {"cpu", "memory"}
            assert {"startupProbe", "readinessProbe", "livenessProbe"} <= set(container)


def test_every_workload_has_its_policy_budget_and_identity(deployed: Recorder) -> None:
    for token, template in pods(deployed):
        name = template["metadata"]["labels"]["app.kubernetes.io/name"]
        labels = template["metadata"]["labels"].items()
        kinds = {"NetworkPolicy": 0, "PodDisruptionBudget": 0}
        for other, inputs in deployed.kubernetes():
            kind = other.rpartition(":")[2]
            selector = inputs.get("spec", {}).get("podSelector") or inputs.get("spec", {}).get("selector")
            if kind in kinds and selector["matchLabels"].items() <= labels:
                kinds[kind] += 1
        assert min(kinds.values()) > 0, (token, kinds)
        assert ("ServiceAccount", name) in deployed.registered()


def test_every_network_policy_closes_both_directions(deployed: Recorder) -> None:
    policies = [inputs["spec"] for token, inputs in deployed.kubernetes() if token.endswith(":NetworkPolicy")]
    assert policies
    for spec in policies:
        assert spec["policyTypes"] == ["Ingress", "Egress"]
        assert all(rule.get("from") and rule.get("ports") for rule in spec["ingress"])
        assert all(rule.get("to") and rule.get("ports") for rule in spec["egress"])


def test_no_disruption_budget_can_block_a_drain(deployed: Recorder) -> None:
    budgets = [inputs["spec"] for token, inputs in deployed.kubernetes() if token.endswith(":PodDisruptionBudget")]
    assert len(budgets) == 2
    for spec in budgets:
        assert spec["maxUnavailable"] == 1
        assert "minAvailable" not in spec
        assert spec["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


@pytest.mark.parametrize("component", TYPE_TOKENS, ids=lambda c: c.__name__)
def test_with_bad_arguments_nothing_is_registered(component: Any) -> None:
    resources: list[Any] = []

    def program() -> None:
        with pytest.raises(InvalidArgsError):
            component("sample", {"unknown": 1})

    resources += deploy(program).resources
    assert resources == []
