"""The pod as the deployment describes it is one that the service starts in."""

from __future__ import annotations

import json

import pytest

from app_images.ai_memory.service import assemble
from app_images.runtime.postgres import PASSWORD
from app_images.runtime.settings import SECRETS_DIR_VARIABLE, SETTINGS_DIR_VARIABLE, load
from components.connection_pool_config import ConnectionPoolConfigSpec, binding
from components.mcp_server import McpServerSpec
from components.mcp_server_objects import Server


@pytest.fixture
def server() -> Server:
    pools = ConnectionPoolConfigSpec.parse({"namespace": "sophia-dev", "postgres": {"host": "postgres", "labels": {"a": "b"}}})
    arguments = {
        "namespace": "sophia-dev",
        "image": "r/sophia/ai-memory:0123456789ab",
        "port": 9001,
        "pools": binding("pools", pools, ["postgres"]),
    }
    return Server("ai-memory", McpServerSpec.parse(arguments))


def mounted(server: Server, tmp_path) -> dict[str, str]:
    """The folders of the pod as the kubelet would make them, and the environment that names them."""
    container = server.deployment()["spec"]["template"]["spec"]["containers"][0]
    folders = {mount["mountPath"]: tmp_path / mount["name"] for mount in container["volumeMounts"] if mount["name"] != "tmp"}
    for folder in folders.values():
        folder.mkdir()
    environment = {entry["name"]: str(folders[next(f for f in folders if f == entry["value"])]) for entry in container["env"]}
    for name, content in server.config_map()["data"].items():
        (tmp_path / "config" / name).write_text(content)
    for key in server.spec.pools.secret_keys:
        (tmp_path / "secrets" / key).write_text("some-password")
    return environment


def test_the_service_reads_what_the_deployment_mounts(server, tmp_path):
    environment = mounted(server, tmp_path)
    assert set(environment) == {SETTINGS_DIR_VARIABLE, SECRETS_DIR_VARIABLE}
    settings, secrets = load(environment)
    assert settings.model_dump(mode="json") == json.loads(server.config_map()["data"]["settings.json"])
    assert secrets.read(PASSWORD) == "some-password"
    assert assemble(settings, secrets).registry.service_name == "ai-memory"


def test_probes_and_ports_are_those_the_service_answers(server, tmp_path):
    container = server.deployment()["spec"]["template"]["spec"]["containers"][0]
    settings, _ = load(mounted(server, tmp_path))
    assert {port["containerPort"] for port in container["ports"]} == {settings.service.port, settings.service.metrics_port}
    assert container["startupProbe"]["httpGet"]["path"] == "/health"
    assert container["readinessProbe"]["httpGet"]["path"] == "/ready"
