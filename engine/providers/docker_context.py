"""The build context of an image: which files belong to it, its digest, and the archive the builder gets."""

from __future__ import annotations

import hashlib
import io
import os
import posixpath
import re
import secrets
import stat
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

IGNORE_FILE = ".dockerignore"
_SPECIAL = {stat.S_IFLNK: "L", stat.S_IFIFO: "p", stat.S_IFSOCK: "S", stat.S_IFBLK: "D", stat.S_IFCHR: "Dc"}
_MOST_STEPS = 4096
"""Names and links followed for one link, so that links in a circle end."""
_MODE_BITS = ((stat.S_ISUID, "u"), (stat.S_ISGID, "g"))


class ContextError(ValueError):
    """The context or its ignore file cannot be used. Names the file and, for an ignore file, the line."""


Matched = tuple[bool, ...]
"""Which of the patterns matched a folder: what is in it inherits that."""


class IgnoreRules:
    """The patterns of an ignore file, by moby's rules: the last that matches a path, or a folder above it, wins."""

    def __init__(self, lines: Sequence[str], source: str = IGNORE_FILE) -> None:
        self._rules: list[tuple[re.Pattern[str], bool]] = []
        for number, line in enumerate(lines, 1):
            pattern, keep = _normalize(line)
            if keep and not pattern:
                raise ContextError(f"{source}:{number}: '!' alone keeps nothing; write a pattern after it.")
            if not pattern:
                continue
            try:
                self._rules.append((re.compile(_expression(pattern)), keep))
            except re.error:
                raise ContextError(f"{source}:{number}: {line.strip()!r} is not a valid pattern.") from None

    @property
    def exceptions(self) -> bool:
        """Whether something in an ignored folder may be kept, so that ignored folders have to be walked too."""
        return any(keep for _, keep in self._rules)

    def judge(self, path: str, above: Matched = ()) -> tuple[bool, Matched]:
        """Whether a slash path relative to the context is left out, and what to pass as `above` for what is in it."""
        ignored, matched = False, []
        for number, (expression, keep) in enumerate(self._rules):
            hit = bool(above) and above[number]
            # A pattern that could not turn the verdict is not even tried, and so is not inherited either.
            if not hit and ignored == keep:
                hit = expression.fullmatch(path) is not None
            matched.append(hit)
            if hit:
                ignored = not keep
        return ignored, tuple(matched)


def _normalize(line: str) -> tuple[str, bool]:
    """(pattern, whether it is an exception); no pattern for a comment or an empty line.

    moby does it in two passes, with a leading slash taken away between them, and the second reads "!" anew.
    """
    # A comment is a line that starts with #; with space before it, it is a pattern.
    if line.startswith("#") or not line.strip():
        return "", False
    pattern, keep = line.strip(), False
    if pattern.startswith("!"):
        pattern, keep = pattern[1:].strip(), True
    if pattern:
        pattern = _clean(pattern)
        pattern = pattern[1:] if len(pattern) > 1 and pattern.startswith("/") else pattern
    pattern = ("!" if keep else "") + pattern
    pattern = _clean(pattern.strip()) if pattern.strip() else ""
    return (pattern[1:], True) if pattern.startswith("!") else (pattern, False)


def _clean(path: str) -> str:
    # normpath keeps two leading slashes, as POSIX allows; Go does not.
    return re.sub("^//+", "/", posixpath.normpath(path))


def _expression(pattern: str) -> str:
    if pattern.startswith("**") and not re.search(r"[*?\[\]\\/]", pattern[2:]):
        return ".*" + re.escape(pattern[2:])
    result, i = "", 0
    while i < len(pattern):
        char = pattern[i]
        if pattern.startswith("**", i):
            i += 2
            i += pattern.startswith("/", i)
            result += ".*" if i >= len(pattern) else "(.*/)?"
            continue
        if char == "\\":
            i += 1
            if i >= len(pattern):
                raise re.error("nothing to escape")
            result += re.escape(pattern[i])
        elif char == "[":
            end = pattern.find("]", i + 2)
            if end < 0:
                raise re.error("unterminated range")
            result += pattern[i : end + 1].replace("[[", "[\\[")
            i = end
        else:
            result += {"*": "[^/]*", "?": "[^/]"}.get(char) or re.escape(char)
        i += 1
    return result


