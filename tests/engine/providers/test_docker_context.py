"""Build contexts: ignore rules, digests and archives. What is expected was found out with moby's own Go libraries."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.providers.docker_context import Context, ContextError, IgnoreRules, Matched, go_mode


def ignored(patterns: list[str], path: str) -> bool:
    """As the walk asks: folder by folder, each inheriting what matched above it."""
    rules, verdict = IgnoreRules(patterns), False
    above: Matched = ()
    parts = path.split("/")
    for depth in range(1, len(parts) + 1):
        verdict, above = rules.judge("/".join(parts[:depth]), above)
    return verdict


@pytest.mark.parametrize(
    ("patterns", "left_out", "kept"),
    [
        ([], [], ["a", "a/b"]),
        (["a"], ["a", "a/b", "a/b/c"], ["b", "b/a", "ab"]),
        (["/a/"], ["a", "a/b"], ["b/a"]),
        (["./a/../b"], ["b"], ["a"]),
        (["*.txt"], ["x.txt"], ["d/x.txt", "x.txt2"]),
        (["*/*.txt"], ["d/x.txt"], ["x.txt", "d/e/x.txt"]),
        (["a?"], ["ab"], ["a", "abc"]),
        (["[a-c]x", "[^a-c]y"], ["bx", "dy"], ["dx", "by"]),
        (["**/x"], ["x", "a/x", "a/b/x"], ["ax", "a/xb"]),
        (["**x"], ["x", ".x", "a/bx"], ["xa"]),
        (["a/**"], ["a/b", "a/b/c"], ["a", "b"]),
        (["a**"], ["a", "ab", "ab/c"], ["ba"]),
        (["a/**/c"], ["a/c", "a/b/c", "a/b/b/c"], ["c", "a/b"]),
        (["**"], ["a", "a/b"], []),
        (["*", "!keep"], ["a"], ["keep", "keep/b"]),
        (["a", "!a/b"], ["a/c", "a"], ["a/b", "a/b/c"]),
        (["a", "!a/b", "a/b/c"], ["a/b/c"], ["a/b/d"]),
        # The exception comes too late for what another pattern leaves out below it.
        ([".x/a.b/A", "!.x/a.b"], [".x/a.b/A"], [".x/a.b/B"]),
        (["# comment", "", "  ", " a "], ["a"], ["# comment"]),
        (["! a"], [], ["a"]),
        (["\\[a"], ["[a"], ["a"]),
        (["a.b"], ["a.b"], ["axb"]),
        (["a(b)+|{c}$"], ["a(b)+|{c}$"], ["ab"]),
        (["/!a", "!b"], [], ["a", "b"]),
        (["b", "/!b"], [], ["b"]),
        (["./ *"], ["a", "a/b"], []),
    ],
)
def test_ignore_rules(patterns: list[str], left_out: list[str], kept: list[str]) -> None:
    assert [p for p in left_out if not ignored(patterns, p)] == []
    assert [p for p in kept if ignored(patterns, p)] == []


@pytest.mark.parametrize(("line", "words"), [("[a", "not a valid pattern"), ("a\\", "not a valid pattern"), ("!", "alone")])
def test_bad_patterns_name_file_and_line(line: str, words: str) -> None:
    with pytest.raises(ContextError, match=rf"^f:2: .*{words}"):
        IgnoreRules(["ok", line], "f")


@given(st.lists(st.text("ab*?!/.[]^", max_size=6), max_size=4), st.lists(st.sampled_from("ab"), min_size=1, max_size=3))
def test_no_pattern_breaks_the_matcher(patterns: list[str], parts: list[str]) -> None:
    try:
        verdict = ignored(patterns, "/".join(parts))
    except ContextError:
        return
    assert isinstance(verdict, bool)
    assert not ignored([*patterns, "!**"], "/".join(parts))


@pytest.mark.parametrize(
    ("mode", "text"),
    [
        (stat.S_IFREG | 0o644, "-rw-r--r--"),
        (stat.S_IFREG | 0o4755, "urwxr-xr-x"),
        (stat.S_IFREG | 0o3755, "gtrwxr-xr-x"),
        (stat.S_IFLNK | 0o777, "Lrwxrwxrwx"),
        (stat.S_IFIFO | 0o600, "prw-------"),
        (stat.S_IFCHR | 0o600, "Dcrw-------"),
    ],
)
def test_modes_as_go_prints_them(mode: int, text: str) -> None:
    assert go_mode(mode) == text


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    context = tmp_path / "ctx"
    context.mkdir()
    for name, text in {
        "Dockerfile": "ARG BASE\nFROM ${BASE}\nCOPY hello.txt /hello.txt\n",
        "hello.txt": "hi\n",
    }.items():
        (context / name).write_text(text)
        (context / name).chmod(0o644)
    return tmp_path


def context(root: Path, dockerfile: str = "ctx/Dockerfile", folder: str = "ctx") -> Context:
    return Context(root, folder, dockerfile)


def test_the_digest_is_the_one_the_real_provider_recorded(tree: Path) -> None:
    assert context(tree).digest() == "50a81acb8d87232316eca25b630440b2abe1af7daebb354ddfcd5302ac6307ce"


def test_the_digest_covers_content_names_modes_and_order(tree: Path) -> None:
    folder = tree / "ctx"
    digests = [context(tree).digest()]
    changes: list[Callable[[], object]] = [
        lambda: (folder / "hello.txt").write_text("ho\n"),
        lambda: (folder / "hello.txt").chmod(0o755),
        lambda: (folder / "hello.txt").rename(folder / "hello2.txt"),
        lambda: (folder / "link").symlink_to("hello2.txt"),
        lambda: (folder / "Dockerfile").write_text("FROM scratch\n"),
    ]
    for change in changes:
        change()
        digests.append(context(tree).digest())
    assert len(set(digests)) == len(digests)


def test_ignored_files_and_times_do_not_count(tree: Path) -> None:
    (tree / "ctx/.dockerignore").write_text("cache\n")
    before = context(tree).digest()
    (tree / "ctx/cache").mkdir()
    (tree / "ctx/cache/x").write_text("x")
    os.utime(tree / "ctx/hello.txt", (1, 1))
    assert context(tree).digest() == before


def record(path: str, mode: str, content: bytes) -> bytes:
    return path.encode() + mode.encode() + hashlib.sha256(content).digest() + b"\0"


def test_files_come_name_by_name_folder_by_folder_and_links_count_by_target(tree: Path) -> None:
    folder = tree / "ctx"
    (folder / "a").mkdir()
    (folder / "a/z").write_text("z")
    (folder / "a.txt").symlink_to("a/z")
    (folder / "gone").symlink_to("nowhere")
    for path in ("a/z",):
        (folder / path).chmod(0o600)
    dockerfile = (folder / "Dockerfile").read_bytes()
    records = [
        record("Dockerfile", "----------", dockerfile),
        record("Dockerfile", "-rw-r--r--", dockerfile),
        record("a/z", "-rw-------", b"z"),
        record("a.txt", "Lrwxrwxrwx", b"ctx/a/z"),
        record("gone", "Lrwxrwxrwx", b"nowhere"),
        record("hello.txt", "-rw-r--r--", b"hi\n"),
    ]
    assert context(tree).digest() == hashlib.sha256(b"".join(records)).hexdigest()


def names(context_: Context) -> tuple[str, dict[str, tarfile.TarInfo]]:
    buffer = io.BytesIO()
    dockerfile = context_.archive(buffer)
    buffer.seek(0)
    with tarfile.open(fileobj=buffer) as archive:
        return dockerfile, {member.name: member for member in archive.getmembers()}


def test_the_archive_holds_the_context_as_root_without_what_is_ignored(tree: Path) -> None:
    folder = tree / "ctx"
    (folder / "secret").write_text("s")
    (folder / "link").symlink_to("hello.txt")
    os.mkfifo(folder / "pipe")
    (folder / ".dockerignore").write_text("secret\nDockerfile\n.dockerignore\n")
    dockerfile, members = names(context(tree))
    # Both control files are needed by the builder even if ignored.
    assert (dockerfile, sorted(members)) == ("Dockerfile", [".dockerignore", "Dockerfile", "hello.txt", "link"])
    assert {(m.uid, m.gid, m.uname) for m in members.values()} == {(0, 0, "")}
    assert members["link"].issym()


def test_exceptions_reach_into_ignored_folders(tree: Path) -> None:
    folder = tree / "ctx/dist"
    folder.mkdir()
    for name in ("keep", "drop"):
        (folder / name).write_text("x")
    (tree / "ctx/.dockerignore").write_text("dist\n!dist/keep\n")
    assert {"dist/keep"} == {name for name in names(context(tree))[1] if name.startswith("dist")}


def test_a_dockerfile_outside_the_context_is_added_under_a_fresh_name(tree: Path) -> None:
    (tree / "Other").write_text("FROM scratch\n")
    dockerfile, members = names(context(tree, "Other"))
    assert dockerfile.startswith(".dockerfile.")
    assert members[dockerfile].size == len("FROM scratch\n")


def test_the_dockerfiles_own_ignore_file_comes_first_and_alone(tree: Path) -> None:
    folder = tree / "ctx"
    (folder / ".dockerignore").write_text("hello.txt\n")
    (folder / "Dockerfile.dockerignore").write_text("*.md\n")
    (folder / "x.md").write_text("")
    dockerfile, members = names(context(tree))
    assert dockerfile == "Dockerfile"
    assert "hello.txt" in members
    # The builder would apply the other one, if it saw it.
    assert not {"x.md", ".dockerignore"} & set(members)


def test_an_unreadable_context_is_said(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("")
    with pytest.raises(ContextError, match="none: cannot read the build context: No such file"):
        Context(tmp_path, "none", "Dockerfile").digest()
