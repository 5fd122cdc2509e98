"""RandomProvider against what pulumi-resource-random 4.21 was seen to do."""

from __future__ import annotations

import base64
import re
import string
import threading
import uuid
from typing import Any

import bcrypt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.provider import Call, Changes, ProviderError
from engine.providers.random import RandomProvider
from engine.providers.random_go import GoRandom, crc64_iso
from engine.values import UNKNOWN, Secret, reveal

PROVIDER = RandomProvider()
NULL = Secret({"replace": {"raw": None}})


def call(kind: str, *, preview: bool = False) -> Call:
    return Call(f"urn:pulumi:dev::p::random:index/{kind[0].lower()}{kind[1:]}:{kind}::x", preview, threading.Event())


def create(kind: str, **inputs: Any) -> Any:
    return PROVIDER.create(call(kind), inputs)


def failures(kind: str, **inputs: Any) -> list[tuple[str, str]]:
    return [(f.property, f.reason) for f in PROVIDER.check(call(kind), None, inputs, b"").failures]


def diff(kind: str, old: dict[str, Any], new: dict[str, Any]) -> Any:
    created = create(kind, **old)
    return PROVIDER.diff(call(kind), created.id, old, created.outputs, new, [])


TEXT = {"lower": True, "minLower": 0, "minNumeric": 0, "minSpecial": 0, "minUpper": 0, "number": True, "numeric": True}


def test_a_password_is_recorded_as_the_real_provider_records_it() -> None:
    created = create("RandomPassword", length=20, special=False)
    text = created.outputs.pop("result").value
    hashed = created.outputs.pop("bcryptHash").value
    assert re.fullmatch(r"[A-Za-z0-9]{20}", text)
    assert hashed.startswith("$2a$10$") and bcrypt.checkpw(text.encode(), hashed.encode())
    assert created.id == "none"
    assert created.outputs == {
        **TEXT,
        "__meta": '{"schema_version":"3"}',
        "__pulumi_raw_state_delta": {"obj": {"ps": {"keepers": NULL, "overrideSpecial": NULL}}},
        "id": "none",
        "length": 20,
        "special": False,
        "upper": True,
    }


def test_preview_shows_defaults_and_leaves_the_value_open() -> None:
    created = PROVIDER.create(call("RandomPassword", preview=True), {"length": 20, "special": False})
    open_secret = Secret(UNKNOWN)
    expected = {**TEXT, "id": UNKNOWN, "length": 20, "special": False, "upper": True}
    assert created.id == ""
    assert created.outputs == {**expected, "result": open_secret, "bcryptHash": open_secret}


@pytest.mark.parametrize(
    ("kind", "inputs", "outputs", "delta"),
    [
        (
            "RandomString",
            {"length": 9},
            {"length": 9, "special": True},
            {"ps": {"keepers": NULL, "overrideSpecial": NULL}},
        ),
        ("RandomPet", {"length": 2}, {"length": 2, "separator": "-"}, {"ps": {"keepers": NULL, "prefix": NULL}}),
        ("RandomUuid", {"keepers": {"a": "b"}}, {"keepers": {"a": "b"}}, {"ps": {"keepers": {"map": {}}}}),
        ("RandomInteger", {"min": 1, "max": 6}, {"min": 1, "max": 6}, {"ps": {"keepers": NULL, "seed": NULL}}),
        ("RandomBytes", {"length": 4}, {"length": 4}, {"ps": {"keepers": NULL}}),
        (
            "RandomShuffle",
            {"inputs": ["a", "b"], "seed": "s"},
            {"id": "-", "inputs": ["a", "b"], "seed": "s"},
            {
                "renamed": {"inputs": "input", "results": "result"},
                "ps": {"keepers": NULL, "resultCount": NULL, "inputs": {"arr": {}}, "results": {"arr": {}}},
            },
        ),
    ],
)
def test_outputs_and_state_delta(kind: str, inputs: dict[str, Any], outputs: dict[str, Any], delta: dict[str, Any]) -> None:
    created = create(kind, **inputs)
    assert outputs.items() <= created.outputs.items()
    assert created.outputs["__pulumi_raw_state_delta"] == {"obj": delta}


