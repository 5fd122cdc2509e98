"""Reading apt's sources: both formats, and what is not a source."""

from __future__ import annotations

import pytest

from ops.apt_sources import Source, deb822_style, one_line_style, sources


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("deb http://m/debian bookworm main\n", [Source("http://m/debian", "bookworm")]),
        ("# deb http://m x main\ndeb-src http://m bookworm main\n", []),
        ("deb [arch=amd64 signed-by=/k.gpg] https://m bookworm main contrib # note", [Source("https://m", "bookworm", "/k.gpg")]),
        ("deb [ signed-by=/k.gpg ] https://m bookworm main", [Source("https://m", "bookworm", "/k.gpg")]),
        ("deb [trusted=yes http://m bookworm main", []),
        ("deb cdrom:[Debian]/ bookworm main\ndeb\ndeb http://m\n", []),
    ],
)
def test_one_line_style(text, expected):
    assert list(one_line_style(text)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "Types: deb\n# a comment\nURIs: http://m/debian http://n/debian\n"
            "Suites: bookworm bookworm-updates\nComponents: main\nSigned-By: /k.gpg\n",
            [
                Source("http://m/debian", "bookworm", "/k.gpg"),
                Source("http://m/debian", "bookworm-updates", "/k.gpg"),
                Source("http://n/debian", "bookworm", "/k.gpg"),
                Source("http://n/debian", "bookworm-updates", "/k.gpg"),
            ],
        ),
        ("Types: deb-src\nURIs: http://m\nSuites: bookworm\n", []),
        ("Types: deb deb-src\nURIs: http://m\nSuites: bookworm\nEnabled: no\n", []),
        (
            "Types: deb\nURIs: http://m\nSuites: a\nSigned-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mQ==\n\n\n"
            "types: deb\nuris: http://n\nsuites:\n b\n c\n",
            [Source("http://m", "a"), Source("http://n", "b"), Source("http://n", "c")],
        ),
        ("", []),
    ],
)
def test_deb822_style(text, expected):
    assert list(deb822_style(text)) == expected


@pytest.mark.parametrize(
    ("suite", "whole"),
    [("bookworm", True), ("stable", True), ("bookworm-updates", False), ("bookworm-security", False), ("buster/updates", False)],
)
def test_only_a_release_can_be_installed_from(suite, whole):
    assert Source("http://m", suite).is_release is whole


def test_all_files_of_apt_are_read_in_its_order(tmp_path):
    parts = tmp_path / "sources.list.d"
    parts.mkdir()
    (tmp_path / "sources.list").write_text("deb http://first s main")
    (parts / "b.list").write_text("deb http://third s main")
    (parts / "a.sources").write_text("Types: deb\nURIs: http://second\nSuites: s\n")
    (parts / "c.sources.disabled").write_text("Types: deb\nURIs: http://never\nSuites: s\n")
    assert [source.uri for source in sources(tmp_path)] == ["http://first", "http://second", "http://third"]
    assert sources(tmp_path / "nowhere") == []
