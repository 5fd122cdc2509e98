"""Which color a line of output has; the text says everything without it."""

from __future__ import annotations

import re

_BY_SYMBOL = {"+": "green", "~": "yellow", "-": "red", "=": "cyan", ">": "cyan", "<": "cyan"}
_HEADINGS = {"Policies:", "Diagnostics:", "Outputs:", "Resources:"}
_MARKED = (("[mandatory]", "red"), ("[advisory]", "yellow"), ("[remediate]", "cyan"), ("error: ", "red"), ("warning: ", "yellow"))
_CHANGE = re.compile(r" +(\+-|\+\+|--|>>|<<|=>|[-+~=<>])(?: |\d)")
_ANSI = {"red": "31", "green": "32", "yellow": "33", "cyan": "36", "bold": "1", "bold red": "1;31"}


def style(line: str) -> str:
    """`green`, `bold red`, …; empty for plain text."""
    if line in _HEADINGS:
        return "bold"
    if line.endswith("failed**"):
        return "bold red"
    for mark, color in _MARKED:
        if line.lstrip().removeprefix("- ").startswith(mark):
            return color
    change = _CHANGE.match(line)
    return _BY_SYMBOL[change[1][0]] if change else ""


def paint(line: str) -> str:
    """The line with the terminal's codes for its color."""
    code = _ANSI.get(style(line))
    return f"\x1b[{code}m{line}\x1b[0m" if code else line
