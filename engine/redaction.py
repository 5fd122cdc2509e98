"""The last line of defence: known secret texts never pass into what is printed."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from typing import Any

SHORTEST = 4
"""Characters from which a secret is filtered: shorter ones occur everywhere and their removal would betray them."""


class Redactor:
    """Replaces every known secret in a text by `[secret]`, also line by line for secrets of several lines.

    A secret is also found as it looks inside JSON and in base64, which is how Kubernetes holds it. It is not a proof: what a
    program does to a secret before it prints it cannot be known.
    """

    def __init__(self) -> None:
        self._known: set[str] = set()
        self._ordered: list[str] = []

    def add(self, secrets: Iterable[str]) -> None:
        before = len(self._known)
        for secret in secrets:
            for part in (secret, *secret.splitlines()):
                if len(part.strip()) >= SHORTEST:
                    self._known |= {part, json.dumps(part, ensure_ascii=False)[1:-1], base64.b64encode(part.encode()).decode()}
        if len(self._known) != before:
            self._ordered = sorted(self._known, key=len, reverse=True)

    def __call__(self, text: str) -> str:
        for secret in self._ordered:
            if secret in text:
                text = text.replace(secret, "[secret]")
        return text

    def within(self, value: Any) -> Any:
        """A JSON value with every text in it filtered; numbers and structure stay, so that it is JSON afterwards."""
        if isinstance(value, str):
            return self(value)
        if isinstance(value, dict):
            return {key: self.within(v) for key, v in value.items()}
        return [self.within(v) for v in value] if isinstance(value, list) else value
