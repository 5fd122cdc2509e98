"""The settings of a stack: every mistake on a line of its own, with file, key, value and fix."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.plan import plan
from infra.settings import PlatformSettings, SettingsError, parse_settings

ROOT = Path(__file__).resolve().parents[2]
IMAGE = "localhost:5000/sophia/x:1"


def settings(**more: Any) -> dict[str, Any]:
    return {"environment": "dev", "images": {"postgres": "pgvector/pgvector:pg16"}, **more}


def servers(**each: dict[str, Any]) -> dict[str, Any]:
    return settings(mcp_servers={name.replace("_", "-"): {"image": IMAGE, **args} for name, args in each.items()})


def lines(raw: Any, stack: str = "prod") -> list[str]:
    with pytest.raises(SettingsError) as caught:
        plan(parse_settings(raw, stack), stack)
    return str(caught.value).splitlines()


MISTAKES: list[tuple[str, Any, str]] = [
    ("nothing", None, "sophia:platform: is missing. It is an object; the least that works is "),
    ("no object", "dev", "sophia:platform: 'dev' is not an object with keys such as environment and mcp_servers."),
    ("no environment", {}, "sophia:platform.environment: is missing. dev, staging or prod."),
    ("an unknown environment", {"environment": "test"}, "sophia:platform.environment: 'test' is none of 'dev', 'staging' or 'prod'."),
    ("a misspelt key", settings(mcp_server={}), "sophia:platform.mcp_server: is not a known key. Did you mean mcp_servers?"),
    (
        "a misspelt key deep down",
        servers(github={"autoscaling": {"max_replica": 5}}),
        "sophia:platform.mcp_servers.github.autoscaling.max_replica: is not a known key. Did you mean max_replicas?",
    ),
    (
        "a port outside its range",
        servers(github={"port": 8500}),
        "sophia:platform.mcp_servers.github.port: 8500 is outside 9000-9100 (MCP servers). "
        "Leave it out to have one allocated, or list it under ports.exceptions.",
    ),
    (
        "a name Kubernetes would refuse",
        settings(mcp_servers={"GitHub": {}}),
        "sophia:platform.mcp_servers.GitHub: 'GitHub' does not match ",
    ),
    (
        "replicas that cannot work",
        servers(github={"transport": "stdio", "replicas": 2}),
        "sophia:platform.mcp_servers.github.replicas: 2 replicas cannot work: transport stdio ",
    ),
    (
        "a pool nobody has",
        servers(github={"pools": ["redis"]}),
        "sophia:platform.mcp_servers.github.pools: 'redis' is not a pool. Known pools: postgres.",
    ),
    (
        "more connections than Postgres has",
        servers(github={"pools": ["postgres"], "autoscaling": {}}),
        "sophia:platform.connection_pools.postgres.max: 10 lets the fleet open 110 connections (github (10+1)x10;",
    ),
    (
        "an image with nothing to build it from",
        settings(mcp_servers={"no-such": {}}),
        "sophia:platform.mcp_servers.no-such.image: is left out, but there is no app_images/no_such/Dockerfile to build it from. "
        "Give an image reference.",
    ),
    (
        "an image without a tag",
        settings(mcp_servers={"github": {"image": "ghcr.io/acme/github"}}),
        "sophia:platform.mcp_servers.github.image: 'ghcr.io/acme/github' does not match ",
    ),
    (
        "a text for a number",
        settings(postgres={"max_connections": "many"}),
        "sophia:platform.postgres.max_connections: 'many' is not a whole number. "
        "5-10000 connections; the pools of the fleet are checked against it.",
    ),
    (
        "a list for an object",
        settings(postgres=[1]),
        "sophia:platform.postgres: [1] is not an object with keys. ",
    ),
    (
        "one replica in production",
        {**servers(github={"replicas": 1}), "environment": "prod"},
        "sophia:platform.mcp_servers.github.replicas: 1 in environment prod means an outage with every update of a node. "
        "Set 2 or more, or autoscaling.",
    ),
]


@pytest.mark.parametrize(("raw", "line"), [row[1:] for row in MISTAKES], ids=[row[0] for row in MISTAKES])
def test_a_mistake_is_one_line_with_file_key_value_and_fix(raw: Any, line: str) -> None:
    (found,) = lines(raw)
    assert found.startswith(f"Pulumi.prod.yaml: {line}")


def test_a_server_that_cannot_be_replicated_may_run_alone_in_production() -> None:
    raw = {**servers(slack={"transport": "stdio", "replicas": 1}), "environment": "prod"}
    assert plan(parse_settings(raw, "prod"), "prod").servers["slack"].args["replicas"] == 1


def test_all_mistakes_come_at_once() -> None:
    raw = {"environment": "x", "namespace": "9", "images": {"registry": "http://x"}, "mcp_servers": {"a": {"replicas": -1, "foo": 1}}}
    keys = {line.split(": ")[1].removeprefix("sophia:platform.") for line in lines(raw)}
    assert keys == {"environment", "namespace", "images.registry", "mcp_servers.a.replicas", "mcp_servers.a.foo"}


def test_mistakes_of_different_parts_come_at_once() -> None:
    raw = servers(a={"port": 1}, b={"pools": ["postgres"], "replicas": 90})
    raw["mcp_servers"]["no-such"] = {}
    assert len(lines(raw)) == 2


@pytest.mark.parametrize("stack", ["dev", "prod"])
def test_the_stacks_in_the_repository_are_valid(stack: str) -> None:
    config = yaml.safe_load((ROOT / f"Pulumi.{stack}.yaml").read_text())["config"]
    parsed = parse_settings(config["sophia:platform"], stack)
    assert parsed.environment.value == stack
    assert parsed.namespace_of(stack) == f"sophia-{stack}"


def test_every_setting_is_described() -> None:
    def undescribed(schema: dict[str, Any], name: str) -> list[str]:
        return [f"{name}.{key}" for key, value in schema.get("properties", {}).items() if "description" not in value]

    schema = PlatformSettings.model_json_schema()
    found = undescribed(schema, "PlatformSettings")
    for name, definition in schema["$defs"].items():
        found += undescribed(definition, name)
    assert found == []


def test_settings_cannot_be_changed_after_they_were_checked() -> None:
    parsed = parse_settings(settings(), "dev")
    with pytest.raises(ValueError, match="frozen"):
        parsed.namespace = "other"
