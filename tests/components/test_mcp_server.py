"""One MCP server: what is refused, and what is rendered."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components import McpServer
from components.mcp_server import McpServerSpec
from components.mcp_server_objects import FLUSH_SECONDS, Server
from components.spec import InvalidArgsError, problems_of
from tests.components.recording import PASSWORD, deploy
from tests.components.samples import pool_binding, server

REFUSED: list[tuple[str, dict[str, Any], str]] = [
    (
        "stdio cannot be replicated",
        {"transport": "stdio", "replicas": 2},
        "replicas: 2 replicas cannot work: transport stdio is one process on one pipe, and only one replica would hold the "
        "conversation. To mend it, set replicas: 1.",
    ),
    (
        "sessions in memory cannot be shared",
        {"era": "legacy-stateful", "replicas": 3},
        "replicas: 3 replicas cannot work: era legacy-stateful keeps sessions in one replica's memory, and the others would "
        "answer 'Session not found'. To mend it, set era: stateless, or set replicas: 1.",
    ),
    (
        "two replicas are the default",
        {"era": "legacy-stateful", "replicas": None},
        "replicas: 2 replicas cannot work: era legacy-stateful keeps sessions in one replica's memory, and the others would "
        "answer 'Session not found'. To mend it, set era: stateless, or set replicas: 1.",
    ),
    (
        "nor can an autoscaler replicate it",
        {"transport": "stdio", "replicas": None, "autoscaling": {}},
        "autoscaling: 10 replicas cannot work: transport stdio is one process on one pipe, and only one replica would hold the "
        "conversation. To mend it, replace autoscaling by replicas: 1.",
    ),
    (
        "a fixed number fights the autoscaler",
        {"replicas": 4, "autoscaling": {}},
        "replicas: 4 and autoscaling are both given: each deployment would undo what the autoscaler did. Remove one of them.",
    ),
    (
        "nothing to scale",
        {"replicas": None, "autoscaling": {"min_replicas": 3, "max_replicas": 3}},
        "autoscaling.max_replicas: 3 leaves nothing to scale above min_replicas 3. Raise it, or set replicas instead of autoscaling.",
    ),
    (
        "request above limit",
        {"resources": {"memory_request": "2Gi"}},
        "resources.memory_request: 2Gi is above memory_limit 1Gi. Kubernetes takes no request above its limit: raise the limit.",
    ),
    (
        "one port for two things",
        {"metrics_port": 9001},
        "metrics_port: 9001 is the server's own port. Choose another one.",
    ),
    (
        "overlapping checks",
        {"health_check": {"interval_seconds": 5}},
        "health_check.timeout_seconds: 10 is above interval_seconds 5: checks would overlap. Lower it.",
    ),
    (
        "an image without a tag",
        {"image": "localhost:5000/sophia/x"},
        "image: 'localhost:5000/sophia/x' does not match ",
    ),
    (
        "an edge to nowhere",
        {"egress": [{"port": 443}]},
        "egress.0.labels: give either labels (pods of the cluster) or cidr (addresses outside it).",
    ),
]


@pytest.mark.parametrize(("args", "line"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_known_bad_arguments_are_refused_with_the_fix(args: dict[str, Any], line: str) -> None:
    (problem,) = problems_of(McpServerSpec, server(**args))
    assert problem.line().startswith(line)


@pytest.mark.parametrize(
    "args",
    [
        {"transport": "stdio", "replicas": 1},
        {"era": "legacy-stateful", "replicas": 1},
        {"replicas": 0},
        {"replicas": None, "autoscaling": {"min_replicas": 1, "max_replicas": 2}},
        {"image": "pgvector/pgvector:pg16"},
        {"image": "ghcr.io/acme/x@sha256:" + "a" * 64},
    ],
    ids=str,
)
def test_arguments_that_work_are_taken(args: dict[str, Any]) -> None:
    assert problems_of(McpServerSpec, server(**args)) == ()


def test_all_problems_come_at_once_and_name_the_server() -> None:
    with pytest.raises(InvalidArgsError) as caught:
        deploy(lambda: McpServer("github", server(port=80, image="x", replcas=2)))  # type: ignore[arg-type]
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    assert all(line.startswith("McpServer github: ") for line in lines)
    assert "McpServer github: replcas: is not a known key. Did you mean replicas?" in lines


def rendered(**args: Any) -> Server:
    return Server("ai-memory", McpServerSpec.parse(server(**args)))


def test_a_host_in_another_language_gets_the_same_server() -> None:
    """The component host hands over every number as a float and an enum as its value."""
    ours = rendered(replicas=2, era="stateless", health_check={"retries": 4})
    hosted = rendered(port=9001.0, replicas=2.0, era="stateless", health_check={"retries": 4.0})
    assert hosted == ours
    assert json.dumps(hosted.deployment()) == json.dumps(ours.deployment())


def test_fixed_replicas_are_on_the_deployment_and_no_autoscaler_is_made() -> None:
    recorded = deploy(lambda: McpServer("ai-memory", server(replicas=3)))  # type: ignore[arg-type]
    assert recorded.one("Deployment", "ai-memory")["spec"]["replicas"] == 3
    assert ("HorizontalPodAutoscaler", "ai-memory") not in recorded.registered()


def test_with_autoscaling_the_deployment_has_no_replicas() -> None:
    scaling = {"min_replicas": 3, "max_replicas": 12, "cpu_percent": 60, "memory_percent": 80}
    recorded = deploy(lambda: McpServer("ai-memory", server(replicas=None, autoscaling=scaling)))  # type: ignore[arg-type]
    assert "replicas" not in recorded.one("Deployment", "ai-memory")["spec"]
    spec = recorded.one("HorizontalPodAutoscaler", "ai-memory")["spec"]
    assert spec["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "ai-memory"}
    assert (spec["minReplicas"], spec["maxReplicas"]) == (3, 12)
    assert [(m["resource"]["name"], m["resource"]["target"]["averageUtilization"]) for m in spec["metrics"]] == [
        ("cpu", 60),
        ("memory", 80),
    ]


def test_memory_is_no_scaling_signal_unless_asked_for() -> None:
    spec = rendered(replicas=None, autoscaling={})
    assert spec.spec.autoscaling is not None
    assert [m["resource"]["name"] for m in spec.autoscaler(spec.spec.autoscaling)["spec"]["metrics"]] == ["cpu"]


@given(drain=st.integers(1, 60), grace=st.integers(1, 600))
def test_the_grace_period_covers_draining_finishing_and_flushing(drain: int, grace: int) -> None:
    pod = rendered(drain_seconds=drain, shutdown_grace_seconds=grace).deployment()["spec"]["template"]["spec"]
    sleep = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert sleep == drain
    assert pod["terminationGracePeriodSeconds"] == sleep + grace + FLUSH_SECONDS


@given(seconds=st.integers(2, 3600))
def test_the_startup_probe_waits_at_least_as_long_as_promised(seconds: int) -> None:
    probe = rendered(startup_seconds=seconds).deployment()["spec"]["template"]["spec"]["containers"][0]["startupProbe"]
    assert seconds <= probe["periodSeconds"] * probe["failureThreshold"] < seconds + 2 * probe["periodSeconds"]


def test_the_three_probes_ask_different_things() -> None:
    container = rendered().deployment()["spec"]["template"]["spec"]["containers"][0]
    assert container["startupProbe"]["httpGet"] == {"path": "/health", "port": "mcp"}
    assert container["readinessProbe"]["httpGet"] == {"path": "/ready", "port": "mcp"}
    assert container["livenessProbe"]["tcpSocket"] == {"port": "mcp"}
    assert container["livenessProbe"]["periodSeconds"] == 30


def test_an_update_never_has_fewer_replicas_than_before() -> None:
    assert rendered().deployment()["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}


def test_the_settings_are_what_the_server_reads() -> None:
    settings = json.loads(rendered(pools=pool_binding()).config_map()["data"]["settings.json"])
    service = settings["service"]
    assert {key: service[key] for key in ("name", "namespace", "port", "metrics_port", "max_in_flight")} == {
        "name": "ai-memory",
        "namespace": "sophia-dev",
        "port": 9001,
        "metrics_port": 9464,
        "max_in_flight": 64,
    }
    assert service["shutdown_grace_seconds"] == 25
    assert settings["pools"]["postgres"] == {
        "host": "postgres",
        "port": 5432,
        "database": "sophia",
        "user": "sophia",
        "min": 2,
        "max": 10,
        "timeout_seconds": 20,
        "breaker": {"failures": 5, "recovery_seconds": 60},
        "health_interval_seconds": 30,
    }


@pytest.mark.parametrize("host", ["ai-memory", "ai-memory:*", "ai-memory.sophia-dev.svc:*", "mcp.example.org", "localhost:*"])
def test_names_the_server_is_called_by_are_allowed(host: str) -> None:
    assert host in rendered(hosts=["mcp.example.org"]).allowed_hosts


def test_no_wildcard_host_is_allowed() -> None:
    assert not [host for host in rendered().allowed_hosts if host.startswith("*")]


def test_a_changed_setting_is_a_rollout_and_a_changed_probe_is_no_changed_setting() -> None:
    def config_hash(**args: Any) -> str:
        metadata = rendered(**args).deployment()["spec"]["template"]["metadata"]
        return str(metadata["annotations"]["sophia.platform/config-hash"])

    assert config_hash() == config_hash(health_check={"retries": 9})
    assert config_hash() != config_hash(max_in_flight=65)
    assert config_hash() != config_hash(pools=pool_binding())


def test_only_the_passwords_of_its_own_pools_are_mounted_and_only_as_files() -> None:
    pod = rendered(pools=pool_binding()).deployment()["spec"]["template"]["spec"]
    (secret,) = [volume["secret"] for volume in pod["volumes"] if "secret" in volume]
    assert secret["secretName"] == "connection-pools"
    assert secret["items"] == [{"key": "postgres-password", "path": "postgres-password"}]
    assert {entry["name"] for entry in pod["containers"][0]["env"]} == {"SOPHIA_SETTINGS_DIR", "SOPHIA_SECRETS_DIR"}


def test_without_pools_no_secret_is_mounted() -> None:
    pod = rendered().deployment()["spec"]["template"]["spec"]
    assert not [volume for volume in pod["volumes"] if "secret" in volume]


def test_network_edges_are_the_declared_ones_and_no_others() -> None:
    spec = rendered(
        pools=pool_binding(),
        clients=[{"labels": {"app": "gateway"}, "namespace": "edge"}],
        egress=[{"cidr": "203.0.113.7/32", "port": 443}],
    ).network_policy()["spec"]
    incoming = {rule["ports"][0]["port"]: rule["from"] for rule in spec["ingress"]}
    assert set(incoming) == {9001, 9464}
    assert incoming[9001] == [
        {
            "podSelector": {"matchLabels": {"app": "gateway"}},
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "edge"}},
        }
    ]
    outgoing = {rule["ports"][0]["port"]: rule["to"] for rule in spec["egress"]}
    assert set(outgoing) == {53, 443, 5432}
    assert outgoing[443] == [{"ipBlock": {"cidr": "203.0.113.7/32"}}]
    assert outgoing[5432] == [{"podSelector": {"matchLabels": {"app.kubernetes.io/name": "postgres"}}}]


def test_a_server_without_clients_can_be_reached_by_nobody() -> None:
    ports = [rule["ports"][0]["port"] for rule in rendered(clients=[]).network_policy()["spec"]["ingress"]]
    assert ports == [9464]


@pytest.mark.parametrize(("replicas", "over_nodes"), [(1, "ScheduleAnyway"), (2, "ScheduleAnyway"), (3, "DoNotSchedule")])
def test_replicas_are_spread(replicas: int, over_nodes: str) -> None:
    spread = rendered(replicas=replicas).deployment()["spec"]["template"]["spec"]["topologySpreadConstraints"]
    assert {item["topologyKey"]: item["whenUnsatisfiable"] for item in spread} == {
        "topology.kubernetes.io/zone": "ScheduleAnyway",
        "kubernetes.io/hostname": over_nodes,
    }


def test_the_objective_is_on_the_service_and_an_output() -> None:
    made: list[McpServer] = []
    slo = {"availability_percent": 99.5, "latency_ms": 500}
    recorded = deploy(lambda: made.append(McpServer("ai-memory", server(slo=slo))))  # type: ignore[arg-type]
    annotations = recorded.one("Service", "ai-memory")["metadata"]["annotations"]
    assert annotations["sophia.platform/slo-availability-percent"] == "99.5"
    assert annotations["sophia.platform/slo-latency-ms"] == "500"
    seen: list[dict[str, str]] = []
    deploy(lambda: McpServer("ai-memory", server(slo=slo)).slo.apply(seen.append))  # type: ignore[arg-type]
    assert seen == [{"slo_availability_percent": "99.5", "slo_latency_ms": "500", "slo_latency_percent": "95"}]


def test_the_version_label_is_the_images_tag_and_no_selector_has_it() -> None:
    deployment = rendered().deployment()
    assert deployment["metadata"]["labels"]["app.kubernetes.io/version"] == "0123456789ab"
    assert "app.kubernetes.io/version" not in deployment["spec"]["selector"]["matchLabels"]


def test_no_password_is_in_any_object_of_the_server() -> None:
    recorded = deploy(lambda: McpServer("ai-memory", server(pools=pool_binding())))  # type: ignore[arg-type]
    assert PASSWORD not in json.dumps([dict(resource.inputs) for resource in recorded.resources])
