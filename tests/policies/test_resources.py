"""Rules about requests and limits."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.sophia_policies.resources import limits_present, quantity, requests_present, resources_sane
from tests.policies.samples import container, verdict


def sized(requests: dict[str, Any] | None = None, limits: dict[str, Any] | None = None) -> dict[str, Any]:
    given_parts = {"requests": requests, "limits": limits}
    return container(resources={key: value for key, value in given_parts.items() if value is not None})


FULL = {"cpu": "1", "memory": "1Gi"}


@pytest.mark.parametrize(
    ("spec", "missing"),
    [
        (sized(FULL), []),
        (sized({"cpu": "1"}), ["memory"]),
        (sized({"memory": "1Gi"}), ["cpu"]),
        (sized({}), ["cpu", "memory"]),
        (sized(None, FULL), ["cpu", "memory"]),
        (container(resources=None), ["cpu", "memory"]),
        (sized({"cpu": None, "memory": "1Gi"}), ["cpu"]),
    ],
)
def test_requests_are_present(spec: dict[str, Any], missing: list[str]) -> None:
    findings = verdict(requests_present, spec).findings
    assert len(findings) == len(missing)
    for finding, resource in zip(findings, missing, strict=True):
        assert f"spec.template.spec.containers[0].resources.requests.{resource}: is missing. Without it, the scheduler" in finding


@pytest.mark.parametrize(("limits", "count"), [(FULL, 0), ({"cpu": "1"}, 1), ({"memory": "1Gi"}, 1), ({}, 2)])
def test_limits_are_present(limits: dict[str, str], count: int) -> None:
    assert len(verdict(limits_present, sized(FULL, limits)).findings) == count


def test_which_resources_are_required_is_configured() -> None:
    assert verdict(limits_present, sized(FULL, {"memory": "1Gi"}), config={"required": ["memory"]}).findings == ()
    assert len(verdict(limits_present, sized(FULL, FULL), config={"required": ["ephemeral-storage"]}).findings) == 1


def test_resources_of_the_pod_count_for_its_containers() -> None:
    assert verdict(requests_present, container(resources=None), resources={"requests": FULL}).findings == ()


@pytest.mark.parametrize("kind", ["Job", "CronJob", "DaemonSet", "Pod"])
@pytest.mark.parametrize("rule", [requests_present, limits_present])
def test_every_kind_of_workload_needs_both(rule: Any, kind: str) -> None:
    assert len(verdict(rule, container(resources=None), kind=kind).findings) == 2


def test_init_containers_need_both_and_ephemeral_ones_may_not_have_any() -> None:
    bare = {"name": "bare"}
    assert len(verdict(limits_present, container(), initContainers=[bare]).findings) == 2
    assert verdict(limits_present, container(), ephemeralContainers=[bare]).findings == ()


@pytest.mark.parametrize(
    ("requests", "limits", "reason"),
    [
        ({"memory": "1Gi"}, {"memory": "1Gi"}, None),
        ({"memory": "1Gi"}, {"memory": "4Gi"}, None),
        ({"memory": "1Gi"}, {"memory": "4097Mi"}, "request 1Gi and limit 4097Mi are more than 4 times apart"),
        ({"memory": "2Gi"}, {"memory": "1Gi"}, "request 2Gi and limit 1Gi: Kubernetes refuses a request above its limit"),
        ({"cpu": "100m"}, {"cpu": "1"}, None),
        ({"cpu": "100m"}, {"cpu": "1001m"}, "request 100m and limit 1001m are more than 10 times apart"),
        ({"cpu": 2}, {"cpu": "1500m"}, "request 2 and limit 1500m: Kubernetes refuses"),
        ({"cpu": "0"}, {"cpu": "1"}, "'0' is nothing"),
        ({"cpu": "a lot"}, {}, "'a lot' is no Kubernetes quantity"),
        ({}, {"memory": "1 Gi"}, "'1 Gi' is no Kubernetes quantity"),
        ({"nvidia.com/gpu": 1}, {"nvidia.com/gpu": 1}, None),
    ],
    ids=str,
)
def test_requests_and_limits_are_sane(requests: dict[str, Any], limits: dict[str, Any], reason: str | None) -> None:
    findings = verdict(resources_sane, sized(requests, limits)).findings
    assert len(findings) == (0 if reason is None else 1)
    assert reason is None or reason in findings[0]


def test_the_ratio_is_configured() -> None:
    spec = sized({"memory": "1Gi"}, {"memory": "4Gi"})
    assert len(verdict(resources_sane, spec, config={"max_ratio": {"memory": 2}}).findings) == 1


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("250m", "0.25"),
        ("1", "1"),
        (2, "2"),
        (0.5, "0.5"),
        ("1Ki", "1024"),
        ("1k", "1000"),
        ("1e3", "1000"),
        ("1E", "1e18"),
        ("5u", "0.000005"),
        (".5", "0.5"),
    ],
)
def test_quantities(text: Any, value: str) -> None:
    assert quantity(text) == Decimal(value)


@given(st.text(max_size=8))
def test_any_text_is_a_quantity_or_is_not(text: str) -> None:
    found = quantity(text)
    assert found is None or found.is_finite()
