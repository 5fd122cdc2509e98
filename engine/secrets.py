"""The passphrase secrets provider: Pulumi's own encryption of secrets in state and stack configuration.

Format (pulumi: pkg/secrets/passphrase): the key is PBKDF2-HMAC-SHA256 of the passphrase with an 8-byte salt, 1,000,000
rounds; a ciphertext is `v1:<nonce>:<AES-256-GCM>` in base64; a state `v1:<salt>:<ciphertext of "pulumi">`.
"""

from __future__ import annotations

import base64
import functools
import getpass
import hashlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_ROUNDS = 1_000_000
_PROBE = "pulumi"
VARIABLE = "PULUMI_CONFIG_PASSPHRASE"
FILE_VARIABLE = "PULUMI_CONFIG_PASSPHRASE_FILE"


class SecretsError(Exception):
    """A secret cannot be encrypted or decrypted; the message says what to do and never holds a secret."""


class PassphraseCrypter:
    """Encrypts and decrypts with one key.

    A plaintext that was seen before gets the same ciphertext again, so that a program's unchanged secrets do not rewrite the
    state. The price: two new secrets that are equal show that they are; values read from a state keep their own ciphertexts.
    """

    def __init__(self, passphrase: str, state: str) -> None:
        """Raises SecretsError when the passphrase does not belong to the state."""
        parts = state.split(":", 2)
        try:
            if len(parts) != 3 or parts[0] != "v1":
                raise ValueError(parts[0])
            salt = base64.b64decode(parts[1], validate=True)
        except ValueError:
            raise SecretsError(
                f"encryption salt {state[:12]!r}…: is not one of the passphrase provider's, v1:<salt>:<probe>; was it cut short?"
            ) from None
        self.state = state
        self._gcm = AESGCM(_derived(passphrase, salt))
        self._ciphertexts: dict[str, str] = {}
        try:
            matches = self._open(parts[2]) == _PROBE
        except (InvalidTag, ValueError):
            matches = False
        if not matches:
            raise SecretsError(
                f"incorrect passphrase: {VARIABLE} (or the file in {FILE_VARIABLE}) is not the one this stack was made with."
            )

    @classmethod
    def new(cls, passphrase: str) -> PassphraseCrypter:
        """A crypter with a fresh salt."""
        salt = os.urandom(8)
        gcm = AESGCM(_derived(passphrase, salt))
        crypter = cls.__new__(cls)
        crypter._gcm, crypter._ciphertexts = gcm, {}
        crypter.state = f"v1:{base64.b64encode(salt).decode()}:{crypter._seal(_PROBE)}"
        return crypter

    def encrypt(self, plaintext: str) -> str:
        if plaintext not in self._ciphertexts:
            self._ciphertexts[plaintext] = self._seal(plaintext)
        return self._ciphertexts[plaintext]

    def decrypt(self, ciphertext: str) -> str:
        """Raises SecretsError when it was made with another key or was tampered with."""
        try:
            plaintext = self._open(ciphertext)
        except (InvalidTag, ValueError, IndexError):
            raise SecretsError("a secret cannot be decrypted: it was made with another key, or it was changed.") from None
        self._ciphertexts.setdefault(plaintext, ciphertext)
        return plaintext

    def known(self) -> set[str]:
        """Every plaintext seen so far, for the filter of what is printed."""
        return set(self._ciphertexts)

    def _seal(self, plaintext: str) -> str:
        nonce = os.urandom(12)
        sealed = self._gcm.encrypt(nonce, plaintext.encode(), None)
        return f"v1:{base64.b64encode(nonce).decode()}:{base64.b64encode(sealed).decode()}"

    def _open(self, ciphertext: str) -> str:
        version, nonce, sealed = ciphertext.split(":")
        if version != "v1":
            raise ValueError(version)
        return self._gcm.decrypt(base64.b64decode(nonce), base64.b64decode(sealed), None).decode()


@functools.lru_cache(maxsize=8)
def _derived(passphrase: str, salt: bytes) -> bytes:
    """The key. Takes 0.3 s on purpose, so it is kept for the preview and the update of one command."""
    return hashlib.pbkdf2_hmac("sha256", passphrase.encode(), salt, _ROUNDS, 32)


def passphrase(environment: Mapping[str, str] | None = None, *, interactive: bool | None = None, new: bool = False) -> str:
    """The passphrase from the environment, from a file, or asked for: twice where it is `new`. Set but empty is one, as for the CLI.

    Raises SecretsError when there is none.
    """
    env = os.environ if environment is None else environment
    if VARIABLE in env:
        return env[VARIABLE]
    if env.get(FILE_VARIABLE):
        path = Path(env[FILE_VARIABLE])
        try:
            return path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "is not text"
            raise SecretsError(f"{FILE_VARIABLE}: {path}: {reason}. Name a file that can be read.") from None
    if sys.stdin.isatty() if interactive is None else interactive:
        return _asked(new)
    raise SecretsError(f"passphrase must be set with {VARIABLE} or {FILE_VARIABLE} environment variables")


@functools.lru_cache(maxsize=1)
def _asked(new: bool) -> str:
    """Asks once a command, however many of its parts want to know."""
    purpose = "protect" if new else "unlock"
    try:
        given = getpass.getpass(f"Enter your passphrase to {purpose} config/secrets\n    (set {VARIABLE} to remember): ")
        if new and getpass.getpass("Re-enter your passphrase to confirm: ") != given:
            raise SecretsError("the two passphrases are not the same; nothing was done.")
    except EOFError:
        raise SecretsError(f"no passphrase was entered; set it with {VARIABLE} or {FILE_VARIABLE}.") from None
    return given
