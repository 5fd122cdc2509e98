"""The whole program, from its own `__main__` and the stack files of the repository, against mocks."""

from __future__ import annotations

import base64
import json
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pulumi
import pytest
import yaml

from tests.components.recording import PASSWORD, Recorder, deploy

ROOT = Path(__file__).resolve().parents[2]

DEV = {
    ("Namespace", "sophia-dev"),
    ("AppImage", "ai-memory"),
    ("AppImage", "postgres"),
    ("Image", "ai-memory"),
    ("Image", "postgres"),
    ("PostgresDatabase", "postgres"),
    ("RandomPassword", "postgres"),
    ("Secret", "postgres-credentials"),
    ("Service", "postgres"),
    ("Service", "postgres-headless"),
    ("ServiceAccount", "postgres"),
    ("StatefulSet", "postgres"),
    ("NetworkPolicy", "postgres"),
    ("PodDisruptionBudget", "postgres"),
    ("ConnectionPoolConfig", "connection-pools"),
    ("ConfigMap", "connection-pools"),
    ("Secret", "connection-pools"),
    ("McpServer", "ai-memory"),
    ("ConfigMap", "ai-memory-config"),
    ("Service", "ai-memory"),
    ("ServiceAccount", "ai-memory"),
    ("Deployment", "ai-memory"),
    ("NetworkPolicy", "ai-memory"),
    ("PodDisruptionBudget", "ai-memory"),
}
PROD = {("Namespace", "sophia-prod") if key == ("Namespace", "sophia-dev") else key for key in DEV}
PROD |= {("HorizontalPodAutoscaler", "ai-memory")}


def stack_config(stack: str) -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load((ROOT / f"Pulumi.{stack}.yaml").read_text())["config"]
    return config


def run(stack: str, config: dict[str, Any] | None = None) -> Recorder:
    values = {key: value if isinstance(value, str) else json.dumps(value) for key, value in (config or stack_config(stack)).items()}
    return deploy(lambda: runpy.run_path(str(ROOT / "infra" / "__main__.py"), run_name="__main__"), values, stack)


@pytest.mark.usefixtures("images")
@pytest.mark.parametrize(("stack", "resources"), [("dev", DEV), ("prod", PROD)])
def test_a_stack_registers_exactly_this(stack: str, resources: set[tuple[str, str]]) -> None:
    assert run(stack).registered() == resources


@pytest.mark.usefixtures("images")
@pytest.mark.parametrize("stack", ["dev", "prod"])
def test_a_second_run_registers_the_same(stack: str) -> None:
    def registered() -> list[str]:
        return sorted(json.dumps([r.typ, r.name, r.inputs], sort_keys=True) for r in run(stack).resources)

    assert registered() == registered()


@pytest.mark.usefixtures("images")
def test_only_the_deployment_changes_with_the_replicas() -> None:
    config = stack_config("dev")
    before = {(r.typ, r.name): r.inputs for r in run("dev").resources}
    config["sophia:platform"]["mcp_servers"]["ai-memory"]["replicas"] = 2
    after = {(r.typ, r.name): r.inputs for r in run("dev", config).resources}
    assert [key for key in after if after[key] != before.get(key)] == [("kubernetes:apps/v1:Deployment", "ai-memory")]


def test_only_the_image_and_its_pods_change_with_the_code(images: Path) -> None:
    (images / "postgres" / "Dockerfile.dockerignore").write_text("*\n!postgres\n")
    before = {(r.typ, r.name): r.inputs for r in run("dev").resources}
    (images / "ai_memory" / "new.py").write_text("")
    after = {(r.typ, r.name): r.inputs for r in run("dev").resources}
    assert {key for key in after if after[key] != before.get(key)} == {
        ("docker:index/image:Image", "ai-memory"),
        ("kubernetes:apps/v1:Deployment", "ai-memory"),
    }


@pytest.mark.usefixtures("images")
def test_the_namespace_admits_restricted_pods_only() -> None:
    labels = run("dev").one("Namespace", "sophia-dev")["metadata"]["labels"]
    assert {labels[f"pod-security.kubernetes.io/{mode}"] for mode in ("enforce", "audit", "warn")} == {"restricted"}


@pytest.mark.usefixtures("images")
def test_the_password_is_in_secrets_only() -> None:
    recorded = run("dev")
    for resource in recorded.resources:
        text = json.dumps(dict(resource.inputs))
        assert PASSWORD not in text, resource.name
        encoded = base64.b64encode(PASSWORD.encode()).decode()
        assert (encoded in text) == resource.typ.endswith(":Secret"), resource.name


@pytest.mark.usefixtures("images")
def test_the_database_lets_in_who_uses_it() -> None:
    config = stack_config("dev")
    config["sophia:platform"]["mcp_servers"]["github"] = {"image": "ghcr.io/acme/github:1"}
    (rule,) = run("dev", config).one("NetworkPolicy", "postgres")["spec"]["ingress"]
    names = [peer["podSelector"]["matchLabels"]["app.kubernetes.io/name"] for peer in rule["from"]]
    assert names == ["ai-memory"]


def test_a_stack_without_pools_has_no_database() -> None:
    platform = {"environment": "dev", "mcp_servers": {"github": {"image": "ghcr.io/acme/github:1"}}}
    recorded = run("dev", {"sophia:platform": platform})
    assert not [r for r in recorded.resources if r.name == "postgres" or r.typ.startswith("docker:")]
    assert recorded.one("Deployment", "github")["spec"]["replicas"] == 2


@pytest.mark.parametrize(
    ("config", "line"),
    [
        ({}, "Pulumi.dev.yaml: sophia:platform: is missing."),
        ({"sophia:platform": "dev"}, "Pulumi.dev.yaml: sophia:platform: is not an object."),
        ({"sophia:platform": {"environment": "dev", "foo": 1}}, "Pulumi.dev.yaml: sophia:platform.foo: is not a known key."),
    ],
    ids=["missing", "no object", "unknown key"],
)
def test_a_users_mistake_ends_the_program_without_a_traceback(config: dict[str, Any], line: str) -> None:
    """Pulumi prints a `RunError` alone."""
    with pytest.raises(pulumi.RunError) as caught:
        run("dev", {"other:key": "x", **config})
    assert str(caught.value).startswith(line)
    assert caught.value.__cause__ is None and caught.value.__suppress_context__


def test_nothing_in_the_programs_folder_takes_the_name_of_a_standard_module() -> None:
    """Pulumi puts the folder first on the path: a file `platform.py` there would replace Python's own."""
    for folder in ("infra", "components", "policies"):
        own = {path.stem for path in (ROOT / folder).iterdir() if path.suffix == ".py" or path.is_dir()}
        assert not (own - {"__main__", "__init__"}) & sys.stdlib_module_names, folder


@pytest.mark.parametrize("program", [".", "__main__.py"])
def test_the_program_finds_its_packages_from_its_own_folder(program: str) -> None:
    """Pulumi runs it as the folder "." in the folder itself, with nothing of ours on the path."""
    code = f"import runpy, sys; sys.path[0] = '.'; runpy.run_path({program!r}, run_name='__main__')"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT / "infra", capture_output=True, text=True, check=False, env={})
    assert "ModuleNotFoundError" not in result.stderr
    assert "sophia:platform: is missing" in result.stderr