def test_an_id_in_all_its_spellings() -> None:
    outputs = create("RandomId", byteLength=8, prefix="p-").outputs
    data = bytes.fromhex(outputs["hex"].removeprefix("p-"))
    assert len(data) == 8
    assert outputs["b64Std"] == "p-" + base64.b64encode(data).decode()
    assert outputs["b64Url"] == "p-" + outputs["id"]
    assert outputs["dec"] == f"p-{int.from_bytes(data, 'big')}"
    assert base64.urlsafe_b64decode(outputs["id"] + "=") == data


def test_bytes_are_secret_and_name_the_resource() -> None:
    created = create("RandomBytes", length=16)
    data = bytes.fromhex(created.outputs["hex"].value)
    assert created.id == created.outputs["base64"].value == base64.b64encode(data).decode()
    assert "id" not in created.outputs


@pytest.mark.parametrize(("kind", "version"), [("RandomUuid", 4), ("RandomUuid4", 4), ("RandomUuid7", 7)])
def test_uuids(kind: str, version: int) -> None:
    created = create(kind)
    parsed = uuid.UUID(created.outputs["result"])
    assert (parsed.version, parsed.variant, created.id) == (version, uuid.RFC_4122, str(parsed))


def test_pet_words_and_prefix() -> None:
    created = create("RandomPet", length=3, prefix="my", separator="_")
    assert re.fullmatch(r"my(_[a-z]+){3}", created.id)


@given(st.integers(1, 8), st.integers(0, 3), st.integers(0, 3), st.integers(0, 3), st.booleans())
def test_text_keeps_every_minimum(extra: int, upper: int, digits: int, special: int, lower: bool) -> None:
    length = upper + digits + special + extra
    text = create(
        "RandomString",
        length=length,
        minUpper=upper,
        minNumeric=digits,
        minSpecial=special,
        lower=lower,
        overrideSpecial="_%",
    ).outputs["result"]
    assert len(text) == length
    assert sum(c in string.ascii_uppercase for c in text) >= upper
    assert sum(c in string.digits for c in text) >= digits
    assert sum(c in "_%" for c in text) >= special
    assert set(text) <= set(string.ascii_letters if lower else string.ascii_uppercase) | set(string.digits) | set("_%")


@pytest.mark.parametrize(
    ("kind", "inputs", "property_", "words"),
    [
        ("RandomString", {}, "length", "Missing required"),
        ("RandomString", {"length": 0}, "length", "at least 1"),
        ("RandomString", {"length": 3, "minUpper": 2, "minLower": 2}, "length", "4, got: 3"),
        ("RandomString", {"length": "long"}, "length", "whole number"),
        ("RandomString", {"length": 1.5}, "length", "whole number"),
        ("RandomString", {"length": 8, "numeric": True, "number": False}, "number", "numeric"),
        (
            "RandomString",
            dict.fromkeys(("upper", "lower", "numeric", "special"), False) | {"length": 2},
            "special",
            "at least one",
        ),
        ("RandomString", {"length": 8, "result": "x"}, "result", "set by the provider"),
        ("RandomPet", {"lenght": 2}, "lenght", "not a property"),
        ("RandomUuid", {"keepers": "x"}, "keepers", "map"),
        ("RandomShuffle", {"inputs": [1]}, "inputs", "list of strings"),
        ("RandomId", {"byteLength": 0}, "byteLength", "at least 1"),
    ],
)
def test_check_names_the_property(kind: str, inputs: dict[str, Any], property_: str, words: str) -> None:
    [(name, reason)] = failures(kind, **inputs)
    assert name == property_
    assert words in reason


def test_check_accepts_unknowns_and_adds_nothing() -> None:
    inputs = {"length": UNKNOWN, "minUpper": 3, "keepers": Secret({"a": UNKNOWN})}
    checked = PROVIDER.check(call("RandomString"), None, inputs, b"")
    assert checked.inputs == inputs
    assert not checked.failures


