"""State as JSON: what the real CLI wrote reads and writes back the same."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.checkpoint import (
    CheckpointError,
    decode_deployment,
    decode_value,
    deployment_of,
    encode_deployment,
    encode_value,
    integrity_errors,
    salt_of,
)
from engine.model import ResourceState, Snapshot
from engine.secrets import PassphraseCrypter
from engine.values import UNKNOWN, Archive, Asset, ResourceRef, Secret
from tests.engine.recordings import PASSPHRASE, load, runs


@pytest.fixture(scope="module")
def crypters():
    """A key derivation takes a third of a second; one for each salt is enough."""
    made: dict[str, PassphraseCrypter] = {}

    def of(salt: str) -> PassphraseCrypter:
        return made.setdefault(salt, PassphraseCrypter(PASSPHRASE, salt)) if salt not in made else made[salt]

    return of


@pytest.mark.parametrize(("program", "run"), runs())
def test_states_of_the_real_cli_round_trip(program, run, crypters):
    state = load(program, run)["state"]
    crypter = crypters(salt_of(state))
    snapshot = decode_deployment(deployment_of(state), crypter)
    assert integrity_errors(snapshot) == []
    again = encode_deployment(snapshot, crypter)
    assert again["resources"] == state["deployment"]["resources"]
    assert again["secrets_providers"] == state["deployment"]["secrets_providers"]
    assert list(again) == list(state["deployment"])


class Rot13:
    """An obvious cipher, for speed."""

    state = "v1:x:y"

    def encrypt(self, plaintext: str) -> str:
        return plaintext[::-1]

    def decrypt(self, ciphertext: str) -> str:
        return ciphertext[::-1]


LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**50), 2**50),
    st.text(max_size=8),
    st.just(UNKNOWN),
    st.builds(ResourceRef, st.text(min_size=1), st.one_of(st.none(), st.text())),
    st.builds(Asset, st.text(), text=st.text()),
    st.builds(Archive, st.text(), path=st.text()),
)
KEYS = st.text(min_size=1, max_size=5)
VALUES = st.recursive(
    LEAVES, lambda v: st.one_of(st.lists(v, max_size=3), st.dictionaries(KEYS, v, max_size=3), st.builds(Secret, LEAVES)), max_leaves=10
)


@given(VALUES)
def test_values_round_trip_through_json(value):
    text = json.dumps(encode_value(value, Rot13()))
    assert decode_value(json.loads(text), Rot13()) == value


@given(st.text(min_size=6).filter(lambda t: json.dumps(t)[::-1] not in json.dumps(t)))
def test_secrets_are_never_plain_in_json(secret):
    encoded = json.dumps(encode_value({"a": [Secret({"b": secret})]}, Rot13()), ensure_ascii=False)
    assert secret not in encoded


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"version": 4, "features": ["hooks"], "deployment": {}}, "version 4 .features: hooks"),
        ({"version": 2, "deployment": {}}, "version 2"),
        ({"version": 3, "deployment": {"secrets_providers": {"type": "cloud"}}}, "'cloud'"),
    ],
)
def test_states_that_cannot_be_used_say_why(document, message):
    with pytest.raises(CheckpointError, match=message):
        salt_of(document)


def test_fields_of_a_newer_pulumi_survive():
    encoded = {"urn": "u", "custom": False, "type": "t", "somethingNew": {"x": [1]}}
    deployment = {"resources": [encoded]}
    snapshot = decode_deployment(deployment, Rot13())
    assert encode_deployment(snapshot, Rot13())["resources"] == [encoded]


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"parent": "urn:none"}, "parent urn:none is missing or later"),
        ({"dependencies": ["urn:none"]}, "dependency urn:none"),
        ({"property_dependencies": {"a": ["urn:none"]}}, "property dependency urn:none"),
        ({"provider": "urn:none::id"}, "provider urn:none"),
        ({"id": "x"}, "a component has an id"),
    ],
)
def test_integrity_names_what_is_wrong(changes, error):
    broken = ResourceState("urn:a", "t").copy(**changes)
    assert error in integrity_errors(Snapshot([broken]))[0]
