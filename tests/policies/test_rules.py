"""What holds for all rules: every kind of workload, unknown values, any input, and our own program."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.sophia_policies import ports, probes, resources
from policies.sophia_policies.known import UNKNOWN, NotKnownError
from policies.sophia_policies.rule import Rule, judge
from policies.sophia_policies.rule import settings as defaults
from policies.sophia_policies.workloads import TEMPLATES, workloads
from tests.policies.samples import DEPLOYMENT, container, pod, workload

RULES = (*ports.RULES, *resources.RULES, *probes.RULES)
ids = {"ids": lambda rule: getattr(rule, "name", str(rule))}

BROKEN: dict[str, dict[str, Any]] = {
    "ports-in-range": {"ports": [{"containerPort": 8500}]},
    "pod-ports-unique": {"ports": [{"containerPort": 9001}, {"containerPort": 9001}]},
    "requests-present": {"resources": {}},
    "limits-present": {"resources": {}},
    "resources-sane": {"resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}},
    "probes-present": {"readinessProbe": None},
    "probes-differ": {"readinessProbe": {"tcpSocket": {"port": 9001}}, "livenessProbe": {"tcpSocket": {"port": 9001}}},
    "probe-ports-exist": {"readinessProbe": {"tcpSocket": {"port": 1}}},
    "probe-timing": {"readinessProbe": {"tcpSocket": {"port": 9001}, "timeoutSeconds": 60}},
}
ABOUT_STAYING = {"probes-present", "probes-differ"}
CONTAINER_RULES = [rule for rule in RULES if rule.name in BROKEN]


def test_every_rule_on_workloads_has_a_case() -> None:
    assert {rule.name for rule in RULES} == {*BROKEN, "service-ports-in-range"}


@pytest.mark.parametrize("rule", RULES, **ids)
def test_a_rule_says_what_why_and_how(rule: Rule) -> None:
    assert re.fullmatch(r"[a-z]+(-[a-z]+)+", rule.name)
    assert rule.description.endswith(".") and rule.fix.endswith(".")
    assert "\n" not in rule.description
    assert rule.level == "mandatory"
    assert all("default" in schema and "description" in schema for schema in rule.parameters.values())


@pytest.mark.parametrize("kind", TEMPLATES)
@pytest.mark.parametrize("rule", CONTAINER_RULES, **ids)
def test_every_kind_of_workload_is_judged(rule: Rule, kind: str) -> None:
    token, good = workload(kind, pod())
    assert judge(rule, token, good, {}).findings == ()
    _, bad = workload(kind, pod(container(**BROKEN[rule.name])))
    expected = rule.name not in ABOUT_STAYING or kind not in ("Job", "CronJob")
    assert bool(judge(rule, token, bad, {}).findings) is expected


@pytest.mark.parametrize(
    "token", ["kubernetes:apps/v1beta1:Deployment", "kubernetes:apps/v1beta2:Deployment", "kubernetes:extensions/v1beta1:Deployment"]
)
@pytest.mark.parametrize("rule", CONTAINER_RULES, **ids)
def test_old_api_versions_are_judged(rule: Rule, token: str) -> None:
    _, bad = workload("Deployment", pod(container(**BROKEN[rule.name])))
    assert judge(rule, token, bad, {}).findings


@pytest.mark.parametrize("rule", CONTAINER_RULES, **ids)
def test_lists_are_judged_item_by_item(rule: Rule) -> None:
    _, good = workload("Deployment", pod())
    _, bad = workload("Deployment", pod(container(**BROKEN[rule.name])))
    findings = judge(rule, "kubernetes:apps/v1:DeploymentList", {"items": [good, bad]}, {}).findings
    assert findings and all("items[1].spec" in finding for finding in findings)


@pytest.mark.parametrize("rule", CONTAINER_RULES, **ids)
def test_a_patch_is_judged_by_what_it_says_and_not_by_what_it_leaves_out(rule: Rule) -> None:
    token = "kubernetes:apps/v1:DeploymentPatch"
    _, silent = workload("Deployment", pod({"name": "main"}))
    assert judge(rule, token, silent, {}).findings == ()
    _, bad = workload("Deployment", pod(container(**BROKEN[rule.name])))
    assert bool(judge(rule, token, bad, {}).findings) is not rule.judges_absence


@pytest.mark.parametrize(
    "token", ["kubernetes:core/v1:ConfigMap", "aws:s3/bucket:Bucket", "pulumi:providers:kubernetes", "sophia:platform:McpServer"]
)
@pytest.mark.parametrize("rule", RULES, **ids)
def test_other_resources_are_left_alone(rule: Rule, token: str) -> None:
    _, bad = workload("Deployment", pod({"name": "main"}))
    assert judge(rule, token, bad, {}) == ((), ())


UNKNOWNS = [
    ("the image is nobody's business", {"image": UNKNOWN}, set()),
    ("ports", {"ports": UNKNOWN}, {"ports-in-range", "pod-ports-unique", "probe-ports-exist", "probes-differ"}),
    (
        "a limit",
        {"resources": {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": UNKNOWN, "memory": "1Gi"}}},
        {"limits-present", "resources-sane"},
    ),
    ("a timeout", {"livenessProbe": {"tcpSocket": {"port": "mcp"}, "timeoutSeconds": UNKNOWN}}, {"probe-timing"}),
]


@pytest.mark.parametrize(("change", "unjudged"), [row[1:] for row in UNKNOWNS], ids=[row[0] for row in UNKNOWNS])
def test_an_unknown_value_stops_only_the_rules_that_need_it(change: dict[str, Any], unjudged: set[str]) -> None:
    token, props = workload("Deployment", pod(container(**change)))
    verdicts = {rule.name: judge(rule, token, props, {}) for rule in RULES}
    assert {name for name, verdict in verdicts.items() if verdict.unknown} == unjudged
    assert [verdict.findings for verdict in verdicts.values() if verdict.findings] == []


def test_what_is_known_is_judged_beside_what_is_not() -> None:
    bad = container(name="bad", ports=[{"containerPort": 8500}])
    token, props = workload("Deployment", pod(container(ports=UNKNOWN), bad))
    verdict = judge(ports.ports_in_range, token, props, {})
    assert len(verdict.findings) == 1 and "containers[1]" in verdict.findings[0]
    assert verdict.unknown == ("spec.template.spec.containers[0].ports",)


def test_a_template_that_is_not_known_at_all_is_said_to_be_so() -> None:
    props = {"metadata": {"name": "x"}, "spec": UNKNOWN}
    assert judge(probes.probes_present, DEPLOYMENT, props, {}).unknown == ("spec",)


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.just(UNKNOWN)
NAMES = """
metadata labels name namespace spec template containers initContainers ephemeralContainers restartPolicy items kind ports containerPort
protocol resources requests limits cpu memory readinessProbe livenessProbe startupProbe httpGet tcpSocket exec command port
timeoutSeconds periodSeconds app.kubernetes.io/name app.kubernetes.io/component
"""
KEYS = st.sampled_from(NAMES.split())
ANYTHING = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5), max_leaves=25)


@st.composite
def damaged(draw: st.DrawFn) -> dict[str, Any]:
    """A good Deployment in which one value, anywhere, is replaced by anything."""
    _, props = workload("Deployment", pod(container(), initContainers=[container()]))
    node: Any = props
    while True:
        key = draw(st.sampled_from(sorted(node) if isinstance(node, dict) else list(range(len(node)))))
        inner = node[key]
        if not isinstance(inner, (dict, list)) or not inner or draw(st.booleans()):
            node[key] = draw(ANYTHING)
            return dict(props)
        node = inner


@settings(max_examples=400)
@given(anything=st.dictionaries(KEYS, ANYTHING, max_size=5), deployment=damaged())
def test_no_input_makes_a_rule_fail(anything: dict[str, Any], deployment: dict[str, Any]) -> None:
    for rule in RULES:
        for token in (DEPLOYMENT, "kubernetes:core/v1:Service", "kubernetes:core/v1:PodList"):
            judge(rule, token, anything, {})
        judge(rule, DEPLOYMENT, deployment, {})
    try:
        found = list(workloads(DEPLOYMENT, deployment)) * 2
    except NotKnownError:
        return  # The pack reports the resource as not known.
    list(ports.stack_ports_unique.validate(found, defaults(ports.stack_ports_unique, {})))


def test_a_name_that_is_not_known_yet_stops_no_rule() -> None:
    token, props = workload("Deployment", pod(container(name=UNKNOWN, ports=[{"containerPort": 8500}])))
    props["metadata"] = {"name": UNKNOWN, "namespace": UNKNOWN}
    verdict = judge(ports.ports_in_range, token, props, {})
    assert verdict.findings[0].startswith("ports-in-range: Deployment ?/?, container ?: spec.template.spec.containers[0]")
    assert verdict.unknown == ()
