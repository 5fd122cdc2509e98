"""A pack as a process: real pulumi-policy, real RPCs, and the events the CLI shows for the same pack."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.policy import (
    PolicyError,
    PolicyOptions,
    PolicyPack,
    PolicyProvider,
    PolicyResource,
    analysis_events,
    remediation_events,
    stack_analysis_events,
)
from engine.values import UNKNOWN, Archive, Asset, ResourceRef, Secret

PYTHON = os.environ.get("SOPHIA_POLICY_PYTHON") or str(Path(__file__).parents[2] / "policies/.venv/bin/python")
MANIFEST = "runtime: python\nversion: 1.0.0\ndescription: test pack\n"
CONFIG_MAP = "kubernetes:core/v1:ConfigMap"
PACK = """
import pulumi
from pulumi_policy import *

def port(args, report):
    if args.resource_type == "kubernetes:core/v1:ConfigMap" and args.props.get("data", {}).get("port") == "8500":
        report("port 8500 is outside 9000-9100")

def label(args):
    labels = args.props.get("metadata", {}).get("labels") or {}
    if args.resource_type == "kubernetes:core/v1:ConfigMap" and "team" not in labels:
        metadata = dict(args.props["metadata"])
        metadata["labels"] = {**labels, "team": "platform"}
        return {**args.props, "metadata": metadata}

def advise(args, report):
    if args.resource_type == "kubernetes:core/v1:ConfigMap" and len(args.props.get("data", {})) < 2:
        report("a ConfigMap with one key")

def count(args, report):
    if len([r for r in args.resources if r.resource_type == "kubernetes:core/v1:ConfigMap"]) > 1:
        report("more than one ConfigMap in the stack")

PolicyPack("golden", enforcement_level=EnforcementLevel.MANDATORY, policies=[
    ResourceValidationPolicy("port-range", "MCP ports are 9000-9100.", port),
    ResourceValidationPolicy(name="team-label", description="Every object has a team.", remediate=label,
                             enforcement_level=EnforcementLevel.REMEDIATE),
    ResourceValidationPolicy("few-keys", "Small ConfigMaps are odd.", advise,
                             enforcement_level=EnforcementLevel.ADVISORY),
    StackValidationPolicy("one-configmap", "At most one.", count, enforcement_level=EnforcementLevel.ADVISORY),
])
"""
SHOWN = """
import json, pulumi
from pulumi_policy import *

def show(args, report):
    provider = args.provider
    report(json.dumps({
        "props": [args.props["a"][0], args.props["a"][1]["b"]], "secret": args.props["s"],
        "ref": args.props["r"], "name": args.name,
        "protect": args.opts.protect, "dbr": args.opts.delete_before_replace, "parent": args.opts.parent,
        "timeout": args.opts.custom_timeouts.create_seconds, "provider": dict(provider.props) if provider else None,
        "config": args.get_config(), "stack": pulumi.get_stack(), "dry": pulumi.runtime.is_dry_run(),
        "key": pulumi.Config("sophia").get("key"),
    }))

def unknown(args, report):
    str(args.props["u"])

def skip(args, report):
    args.not_applicable("not for this")

def boom(args, report):
    raise ValueError("the rule is broken")

def keep_secret(args):
    return {**args.props, "added": True}

def relations(args, report):
    for r in args.resources:
        report(json.dumps([r.parent.name if r.parent else None, [d.name for d in r.dependencies],
                           {k: [d.name for d in v] for k, v in r.property_dependencies.items()}]), r.urn)

