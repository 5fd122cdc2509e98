"""The tag of an image: a hash of everything that goes into its build.

Known before the build, so that policies judge the very reference that will run, and the same on every machine:
file times, owners and umasks do not count, an executable bit does.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

TAG_LENGTH = 12

# Never part of what an image is: wheels are pinned by hash in the requirements beside them, the rest is made by tools.
ALWAYS_IGNORED = ("**/wheels", "**/__pycache__", "**/*.pyc", "**/.mypy_cache", "**/.ruff_cache", "**/.pytest_cache")


class Rule(NamedTuple):
    """One line of an ignore file: paths that match are left out, or taken back in."""

    pattern: re.Pattern[str]
    keep: bool


def content_tag(context: Path, dockerfile: Path, build_args: Mapping[str, str], platform: str) -> str:
    """First 12 hex digits of SHA-256 over the files that matter, the Dockerfile, the build arguments and the platform.

    Raises `FileNotFoundError` naming the missing directory or Dockerfile.
    """
    digest = hashlib.sha256()
    for name, value in sorted({**build_args, "": platform}.items()):
        _add(digest, "argument", name, value.encode())
    _add(digest, "dockerfile", "", dockerfile.read_bytes())
    for relative in context_files(context, dockerfile):
        path = context / relative
        if path.is_symlink():
            _add(digest, "link", relative, os.fsencode(path.readlink()))
        else:
            kind = "executable" if path.stat().st_mode & 0o100 else "file"
            _add(digest, kind, relative, path.read_bytes())
    return digest.hexdigest()[:TAG_LENGTH]


def context_files(context: Path, dockerfile: Path) -> list[str]:
    """Paths of the files that go into the build, relative to the context, sorted.

    `<Dockerfile>.dockerignore` beside the Dockerfile takes the place of the context's `.dockerignore`, as Docker has it:
    so each image of a shared context names what it needs, and a change elsewhere does not rebuild it.
    """
    if not context.is_dir():
        raise FileNotFoundError(f"{context} is not a directory")
    rules = [*_rules(_ignore_lines(context, dockerfile)), *_rules(ALWAYS_IGNORED)]
    return sorted(_walk(context, "", rules))


def _walk(context: Path, folder: str, rules: list[Rule]) -> Iterator[str]:
    exceptions = any(rule.keep for rule in rules)
    for entry in os.scandir(context / folder):
        relative = f"{folder}/{entry.name}" if folder else entry.name
        left_out = _ignored(relative, rules)
        if entry.is_dir(follow_symlinks=False):
            # An ignored folder is still entered when some line may take a part of it back in.
            if exceptions or not left_out:
                yield from _walk(context, relative, rules)
        elif not left_out:
            yield relative


def _ignored(relative: str, rules: list[Rule]) -> bool:
    """The last rule that matches the path, or a folder above it, decides."""
    parts = relative.split("/")
    above = ["/".join(parts[: depth + 1]) for depth in range(len(parts))]
    verdict = False
    for rule in rules:
        if any(rule.pattern.fullmatch(path) for path in above):
            verdict = not rule.keep
    return verdict


def _ignore_lines(context: Path, dockerfile: Path) -> list[str]:
    for candidate in (dockerfile.with_name(f"{dockerfile.name}.dockerignore"), context / ".dockerignore"):
        if candidate.is_file():
            return candidate.read_text(encoding="utf-8").splitlines()
    return []


def _rules(lines: tuple[str, ...] | list[str]) -> list[Rule]:
    rules = []
    for line in lines:
        text = line.strip()
        if not text or line.startswith("#"):
            continue
        keep = text.startswith("!")
        pattern = os.path.normpath(text.removeprefix("!").strip()).strip("/")
        if pattern != ".":
            rules.append(Rule(re.compile(_regex(pattern)), keep))
    return rules


def _regex(pattern: str) -> str:
    """Docker's patterns: `*` and `?` stay within a folder, `**` crosses folders, `[a-z]` is a set."""
    tokens = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    parts = re.split(r"(\*\*/|\*\*|\*|\?|\[[^\]/]+\]|\\.)", pattern)
    return "".join(tokens.get(part) or _literal(part) for part in parts)


def _literal(part: str) -> str:
    if part.startswith("[") and part.endswith("]"):
        return part
    return re.escape(part[1:] if len(part) == 2 and part[0] == "\\" else part)


def _add(digest: hashlib._Hash, kind: str, name: str, content: bytes) -> None:
    """One record, every part with its length, so that no two different contexts give the same bytes."""
    for part in (kind.encode(), name.encode("utf-8", "surrogateescape"), content):
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
