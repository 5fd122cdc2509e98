"""Policy configuration: layers, defaults, validation and what is said of mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.policy.config import Schema, Setting, load, reconcile, unknown_policies
from engine.policy.model import PolicyError

PORTS = Schema(
    "ports",
    "mandatory",
    {"low": {"type": "number", "default": 9000}, "names": {"type": "array", "items": {"type": "string"}}},
    ["low"],
)
LABELS = Schema("labels", "advisory")


@pytest.mark.parametrize(
    ("initial", "given", "expected"),
    [
        ({}, {}, {"ports": Setting("mandatory", {"low": 9000}), "labels": Setting("advisory", {})}),
        ({"ports": Setting("disabled")}, {}, {"ports": Setting("disabled", {"low": 9000})}),
        (
            {"ports": Setting("disabled")},
            {"ports": Setting("", {"low": 1})},
            {"ports": Setting("disabled", {"low": 1})},
        ),
        ({}, {"all": Setting("disabled"), "ports": Setting("mandatory")}, {"labels": Setting("disabled", {})}),
        ({"all": Setting("disabled")}, {"all": Setting("remediate")}, {"ports": Setting("remediate", {"low": 9000})}),
        ({}, {"labels": Setting("", {"team": "x"})}, {"labels": Setting("advisory", {"team": "x"})}),
    ],
)
def test_later_layers_win_and_all_comes_before_a_policy_of_its_own(
    initial: dict[str, Setting], given: dict[str, Setting], expected: dict[str, Setting]
) -> None:
    assert expected.items() <= reconcile([PORTS, LABELS], initial, given, "f").items()


def test_everything_wrong_is_said_at_once_with_file_policy_and_key() -> None:
    given = {"ports": Setting("", {"low": "x", "names": ["a", 3]})}
    with pytest.raises(PolicyError) as caught:
        reconcile([PORTS], {}, given, "policy.json")
    lines = str(caught.value).splitlines()
    assert [line.rsplit(": ", 1)[0] for line in lines] == ["policy.json: ports.low", "policy.json: ports.names.1"]
    assert "'x' is not of type 'number'" in lines[0]


def test_a_required_key_is_missed() -> None:
    schema = Schema("ports", "mandatory", {}, ["low"])
    with pytest.raises(PolicyError, match=r"policy\.json: ports: 'low' is a required property"):
        reconcile([schema], {}, {}, "policy.json")


def test_settings_for_policies_that_do_not_exist_are_found() -> None:
    assert unknown_policies([PORTS], {"port": Setting("disabled"), "all": Setting("mandatory")}) == ["port"]


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("c.json", '{"a": "mandatory", "b": {"enforcementLevel": "disabled", "x": 1}}', ("mandatory", {"x": 1})),
        (
            "c.json",
            '{\n\t"a": "mandatory",\n\t"b": {"enforcementLevel": "disabled", "x": 1}\n}',
            ("mandatory", {"x": 1}),
        ),
        ("c.yaml", "a: mandatory\nb: {enforcementLevel: disabled, x: 1}\n", ("mandatory", {"x": 1})),
    ],
)
def test_files(tmp_path: Path, name: str, text: str, expected: tuple[str, dict[str, int]]) -> None:
    (tmp_path / name).write_text(text)
    config = load(tmp_path / name)
    assert (config["a"].level, config["b"].properties) == expected
    assert config["b"].level == "disabled"


def test_an_empty_file_is_no_configuration(tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text("\n")
    assert load(tmp_path / "c.json") == {}


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("c.json", '{"a": }', r"c\.json:1: not valid JSON"),
        ("c.yaml", "a: [", r"c\.yaml:\d+: not valid YAML"),
        ("c.json", "[1]", "a list"),
        ("c.json", '{"ports": "strict"}', r"c\.json: ports: 'strict' is not an enforcement level; use one of advisory"),
        ("c.json", '{"ports": {"enforcementLevel": 3}}', r"ports\.enforcementLevel: 3 is not"),
        ("c.json", '{"ports": 3}', "ports: must be a level or an object, got a number"),
    ],
)
def test_mistakes_name_their_place(tmp_path: Path, name: str, text: str, words: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(PolicyError, match=words):
        load(tmp_path / name)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="cannot read the policy pack configuration"):
        load(tmp_path / "none.json")
