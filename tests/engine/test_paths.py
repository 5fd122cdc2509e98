"""Property paths: parsing, wildcards, resetting."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import paths
from engine.values import UNKNOWN, Secret

NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=6).filter(lambda t: t != "*")
PATHS = st.tuples(NAMES, st.lists(st.one_of(NAMES, st.integers(0, 99)), max_size=4)).map(lambda t: (t[0], *t[1]))


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("a", ("a",)),
        ("a.b[0].c", ("a", "b", 0, "c")),
        ('a["x.y"].z', ("a", "x.y", "z")),
        ('["a"]', ("a",)),
        ("a[*].b", ("a", "*", "b")),
        ("*", ("*",)),
        (r'a["say \"hi\""]', ("a", 'say "hi"')),
    ],
)
def test_parse(text, path):
    assert paths.parse(text) == path


@pytest.mark.parametrize("text", ["", "a[", "a[x]", "a..b", 'a["x', "a[-1]"])
def test_malformed_paths_are_named(text):
    with pytest.raises(ValueError, match="property path"):
        paths.parse(text)


@given(PATHS)
def test_rendering_is_the_inverse_of_parsing(path):
    assert paths.parse(paths.render(path)) == path


OLD = {"a": {"b": [1, {"c": 2}], "k": "old"}, "gone": 1}
NEW = {"a": {"b": [1, {"c": 3}], "k": "new", "added": True}}


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("a.k", [("a", "k")]),
        ("a.b[*].c", [("a", "b", 0, "c"), ("a", "b", 1, "c")]),
        ("*.k", [("a", "k"), ("gone", "k")]),
        ("a.*", [("a", "b"), ("a", "k"), ("a", "added")]),
        ("gone", [("gone",)]),
    ],
)
def test_expand(pattern, found):
    """Places that a wildcard could mean, whether or not there is something: resetting skips what is nowhere."""
    assert list(paths.expand(paths.parse(pattern), NEW, OLD)) == found


@pytest.mark.parametrize(
    ("path", "result"),
    [
        ("a.k", {"a": {"b": [1, {"c": 3}], "k": "old", "added": True}}),
        ("a.added", {"a": {"b": [1, {"c": 3}], "k": "new"}}),
        ("gone", {**NEW, "gone": 1}),
        ("nowhere.at.all", NEW),
        ("a.b[1].c", {"a": {"b": [1, {"c": 2}], "k": "new", "added": True}}),
    ],
)
def test_reset(path, result):
    assert paths.reset(NEW, OLD, paths.parse(path)) == result


def test_reset_keeps_secrets_and_refuses_what_it_cannot_reach():
    assert paths.reset({"a": Secret({"b": 1})}, {"a": {"b": 2}}, ("a", "b")) == {"a": Secret({"b": 2})}
    with pytest.raises(ValueError, match=r"cannot reach 'a\.b'"):
        paths.reset({"x": 1}, {"a": {"b": 2}}, ("a", "b"))


@pytest.mark.parametrize(
    ("pattern", "path", "inside"),
    [("a", "a.b", True), ("a.b", "a", False), ("*", "x.y", True), ("a[*].c", "a[3].c.d", True), ("a.b", "a.c", False)],
)
def test_contains(pattern, path, inside):
    assert paths.contains(paths.parse(pattern), paths.parse(path)) is inside


def test_changed_names_every_leaf_once():
    found = {paths.render(p): kind for p, kind in paths.changed(OLD, NEW)}
    assert found == {"a.added": "add", "a.b[1].c": "update", "a.k": "update", "gone": "delete"}
    assert list(paths.changed({"a": Secret(1)}, {"a": 1})) == [] and list(paths.changed({"a": UNKNOWN}, {"a": UNKNOWN})) == []
