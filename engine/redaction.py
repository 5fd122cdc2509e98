"""The last line of defence: known secret texts never pass into what is printed."""

from __future__ import annotations

from collections.abc import Iterable

SHORTEST = 4
"""Characters from which a secret is filtered: shorter ones occur everywhere and their removal would betray them."""


class Redactor:
    """Replaces every known secret in a text by `[secret]`, also line by line for secrets of several lines."""

    def __init__(self) -> None:
        self._known: set[str] = set()
        self._ordered: list[str] = []

    def add(self, secrets: Iterable[str]) -> None:
        for secret in secrets:
            self._known.update(part for part in (secret, *secret.splitlines()) if len(part.strip()) >= SHORTEST)
        self._ordered = sorted(self._known, key=len, reverse=True)

    def __call__(self, text: str) -> str:
        for secret in self._ordered:
            if secret in text:
                text = text.replace(secret, "[secret]")
        return text
