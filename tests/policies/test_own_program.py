"""Our own stacks keep our own rules, and would be caught if they did not."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import pytest
import yaml

from policies.sophia_policies import ports, probes, resources
from policies.sophia_policies.rule import judge, settings
from policies.sophia_policies.workloads import workloads
from tests.components.recording import deploy, reveal

ROOT = Path(__file__).resolve().parents[2]
RULES = (*ports.RULES, *resources.RULES, *probes.RULES)
IMAGES = {"postgres": "pgvector/pgvector:pg16"}


def resources_of(stack: str) -> list[tuple[str, dict[str, Any]]]:
    """Type and inputs of everything the program registers; with images by reference, so that none has to be there."""
    config = yaml.safe_load((ROOT / f"Pulumi.{stack}.yaml").read_text())["config"]
    platform = config["sophia:platform"]
    platform["images"] = {**platform.get("images", {}), **IMAGES}
    for server in platform["mcp_servers"].values():
        server["image"] = "localhost:5000/sophia/x:1"
    program = str(ROOT / "infra" / "__main__.py")
    recorded = deploy(lambda: runpy.run_path(program, run_name="__main__"), {"sophia:platform": json.dumps(platform)}, stack)
    return [(resource.typ, reveal(resource.inputs)) for resource in recorded.resources]


@pytest.mark.parametrize("stack", ["dev", "prod"])
def test_our_stacks_keep_every_rule_and_every_rule_can_judge_them(stack: str) -> None:
    found = resources_of(stack)
    assert sum(1 for token, props in found for _ in workloads(token, props)) == 2
    for rule in RULES:
        for token, props in found:
            assert judge(rule, token, props, {}) == ((), ()), token
    for stack_rule in ports.STACK_RULES:
        everything = [workload for token, props in found for workload in workloads(token, props)]
        assert list(stack_rule.validate(everything, settings(stack_rule, {}))) == []