@pytest.mark.parametrize(
    ("kind", "old", "new", "diffs", "replaces"),
    [
        ("RandomString", {"length": 8}, {"length": 8}, [], []),
        ("RandomString", {"length": 8}, {"length": 8, "special": True}, [], []),
        ("RandomString", {"length": 8}, {"length": 10}, ["length"], ["length"]),
        ("RandomString", {"length": 8, "special": False}, {"length": 8}, ["special"], ["special"]),
        ("RandomString", {"length": 8}, {"length": 8, "number": False}, ["number", "numeric"], ["number", "numeric"]),
        ("RandomString", {"length": 8, "number": False}, {"length": 8, "numeric": False}, [], []),
        ("RandomString", {"length": 8, "overrideSpecial": ""}, {"length": 8}, ["overrideSpecial"], []),
        ("RandomString", {"length": 8}, {"length": UNKNOWN}, ["length"], ["length"]),
        ("RandomUuid", {"keepers": {"a": "1"}}, {"keepers": {"a": "2"}}, ["keepers"], ["keepers"]),
        ("RandomUuid", {"keepers": {"a": "1"}}, {}, ["keepers"], ["keepers"]),
        ("RandomUuid", {}, {"keepers": {}}, ["keepers"], []),
        ("RandomShuffle", {"inputs": ["a"]}, {"inputs": ["b"]}, ["inputs"], ["inputs"]),
    ],
)
def test_diff(kind: str, old: dict[str, Any], new: dict[str, Any], diffs: list[str], replaces: list[str]) -> None:
    found = diff(kind, old, new)
    assert found.changes is (Changes.SOME if diffs else Changes.NONE)
    assert (found.diffs, found.replaces, found.detailed) == (diffs, replaces, None)


def test_update_keeps_the_value() -> None:
    old = {"length": 8, "overrideSpecial": ""}
    created = create("RandomString", **old)
    updated = PROVIDER.update(call("RandomString"), created.id, old, created.outputs, {"length": 8}, [])
    assert updated["result"] == created.outputs["result"]
    assert updated["__pulumi_raw_state_delta"]["obj"]["ps"]["overrideSpecial"] == NULL


@pytest.mark.parametrize(
    ("kind", "import_id", "id_", "outputs"),
    [
        ("RandomPassword", "hunter22", "none", {"result": "hunter22", "length": 8, "special": True}),
        ("RandomString", "abc", "abc", {"result": "abc", "length": 3}),
        ("RandomBytes", "AAEC", "AAEC", {"hex": "000102", "length": 3}),
        ("RandomId", "p-,775xS37Bt_o", "775xS37Bt_o", {"prefix": "p-", "b64Std": "p-775xS37Bt/o=", "byteLength": 8}),
        ("RandomInteger", "5,1,9,seed", "5", {"result": 5, "min": 1, "max": 9, "seed": "seed"}),
        ("RandomUuid", "C5D1F0A2-0000-4000-8000-000000000000", "c5d1f0a2-0000-4000-8000-000000000000", {}),
    ],
)
def test_read_by_id(kind: str, import_id: str, id_: str, outputs: dict[str, Any]) -> None:
    read = PROVIDER.read(call(kind), import_id, None, None)
    assert read.id == id_
    assert outputs.items() <= reveal(read.outputs).items()
    assert PROVIDER.diff(call(kind), read.id, read.inputs, read.outputs, read.inputs, []).changes is Changes.NONE


def test_refresh_changes_nothing() -> None:
    inputs = {"length": 12}
    created = create("RandomPassword", **inputs)
    read = PROVIDER.read(call("RandomPassword"), created.id, inputs, created.outputs)
    assert (read.id, read.inputs, read.outputs) == (created.id, inputs, created.outputs)


