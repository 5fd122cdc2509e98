"""The Postgres server: its pod, its volume, its password."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from components import PostgresDatabase
from components.postgres_database import PostgresDatabaseSpec, database_network_policy, service, stateful_set
from components.spec import problems_of
from tests.components.recording import PASSWORD, deploy
from tests.components.samples import postgres


def rendered(**args: Any) -> dict[str, Any]:
    spec: dict[str, Any] = stateful_set("postgres", PostgresDatabaseSpec.parse(postgres(**args)))["spec"]
    return spec


def container(**args: Any) -> dict[str, Any]:
    found: dict[str, Any] = rendered(**args)["template"]["spec"]["containers"][0]
    return found


def test_the_contract_of_the_official_image_is_kept() -> None:
    environment = {entry["name"]: entry["value"] for entry in container(user="anna", database="memories")["env"]}
    assert environment == {
        "POSTGRES_USER": "anna",
        "POSTGRES_DB": "memories",
        "POSTGRES_PASSWORD_FILE": "/etc/sophia/secrets/password",
        "PGDATA": "/var/lib/postgresql/data/pgdata",
    }


def test_the_server_gets_its_port_and_its_connections_as_arguments() -> None:
    assert container(port=5433, max_connections=200)["args"] == ["postgres", "-c", "port=5433", "-c", "max_connections=200"]


def test_readiness_asks_over_tcp_and_liveness_only_opens_the_port() -> None:
    spec = container(port=5433)
    command = spec["readinessProbe"]["exec"]["command"]
    assert command[:5] == ["pg_isready", "-h", "127.0.0.1", "-p", "5433"]
    assert spec["startupProbe"]["exec"] == spec["readinessProbe"]["exec"]
    assert spec["livenessProbe"]["tcpSocket"] == {"port": "postgres"}


@pytest.mark.parametrize("run_as", [10001, 999])
def test_the_volume_belongs_to_whom_the_server_runs_as(run_as: int) -> None:
    context = rendered(run_as=run_as)["template"]["spec"]["securityContext"]
    assert (context["runAsUser"], context["runAsGroup"], context["fsGroup"]) == (run_as, run_as, run_as)


def test_what_the_server_writes_is_mounted() -> None:
    mounts = {mount["mountPath"]: mount["name"] for mount in container()["volumeMounts"]}
    assert mounts == {
        "/var/lib/postgresql/data": "data",
        "/tmp": "tmp",
        "/var/run/postgresql": "run",
        "/etc/sophia/secrets": "credentials",
    }


def test_an_image_update_does_not_touch_the_claim() -> None:
    before, after = rendered(), rendered(image="localhost:5000/sophia/postgres:ffffffffffff")
    assert before["template"] != after["template"]
    assert before["volumeClaimTemplates"] == after["volumeClaimTemplates"]
    assert before["selector"] == after["selector"]


def test_the_storage_class_is_the_clusters_unless_named() -> None:
    assert "storageClassName" not in rendered()["volumeClaimTemplates"][0]["spec"]
    assert rendered(storage_class="fast")["volumeClaimTemplates"][0]["spec"]["storageClassName"] == "fast"


def test_the_statefulset_names_its_headless_service() -> None:
    spec = PostgresDatabaseSpec.parse(postgres())
    headless = service("postgres", spec, headless=True)
    assert rendered()["serviceName"] == headless["metadata"]["name"] == "postgres-headless"
    assert headless["spec"]["clusterIP"] == "None"
    assert "clusterIP" not in service("postgres", spec)["spec"]


def test_only_declared_clients_reach_it_and_it_reaches_nobody() -> None:
    spec = database_network_policy("postgres", PostgresDatabaseSpec.parse(postgres()))["spec"]
    assert spec["egress"] == []
    assert spec["ingress"] == [{"from": [{"podSelector": {"matchLabels": {"a": "b"}}}], "ports": [{"protocol": "TCP", "port": 5432}]}]
    alone = database_network_policy("postgres", PostgresDatabaseSpec.parse(postgres(clients=[])))["spec"]
    assert alone["ingress"] == []


def test_the_password_is_generated_and_only_in_the_secret() -> None:
    recorded = deploy(lambda: PostgresDatabase("postgres", postgres()))  # type: ignore[arg-type]
    secret = recorded.one("Secret", "postgres-credentials")
    assert base64.b64decode(secret["data"]["password"]).decode() == PASSWORD
    others = [dict(r.inputs) for r in recorded.resources if not r.typ.endswith(":Secret")]
    assert PASSWORD not in json.dumps(others)


@pytest.mark.parametrize(
    ("args", "path"),
    [({"database": "Robert'); --"}, "database"), ({"port": 80}, "port"), ({"storage": "ten"}, "storage"), ({"run_as": 0}, "run_as")],
    ids=str,
)
def test_bad_arguments_are_refused(args: dict[str, Any], path: str) -> None:
    (problem,) = problems_of(PostgresDatabaseSpec, postgres(**args))
    assert problem.path == (path,)