@dataclass(frozen=True)
class Context:
    """A context folder with its Dockerfile, both as the user wrote them, relative to `root`."""

    root: Path
    folder: str
    dockerfile: str

    @property
    def path(self) -> Path:
        return self.root / self.folder

    @property
    def dockerfile_path(self) -> Path:
        return self.root / self.dockerfile

    @property
    def relative_dockerfile(self) -> str:
        """The Dockerfile's path from the context; begins with `../` if it is outside."""
        return os.path.relpath(self.dockerfile_path, self.path)

    @property
    def ignore_path(self) -> Path | None:
        """The ignore file in force: the Dockerfile's own before that of the context."""
        own = self.dockerfile_path.with_name(self.dockerfile_path.name + IGNORE_FILE)
        return next((p for p in (own, self.path / IGNORE_FILE) if p.is_file()), None)

    def rules(self) -> IgnoreRules:
        path = self.ignore_path
        if path is None:
            return IgnoreRules([])
        try:
            lines = path.read_text(encoding="utf-8-sig").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise ContextError(f"{path}: cannot read it: {error}") from None
        return IgnoreRules(lines, str(path))

    def files(self, rules: IgnoreRules) -> Iterator[tuple[str, os.stat_result]]:
        """Everything of the context but folders, in the order of the real provider's walk: by name in each folder."""
        yield from (entry for entry in self._walk(self.path, "", rules) if not stat.S_ISDIR(entry[1].st_mode))

    def _walk(self, folder: Path, prefix: str, rules: IgnoreRules, above: Matched = ()) -> Iterator[tuple[str, os.stat_result]]:
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: os.fsencode(entry.name))
        except OSError as error:
            raise ContextError(f"{folder}: cannot read the build context: {error.strerror}") from None
        for entry in entries:
            path = prefix + entry.name
            ignored, matched = rules.judge(path, above)
            if not ignored:
                yield path, entry.stat(follow_symlinks=False)
            if entry.is_dir(follow_symlinks=False) and (not ignored or rules.exceptions):
                yield from self._walk(folder / entry.name, path + "/", rules, matched)

    def digest(self) -> str:
        """SHA-256 over the Dockerfile and every file: its path, mode and content; the same as the real provider's."""
        total = hashlib.sha256()
        # The Dockerfile counts by content alone, under a fixed name, as it may be ignored or lie elsewhere.
        total.update(_record("Dockerfile", "-" * 10, _content(self.dockerfile_path)))
        for path, status in self.files(self.rules()):
            file = self.path / path
            if stat.S_ISLNK(status.st_mode):
                content = hashlib.sha256(_link_target(f"{self.folder}/{path}", self.root).encode()).digest()
            elif stat.S_ISREG(status.st_mode):
                content = _content(file)
            else:
                content = hashlib.sha256().digest()
            total.update(_record(path, go_mode(status.st_mode), content))
        return total.hexdigest()

    def archive(self, into: IO[bytes]) -> str:
        """Writes the context as a tar file and returns the Dockerfile's name in it."""
        rules = self.rules()
        name = self.relative_dockerfile
        outside = name.startswith("../")
        own_rules = self.ignore_path not in (None, self.path / IGNORE_FILE)
        with tarfile.open(fileobj=into, mode="w", format=tarfile.PAX_FORMAT) as archive:
            sent = set()
            for path, _ in self._walk(self.path, "", rules):
                # The builder would apply the context's own ignore file on top of the Dockerfile's.
                if not (own_rules and path == IGNORE_FILE):
                    sent.add(path)
                    archive.add(self.path / path, path, recursive=False, filter=_as_root)
            # The builder needs these two even if they are ignored; it takes them out of the image's view itself.
            for path in (name, IGNORE_FILE):
                if path not in sent and not path.startswith("../") and not own_rules and (self.path / path).is_file():
                    archive.add(self.path / path, path, recursive=False, filter=_as_root)
            if outside or (own_rules and name not in sent):
                name = f".dockerfile.{secrets.token_hex(10)}"
                data = self.dockerfile_path.read_bytes()
                member = tarfile.TarInfo(name)
                member.size, member.mode = len(data), 0o600
                archive.addfile(member, io.BytesIO(data))
        return name


def go_mode(mode: int) -> str:
    """A file mode as Go prints it: `-rw-r--r--`, `Lrwxrwxrwx`, `urwxr-xr-x`."""
    letters = _SPECIAL.get(stat.S_IFMT(mode), "")
    letters += "".join(letter for bit, letter in _MODE_BITS if mode & bit)
    if mode & stat.S_ISVTX:
        letters += "t"
    # Go's order of letters is that of its bits: L, D, p, S, u, g, c, t.
    letters = "".join(sorted(letters, key="LDpSugct".index))
    return (letters or "-") + "".join(c if mode & (0o400 >> i) else "-" for i, c in enumerate("rwxrwxrwx"))


def _record(path: str, mode: str, content: bytes) -> bytes:
    return path.encode(errors="surrogateescape") + mode.encode() + content + b"\0"


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError as error:
        raise ContextError(f"{path}: cannot read it: {error.strerror}") from None


def _link_target(name: str, root: Path) -> str:
    """Where a link leads, as Go's EvalSymlinks writes it: relative to `root`, the working folder, where it can."""
    done: list[str] = []
    parts = list(reversed(name.split("/")))
    for _ in range(_MOST_STEPS):
        if not parts:
            break
        part = parts.pop()
        if part in ("", "."):
            done = done or ([""] if part == "" else [])
            continue
        if part == ".." and done and done[-1] not in ("..", ""):
            done.pop()
            continue
        here = root / "/".join([*done, part])
        if here.is_symlink():
            target = str(here.readlink())
            done = [] if target.startswith("/") else done
            parts += reversed(target.split("/"))
        else:
            done.append(part)
    found = "/".join(done) or "."
    if parts or not (root / found).exists():
        # The real provider skips such a link and, unseen, everything after it in its folder. Its text is hashed here:
        # a change that goes unnoticed is worse than a digest that differs.
        return str((root / name).readlink())
    return found


def _as_root(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return None if member.type not in (tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE) else member