@pytest.mark.parametrize(
    ("kind", "import_id", "words"),
    [
        ("RandomPet", "x", "cannot be imported"),
        ("RandomInteger", "1,2", "result,min,max"),
        ("RandomUuid", "no", "not a UUID"),
        ("RandomBytes", "s3cr?t", "not base64"),
    ],
)
def test_what_cannot_be_read_is_said(kind: str, import_id: str, words: str) -> None:
    with pytest.raises(ProviderError, match=words):
        PROVIDER.read(call(kind), import_id, None, None)


def test_the_error_for_wrong_secret_bytes_does_not_show_them() -> None:
    with pytest.raises(ProviderError) as caught:
        PROVIDER.read(call("RandomBytes"), "s3cr?t", None, None)
    assert "s3cr" not in str(caught.value)


def test_what_is_made_of_a_secret_is_secret() -> None:
    prefix = Secret("hidden-")
    outputs = create("RandomId", byteLength=4, prefix=prefix).outputs
    assert outputs["prefix"] == prefix
    assert all(isinstance(outputs[name], Secret) for name in ("b64Url", "b64Std", "hex", "dec"))
    assert "hidden" not in repr(outputs)
    assert isinstance(create("RandomShuffle", inputs=[Secret("a"), "b"]).outputs["results"], Secret)


def test_secret_keepers_stay_secret_and_spoil_nothing_else() -> None:
    keepers = {"a": Secret("x"), "b": "y"}
    created = create("RandomUuid", keepers=keepers)
    assert created.outputs["keepers"] == keepers
    assert created.outputs["result"] == created.id
    read = PROVIDER.read(call("RandomUuid"), created.id, {"keepers": keepers}, created.outputs)
    assert (read.inputs, read.outputs) == ({"keepers": keepers}, created.outputs)
    same = PROVIDER.diff(call("RandomUuid"), created.id, {}, created.outputs, {"keepers": {"a": "x", "b": Secret("y")}}, [])
    assert same.changes is Changes.NONE


def test_min_above_max_fails() -> None:
    with pytest.raises(ProviderError, match="min"):
        create("RandomInteger", min=3, max=2)


@given(st.integers(-50, 50), st.integers(0, 50))
def test_integers_are_in_range(low: int, span: int) -> None:
    assert low <= create("RandomInteger", min=low, max=low + span).outputs["result"] <= low + span


# Made with Go 1.26: rand.New(rand.NewSource(int64(crc64 of the seed))), Intn(100), Intn(1<<40+7), Intn(1e9+7), Perm(8).
GO = [
    ("a", 3756002089226993664, 82, 513272940775),
    ("sophia", 3754199159333994496, 74, 964120760101),
    ("12345", 5018153484283805696, 43, 395404767010),
]


@pytest.mark.parametrize(("seed", "crc", "small", "large"), GO)
def test_seeded_numbers_are_those_of_go(seed: str, crc: int, small: int, large: int) -> None:
    generator = GoRandom(seed)
    assert crc64_iso(seed.encode()) == crc
    assert generator.below(100) == small
    generator.below(1 << 20)
    generator.below(1 << 40)
    assert generator.below((1 << 40) + 7) == large


def test_a_seeded_permutation_is_that_of_go() -> None:
    generator = GoRandom("seed")
    for limit in (100, 1 << 20, 1 << 40, (1 << 40) + 7, 1000000007):
        generator.below(limit)
    assert generator.permutation(8) == [3, 5, 2, 0, 6, 4, 7, 1]


def test_a_seed_gives_the_same_result_again_and_repeats_fill_up() -> None:
    first = create("RandomShuffle", inputs=["a", "b", "c"], resultCount=7, seed="s").outputs["results"]
    assert first == create("RandomShuffle", inputs=["a", "b", "c"], resultCount=7, seed="s").outputs["results"]
    assert [sorted(first[:3]), sorted(first[3:6]), len(first)] == [["a", "b", "c"], ["a", "b", "c"], 7]


def test_an_unknown_type_needs_the_cli() -> None:
    with pytest.raises(ProviderError, match="needs the pulumi CLI"):
        create("RandomColour")
