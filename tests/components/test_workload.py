"""Quantities and small names."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.objects import image_version, label_value
from components.workload import ResourcesSpec, quantity


@pytest.mark.parametrize(
    ("text", "value"),
    [("250m", Decimal("0.25")), ("1", 1), ("1.5", Decimal("1.5")), ("512Mi", 512 * 2**20), ("2Gi", 2**31), ("1G", 10**9), ("3k", 3000)],
)
def test_quantities(text: str, value: Decimal) -> None:
    assert quantity(text) == value


@pytest.mark.parametrize("text", ["", "Mi", "1 Gi", "1Xi", "-1", "1e3"])
def test_what_is_no_quantity(text: str) -> None:
    with pytest.raises(ValueError, match="is not a Kubernetes quantity"):
        quantity(text)


@given(st.integers(1, 64), st.integers(1, 64))
def test_a_request_is_never_above_its_limit(request: int, limit: int) -> None:
    spec = ResourcesSpec(memory_request=f"{request}Gi", memory_limit=f"{limit}Gi")
    assert (list(spec.refusals()) == []) is (request <= limit)


@pytest.mark.parametrize(
    ("reference", "version"),
    [
        ("localhost:5000/sophia/x:abc", "abc"),
        ("localhost:5000/sophia/x", ""),
        ("x:1@sha256:" + "a" * 64, "1"),
        ("x@sha256:" + "ab" * 32, "ab" * 6),
    ],
)
def test_the_version_is_the_tag_or_the_digest(reference: str, version: str) -> None:
    assert image_version(reference) == version


@given(st.text())
def test_label_values_are_always_valid(text: str) -> None:
    value = label_value(text)
    assert len(value) <= 63
    assert value == "" or (value[0].isascii() and value[0].isalnum() and value[-1].isalnum())
