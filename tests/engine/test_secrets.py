"""Encryption as the CLI's passphrase provider does it."""

from __future__ import annotations

import pytest

from engine import secrets
from engine.secrets import PassphraseCrypter, SecretsError, passphrase


def test_new_keys_encrypt_and_decrypt():
    crypter = PassphraseCrypter.new("correct horse")
    sealed = crypter.encrypt("battery staple")
    assert sealed.startswith("v1:") and "battery" not in sealed
    assert PassphraseCrypter("correct horse", crypter.state).decrypt(sealed) == "battery staple"


def test_unchanged_plaintext_keeps_its_ciphertext():
    crypter = PassphraseCrypter.new("x")
    again = PassphraseCrypter("x", crypter.state)
    sealed = crypter.encrypt("value")
    assert again.decrypt(sealed) == "value" and again.encrypt("value") == sealed == crypter.encrypt("value")


def test_wrong_passphrase_and_tampering_are_clear_errors():
    crypter = PassphraseCrypter.new("right")
    with pytest.raises(SecretsError, match="incorrect passphrase"):
        PassphraseCrypter("wrong", crypter.state)
    sealed = crypter.encrypt("value")
    for broken in (sealed[:-6] + "AAAA==", "v1:xx", "v2:a:b", ""):
        with pytest.raises(SecretsError, match="cannot be decrypted") as caught:
            PassphraseCrypter("right", crypter.state).decrypt(broken)
        assert "value" not in str(caught.value)
    for cut in ("v9:a:b", "v1:a:b", "v1:QUJD", "", crypter.state[:-9]):
        with pytest.raises(SecretsError, match="encryption salt|incorrect passphrase"):
            PassphraseCrypter("right", cut)


def test_where_the_passphrase_comes_from(tmp_path):
    file = tmp_path / "pass"
    file.write_text("from file\n")
    assert passphrase({"PULUMI_CONFIG_PASSPHRASE": "", "PULUMI_CONFIG_PASSPHRASE_FILE": str(file)}) == ""
    assert passphrase({"PULUMI_CONFIG_PASSPHRASE_FILE": str(file)}) == "from file"
    with pytest.raises(SecretsError, match="passphrase must be set"):
        passphrase({}, interactive=False)
    with pytest.raises(SecretsError, match="No such file"):
        passphrase({"PULUMI_CONFIG_PASSPHRASE_FILE": str(tmp_path / "none")})


def test_a_terminal_is_asked_once_a_command_and_twice_for_a_new_passphrase(monkeypatch):
    asked, answers = [], ["typed", "typed", "one", "other"]
    monkeypatch.setattr(secrets.getpass, "getpass", lambda prompt: asked.append(prompt) or answers[len(asked) - 1])
    secrets._asked.cache_clear()
    assert [passphrase({}, interactive=True, new=True) for _ in range(3)] == ["typed"] * 3 and len(asked) == 2
    secrets._asked.cache_clear()
    with pytest.raises(SecretsError, match="not the same"):
        passphrase({}, interactive=True, new=True)
    secrets._asked.cache_clear()
