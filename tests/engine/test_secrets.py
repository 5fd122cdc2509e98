"""Encryption as the CLI's passphrase provider does it."""

from __future__ import annotations

import pytest

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
    with pytest.raises(SecretsError, match="unsupported"):
        PassphraseCrypter("right", "v9:a:b")


def test_where_the_passphrase_comes_from(tmp_path):
    file = tmp_path / "pass"
    file.write_text("from file\n")
    assert passphrase({"PULUMI_CONFIG_PASSPHRASE": "", "PULUMI_CONFIG_PASSPHRASE_FILE": str(file)}) == ""
    assert passphrase({"PULUMI_CONFIG_PASSPHRASE_FILE": str(file)}) == "from file"
    with pytest.raises(SecretsError, match="passphrase must be set"):
        passphrase({}, interactive=False)
    with pytest.raises(SecretsError, match="No such file"):
        passphrase({"PULUMI_CONFIG_PASSPHRASE_FILE": str(tmp_path / "none")})
