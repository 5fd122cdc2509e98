"""Reads where this machine's apt gets its packages from: both of apt's formats, nothing executed."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

APT = Path("/etc/apt")

# Suites that add to another one and cannot be installed from alone.
_ADDITIONS = ("-updates", "-security", "-backports", "-proposed-updates", "/updates")


@dataclass(frozen=True)
class Source:
    """One archive of packages."""

    uri: str
    """Address of the mirror."""
    suite: str
    """Name of the release, such as "bookworm" or "stable"."""
    keyring: str | None = None
    """File with the keys that sign it, where the source names one."""

    @property
    def is_release(self) -> bool:
        """Whether a whole system can be installed from it."""
        return not self.suite.endswith(_ADDITIONS)


def sources(apt: Path = APT) -> list[Source]:
    """All enabled sources of binary packages, in apt's own order of files."""
    found: list[Source] = []
    plain = apt / "sources.list"
    if plain.is_file():
        found += one_line_style(plain.read_text(encoding="utf-8"))
    folder = apt / "sources.list.d"
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.suffix == ".list":
            found += one_line_style(path.read_text(encoding="utf-8"))
        elif path.suffix == ".sources":
            found += deb822_style(path.read_text(encoding="utf-8"))
    return found


def one_line_style(text: str) -> Iterator[Source]:
    """`deb [signed-by=FILE] URI SUITE COMPONENT…`, one a line; malformed lines are apt's to complain about."""
    for line in text.splitlines():
        words = shlex.split(line, comments=True)
        if not words or words[0] != "deb":
            continue
        rest, options = words[1:], {}
        if rest and rest[0].startswith("["):
            end = next((index for index, word in enumerate(rest) if word.endswith("]")), None)
            if end is None:
                continue
            inside = " ".join(rest[: end + 1]).strip("[] ")
            options = dict(option.split("=", 1) for option in inside.split() if "=" in option)
            rest = rest[end + 1 :]
        if len(rest) >= 2 and _fetchable(rest[0]):
            yield Source(rest[0], rest[1], _key_file(options.get("signed-by", "")))


def deb822_style(text: str) -> Iterator[Source]:
    """Paragraphs of `Field: value`, continued by indented lines."""
    for paragraph in _paragraphs(text):
        if "deb" not in paragraph.get("types", "").split() or paragraph.get("enabled", "yes").lower() in {"no", "false", "0"}:
            continue
        for uri in filter(_fetchable, paragraph.get("uris", "").split()):
            for suite in paragraph.get("suites", "").split():
                yield Source(uri, suite, _key_file(paragraph.get("signed-by", "")))


def _paragraphs(text: str) -> Iterator[dict[str, str]]:
    current: dict[str, str] = {}
    field = ""
    for line in [*text.splitlines(), ""]:
        if line.startswith("#"):
            continue
        if not line.strip():
            if current:
                yield current
            current = {}
        elif line[0].isspace():
            current[field] = f"{current.get(field, '')}\n{line.strip()}"
        else:
            name, _, value = line.partition(":")
            field = name.strip().lower()
            current[field] = value.strip()


def _fetchable(uri: str) -> bool:
    return uri.startswith(("http://", "https://", "file:"))


def _key_file(value: str) -> str | None:
    """The key file; a key written into the source itself is none, and the distribution's keyring serves."""
    first = value.split(",")[0].strip()
    return first if first.startswith("/") else None
