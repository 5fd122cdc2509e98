"""Values, their form on the wire, and what is derived from two of them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.difference import (
    annotate_secrets,
    apply_ignore_changes,
    apply_replace_on_changes,
    compare_inputs,
    mark_secret_outputs,
    must_replace,
)
from engine.events import render
from engine.graph import deletion_waves, depending_on
from engine.model import ResourceState, display_type, make_urn, urn_name, urn_type
from engine.provider import Changes, Diff, PropertyDiff
from engine.redaction import Redactor
from engine.values import UNKNOWN, Archive, Asset, ResourceRef, Secret, contains_secret, contains_unknown, equal, reveal
from engine.wire import from_struct, to_struct

LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**53) + 1, 2**53 - 1),
    st.floats(allow_nan=False, allow_infinity=False).filter(lambda f: not f.is_integer()),
    st.text(max_size=8),
    st.just(UNKNOWN),
    st.builds(ResourceRef, st.text(min_size=1), st.one_of(st.none(), st.text(), st.just(UNKNOWN)), st.text()),
    st.builds(Asset, st.text(), text=st.text()),
    st.builds(Archive, st.text(), assets=st.dictionaries(st.text(min_size=1), st.builds(Asset, st.text(), path=st.text()), max_size=2)),
)
KEYS = st.text(min_size=1, max_size=5)
VALUES = st.recursive(
    LEAVES, lambda v: st.one_of(st.lists(v, max_size=3), st.dictionaries(KEYS, v, max_size=3), st.builds(Secret, LEAVES)), max_leaves=12
)


@given(st.dictionaries(KEYS, VALUES, max_size=4))
def test_properties_round_trip_over_the_wire(properties):
    assert from_struct(to_struct(properties)) == properties


@given(st.dictionaries(KEYS, VALUES, max_size=4))
def test_peers_that_take_no_secrets_get_none(properties):
    plain = from_struct(to_struct(properties, keep_secrets=False))
    assert not contains_secret(plain) and plain == reveal(properties)


@given(VALUES)
def test_equality_ignores_secretness_only(value):
    assert equal(value, value) and equal(Secret(value) if not isinstance(value, Secret) else value, value)
    assert not equal([value], [value, value])


@given(st.text(min_size=5, alphabet="abcdefghij"), VALUES)
def test_rendered_events_hold_no_secret(secret, around):
    assert secret not in json.dumps(render({"x": Secret({"y": [secret]}), "z": 1}))
    json.dumps(render(around))


def test_booleans_are_not_numbers():
    assert not equal(True, 1) and equal(1, 1.0)


@given(VALUES)
def test_secretness_is_put_back_where_it_was(value):
    assert annotate_secrets(reveal(value), value) == value or contains_unknown(value) or not contains_secret(value)


@pytest.mark.parametrize(
    ("outputs", "inputs", "marked"),
    [
        ({"a": 1}, {"a": Secret(1)}, {"a": Secret(1)}),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": Secret(0)}}, {"a": {"b": Secret(1), "c": 2}}),
        ({"a": [1, 2]}, {"a": [Secret(1)]}, {"a": [Secret(1), 2]}),
        ({"a": Secret(1)}, {"a": Secret(1)}, {"a": Secret(1)}),
        ({"b": 1}, {"a": Secret(1)}, {"b": 1}),
    ],
)
def test_annotate_secrets(outputs, inputs, marked):
    assert annotate_secrets(outputs, inputs) == marked


def test_secret_outputs_are_marked_once():
    assert mark_secret_outputs({"a": 1, "b": Secret(2), "c": 3}, ["a", "b"]) == {"a": Secret(1), "b": Secret(2), "c": 3}


def test_ignored_changes_that_cannot_be_reached_are_all_named():
    with pytest.raises(ValueError, match=r'"a\.b", "c\.d"'):
        apply_ignore_changes({}, {"a": {"b": 1}, "c": {"d": 2}}, ["a.b", "c.d", "not[a.path"])


def test_inputs_are_compared_where_a_provider_has_no_opinion():
    diff = compare_inputs({"a": {"x": 1}, "b": 1}, {"a": {"x": 2}, "c": 1})
    assert diff.changes is Changes.SOME and list(diff.diffs) == ["a", "b", "c"]
    assert {k: (d.kind, d.input_diff) for k, d in diff.detailed.items()} == {
        "a.x": ("update", True),
        "b": ("delete", True),
        "c": ("add", True),
    }
    assert compare_inputs({"a": 1}, {"a": Secret(1)}).changes is Changes.NONE


@pytest.mark.parametrize(
    ("diff", "on", "init_errors", "replaces"),
    [
        (Diff(Changes.SOME, diffs=["a"]), ["a"], False, ["a"]),
        (Diff(Changes.SOME, diffs=["a"]), ["b"], False, []),
        (Diff(Changes.SOME, diffs=["a"], detailed={"a.b": PropertyDiff("update")}), ["a.b"], False, ["a.b"]),
        (Diff(Changes.SOME, diffs=["a"]), ["*"], False, ["a"]),
        (Diff(Changes.NONE), ["*"], False, []),
        (Diff(Changes.NONE), ["#initerror"], True, ["#initerror"]),
    ],
)
def test_replace_on_changes(diff, on, init_errors, replaces):
    result = apply_replace_on_changes(diff, on, init_errors)
    assert list(result.replaces) == replaces and must_replace(result) is bool(replaces)


def state(name, **refs):
    return ResourceState(f"u:{name}", "t", custom=True, **refs)


def test_waves_delete_dependents_before_what_they_depend_on():
    a = state("a")
    b = state("b", dependencies=["u:a"])
    c = state("c", parent="u:b")
    d = state("d", property_dependencies={"x": ["u:a"]})
    waves = [[s.urn for s in wave] for wave in deletion_waves([a, b, c, d], [a, b, c, d])]
    assert waves == [["u:c"], ["u:b", "u:d"], ["u:a"]]


@given(st.lists(st.lists(st.integers(0, 30), max_size=3), min_size=1, max_size=25))
def test_waves_are_always_in_order(edges):
    states = [state(str(i), dependencies=[f"u:{t % i}" for t in targets] if i else []) for i, targets in enumerate(edges)]
    waves = deletion_waves(states, states)
    level = {s.urn: n for n, wave in enumerate(waves) for s in wave}
    assert len(level) == len(states)
    assert all(level[s.urn] < level[d] for s in states for d in s.dependencies)


def test_dependents_are_transitive_and_not_children():
    a, b = state("a"), state("b", dependencies=["u:a"])
    c, child, other = state("c", dependencies=["u:b"]), state("child", parent="u:a"), state("other")
    assert depending_on([a, b, c, child, other], a, ()) == [b, c] and depending_on([a, b, c], a, {"u:b"}) == []


@pytest.mark.parametrize(
    ("type_", "shown"),
    [
        ("random:index/randomString:RandomString", "random:index:RandomString"),
        ("kubernetes:apps/v1:Deployment", "kubernetes:apps/v1:Deployment"),
        ("sophia:platform:McpServer", "sophia:platform:McpServer"),
        ("pulumi:providers:kubernetes", "pulumi:providers:kubernetes"),
        ("odd", "odd"),
    ],
)
def test_types_as_they_are_displayed(type_, shown):
    assert display_type(type_) == shown


def test_urns():
    parent = make_urn("s", "p", "", "a:b:C", "parent")
    child = make_urn("s", "p", parent, "d:e:F", "a::b")
    assert child == "urn:pulumi:s::p::a:b:C$d:e:F::a::b" and urn_type(child) == "d:e:F" and urn_name(child) == "a::b"
    assert make_urn("s", "p", make_urn("s", "p", "", "pulumi:pulumi:Stack", "p-s"), "t:t:T", "n") == "urn:pulumi:s::p::t:t:T::n"


def test_the_filter_replaces_known_secrets_and_leaves_short_ones():
    redact = Redactor()
    redact.add({"hunter2hunter2", "abc", "line one\nline two"})
    assert redact("x hunter2hunter2 abc y") == "x [secret] abc y"
    assert "line two" not in redact("... line two ...")
