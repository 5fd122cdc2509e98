"""Secrets that must not leave the process: every value read from a secret file is replaced in all log output."""

from __future__ import annotations

import json
import threading

PLACEHOLDER = "[redacted]"

# Shorter values would be found by chance in ordinary text and make the logs unreadable; no real secret is that short.
SHORTEST = 4

_lock = threading.Lock()
_hidden: dict[str, None] = {}


def hide(value: str) -> None:
    """Replaces `value` in every log line from now on, also in its JSON-escaped form."""
    if len(value) < SHORTEST:
        return
    with _lock:
        for form in (value, json.dumps(value)[1:-1], repr(value)[1:-1]):
            _hidden.setdefault(form)


def clean(text: str) -> str:
    """`text` without any hidden value. Longer values first, so that a secret within another leaves no remainder."""
    for value in sorted(_hidden, key=len, reverse=True):
        text = text.replace(value, PLACEHOLDER)
    return text