policies = [
    ResourceValidationPolicy("show", "Shows.", show, config_schema=PolicyConfigSchema(
        {"low": {"type": "number", "default": 7}}), severity=Severity.HIGH),
    ResourceValidationPolicy("unknown", "Touches an unknown.", unknown),
    ResourceValidationPolicy("skip", "Never applies.", skip),
    ResourceValidationPolicy("boom", "Breaks.", boom, enforcement_level=EnforcementLevel.DISABLED),
    ResourceValidationPolicy("keep", "Adds.", remediate=keep_secret, enforcement_level=EnforcementLevel.DISABLED),
    StackValidationPolicy("relations", "Shows relations.", relations),
]
print("said before the port") if LOUD else None
PolicyPack("shown", policies, initial_config={"relations": EnforcementLevel.MANDATORY})
"""

Start = Callable[..., PolicyPack]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    assert Path(PYTHON).exists(), f"{PYTHON} is missing: run `make setup`, which makes the environment of the policies"
    packs: list[PolicyPack] = []

    def go(code: str, settings: dict[str, Any] | None = None, manifest: str = MANIFEST, **options: Any) -> PolicyPack:
        folder = tmp_path / "pack"
        folder.mkdir(exist_ok=True)
        (folder / "PulumiPolicy.yaml").write_text(manifest)
        (folder / "__main__.py").write_text(code)
        file = tmp_path / "config.json"
        file.write_text(json.dumps(settings or {}))
        arguments: dict[str, Any] = {"engine_address": "127.0.0.1:1", "project": "p", "stack": "dev", "dry_run": True}
        packs.append(PolicyPack.start(folder, file, **{**arguments, "interpreters": [PYTHON], **options}))
        return packs[-1]

    yield go
    for pack in packs:
        pack.close()


def config_map(name: str, data: dict[str, Any]) -> PolicyResource:
    properties = {"apiVersion": "v1", "data": data, "kind": "ConfigMap", "metadata": {"name": name}}
    return PolicyResource(f"urn:pulumi:dev::p::{CONFIG_MAP}::{name}", CONFIG_MAP, name, properties)


VERSION = {"policyPackName": "golden", "policyPackVersion": "1.0.0", "policyPackVersionTag": "1.0.0"}


def test_a_pack_gives_the_events_the_cli_gives(start: Start) -> None:
    pack = start(PACK)
    bad = config_map("bad", {"port": "8500"})
    remediated = pack.remediate(bad)
    labelled = {**bad.properties, "metadata": {"name": "bad", "labels": {"team": "platform"}}}
    assert remediated.properties(bad.properties) == labelled
    assert remediation_events(pack, bad.urn, bad.properties, remediated) == [
        (
            "policyRemediationEvent",
            {"resourceUrn": bad.urn, "color": "raw", "policyName": "team-label", **VERSION} | {"before": bad.properties, "after": labelled},
        ),
        (
            "policyRemediateSummaryEvent",
            {"resourceUrn": bad.urn, **VERSION, "passed": ["few-keys", "port-range"], "failed": ["team-label"]},
        ),
    ]
    analysis = pack.analyze(bad)
    assert analysis.mandatory
    finding = {"resourceUrn": bad.urn, "color": "never", **VERSION}
    assert analysis_events(pack, bad.urn, analysis) == [
        (
            "policyEvent",
            finding
            | {"message": "MCP ports are 9000-9100.\nport 8500 is outside 9000-9100\n"}
            | {"policyName": "port-range", "enforcementLevel": "mandatory"},
        ),
        (
            "policyEvent",
            finding
            | {"message": "Small ConfigMaps are odd.\na ConfigMap with one key\n"}
            | {"policyName": "few-keys", "enforcementLevel": "advisory"},
        ),
        ("policyAnalyzeSummaryEvent", {"resourceUrn": bad.urn, **VERSION, "failed": ["few-keys", "port-range"]}),
    ]
    stack = "urn:pulumi:dev::p::pulumi:pulumi:Stack::p-dev"
    found = pack.analyze_stack([bad, config_map("plain", {"a": "b"})])
    assert not found.mandatory
    assert stack_analysis_events(pack, stack, found) == [
        (
            "policyEvent",
            {
                "resourceUrn": stack,
                "color": "never",
                **VERSION,
                "message": "At most one.\nmore than one ConfigMap in the stack\n",
            }
            | {"policyName": "one-configmap", "enforcementLevel": "advisory"},
        ),
        ("policyAnalyzeStackSummaryEvent", {**VERSION, "failed": ["one-configmap"]}),
    ]
    assert pack.key == f"golden|local|{pack.path}"


def test_a_resource_that_no_rule_is_about_passes(start: Start) -> None:
    pack = start(PACK)
    other = PolicyResource("urn:pulumi:dev::p::a:b:C::c", "a:b:C", "c", {})
    remediated, analysis = pack.remediate(other), pack.analyze(other)
    assert remediation_events(pack, other.urn, {}, remediated)[-1][1]["passed"] == [
        "few-keys",
        "port-range",
        "team-label",
    ]
    # team-label does not validate, so it has neither passed nor failed here.
    assert analysis_events(pack, other.urn, analysis)[-1][1]["passed"] == ["few-keys", "port-range"]


def test_the_pack_sees_values_options_provider_and_config(start: Start) -> None:
    pack = start(
        "LOUD = False\n" + SHOWN,
        {"show": {"low": 9}, "all": "mandatory", "boom": "disabled"},
        config={"sophia:key": "value"},
    )
    resource = PolicyResource(
        "urn:pulumi:dev::p::a:b:C::c",
        "a:b:C",
        "c",
        {"a": [1, {"b": True}], "s": Secret("hidden"), "r": ResourceRef("urn:x", "id-1"), "u": UNKNOWN},
        PolicyOptions(protect=True, delete_before_replace=False, parent="urn:parent"),
        PolicyProvider("urn:prov", "pulumi:providers:a", "prov", {"version": "1", "__internal": {}}),
    )
    analysis = pack.analyze(resource)
    shown = next(d for d in analysis.diagnostics if d.policy_name == "show")
    assert (shown.level, shown.severity, shown.version) == ("mandatory", "high", "1.0.0")
    assert json.loads(shown.message.removeprefix("Shows.\n")) == {
        "props": [1, True],
        "secret": "hidden",
        "ref": "id-1",
        "name": "c",
        "protect": True,
        "dbr": False,
        "parent": "urn:parent",
        "timeout": 0,
        "provider": {"version": "1"},
        "config": {"low": 9},
        "stack": "dev",
        "dry": True,
        "key": "value",
    }
    unknown = next(d for d in analysis.diagnostics if d.policy_name == "unknown")
    assert unknown.level == "advisory"
    assert "shown@v1.0.0" in unknown.message and "during preview" in unknown.message
    assert analysis.not_applicable["skip"] == "not for this"


def test_remediation_keeps_secrets_and_unknowns(start: Start) -> None:
    pack = start("LOUD = False\n" + SHOWN, {"keep": "remediate"})
    before = {"s": Secret("hidden"), "u": UNKNOWN, "n": 3, "l": [1, {"p": Secret("deep")}]}
    result = pack.remediate(PolicyResource("urn:x", "a:b:C", "c", before))
    assert result.properties(before) == {**before, "added": True}


def test_assets_known_by_hash_only_do_not_break_a_pack(start: Start) -> None:
    pack = start("LOUD = False\n" + SHOWN, {"all": "disabled", "keep": "remediate"})
    before = {"a": Asset("abc"), "b": Archive("def"), "c": [Asset(path="x")]}
    assert pack.remediate(PolicyResource("urn:x", "a:b:C", "c", before)).properties(before)["added"] is True


def test_relations_reach_stack_policies(start: Start) -> None:
    pack = start("LOUD = False\n" + SHOWN)
    a = PolicyResource("urn:a", "t:t:T", "a", {})
    b = PolicyResource("urn:b", "t:t:T", "b", {}, parent="urn:a", dependencies=["urn:a"], property_dependencies={"x": ["urn:a"]})
    found = {d.urn: json.loads(d.message.split("\n")[1]) for d in pack.analyze_stack([a, b]).diagnostics}
    assert found == {"urn:a": [None, [], {}], "urn:b": ["a", ["a"], {"x": ["a"]}]}


def test_a_rule_that_raises_is_reported_by_its_words(start: Start) -> None:
    pack = start("LOUD = False\n" + SHOWN, {"all": "disabled", "boom": "mandatory"})
    with pytest.raises(PolicyError, match=r"^policy pack shown failed while analyzing urn:x: the rule is broken$"):
        pack.analyze(PolicyResource("urn:x", "a:b:C", "c", {}))


def test_printing_before_the_pack_is_explained(start: Start) -> None:
    with pytest.raises(PolicyError, match=r"printed 'said before the port'.*print nothing before it constructs PolicyPack"):
        start("LOUD = True\n" + SHOWN)


def test_a_pack_that_dies_shows_its_last_words(start: Start) -> None:
    with pytest.raises(PolicyError, match=r"(?s)process ended \(exit code 3\)\n  no licence"):
        start("import os, sys\nsys.stderr.write('no licence\\n')\nsys.stderr.flush()\nos._exit(3)\n")
    code = "import os\nfrom pulumi_policy import *\n"
    code += "PolicyPack('p', [ResourceValidationPolicy('r', 'd', lambda a, r: os._exit(4))])\n"
    pack = start(code)
    with pytest.raises(PolicyError, match=r"exit code 4"):
        pack.analyze(PolicyResource("urn:x", "a:b:C", "c", {}))


def test_config_mistakes_stop_before_anything_is_asked(start: Start) -> None:
    with pytest.raises(PolicyError, match=r"config\.json: show\.low: 'x' is not of type 'number'"):
        start("LOUD = False\n" + SHOWN, {"show": {"low": "x"}})


def test_a_setting_without_effect_is_a_warning(start: Start) -> None:
    [warning] = start("LOUD = False\n" + SHOWN, {"shwo": "disabled"}).warnings
    assert "config.json: shwo" in warning


@pytest.mark.parametrize(
    ("manifest", "words"),
    [
        ("runtime: nodejs\n", "PulumiPolicy.yaml: runtime: 'nodejs' packs need the pulumi CLI"),
        ("version: 1\n", "PulumiPolicy.yaml: runtime: missing"),
        ("runtime: {name: python, options: {virtualenv: venv}}\n", "'venv' .* does not exist.*python -m venv venv"),
    ],
)
def test_manifest_mistakes(start: Start, manifest: str, words: str) -> None:
    with pytest.raises(PolicyError, match=words):
        start(PACK, manifest=manifest, interpreters=[])


def test_a_folder_that_is_no_pack(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match=r"PulumiPolicy\.yaml: cannot read it"):
        PolicyPack.start(tmp_path, engine_address="x", project="p", stack="s", dry_run=True)
