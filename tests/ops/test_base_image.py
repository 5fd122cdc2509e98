"""The base image made of Debian packages: what is packed, when it is made, and what is said where it cannot be."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pytest
from docker.errors import APIError, ImageNotFound

from ops import base_image
from ops.base_image import BaseImageError, left_out, pack


@pytest.mark.parametrize(
    ("name", "is_folder", "out"),
    [
        ("usr/bin/python3", False, False),
        ("usr/share/doc/python3", True, False),
        ("usr/share/doc/python3/copyright", False, False),
        ("usr/share/doc/python3/changelog.gz", False, True),
        ("usr/share/man", True, False),
        ("usr/share/man/man1/ls.1.gz", False, True),
        ("var/lib/apt/lists", True, False),
        ("var/lib/apt/lists/mirror_Packages", False, True),
        ("var/lib/dpkg/status", False, False),
        ("dev", True, False),
        ("dev/null", False, True),
        ("etc/resolv.conf", False, True),
        ("etc/passwd", False, False),
        ("usr/share/zoneinfo/Europe/Berlin", False, False),
        ("etc/ssl/certs/ca-certificates.crt", False, False),
    ],
)
def test_what_stays_out(name, is_folder, out):
    assert left_out(name, is_folder) is out


def tree(root: Path, now: float) -> Path:
    """A small system: one file from a package, one made just now."""
    (root / "usr/bin").mkdir(parents=True)
    (root / "usr/lib").mkdir()
    (root / "etc").mkdir()
    for name, when in (("usr/bin/sh", 1000), ("usr/lib/module.py", 500), ("etc/made-just-now", now)):
        (root / name).write_text(name)
        os.utime(root / name, (when, when))
    (root / "usr/bin/link").symlink_to("sh")
    os.utime(root / "usr/bin/link", (900, 900), follow_symlinks=False)
    (root / "etc/resolv.conf").write_text("nameserver")
    return root


def test_the_same_packages_make_the_same_tarball(tmp_path):
    pack(tree(tmp_path / "a", 1_700_000_000), tmp_path / "a.tar")
    pack(tree(tmp_path / "b", 1_800_000_000), tmp_path / "b.tar")
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()
    with tarfile.open(tmp_path / "a.tar") as archive:
        members = {member.name: member for member in archive}
    assert list(members) == sorted(members)
    assert "etc/resolv.conf" not in members
    assert members["usr/lib/module.py"].mtime == 500
    assert members["etc/made-just-now"].mtime == 1000
    assert members["usr/bin/link"].linkname == "sh"


def test_another_recipe_is_another_reference(monkeypatch):
    before = base_image.recipe_hash("amd64")
    assert before != base_image.recipe_hash("arm64")
    monkeypatch.setattr(base_image, "PACKAGES", (*base_image.PACKAGES, "redis-server"))
    assert before != base_image.recipe_hash("amd64")


class Engine:
    """Stands for a Docker engine and the registries it reaches."""

    def __init__(self, images=(), registries=()) -> None:
        self.held, self.reachable, self.journal = set(images), set(registries), []
        self.images = self.api = self

    def get(self, image):
        if image not in self.held:
            raise ImageNotFound("no such image")

    def get_registry_data(self, image):
        self.journal.append(f"ask {image}")
        if image not in self.reachable:
            raise APIError("no such host")

    def import_image(self, path, repository, tag, changes):
        self.journal.append(f"import {Path(path).name}")
        self.held.add(f"{repository}:{tag}")
        return "ok"

    def push(self, repository, tag, **_):
        self.journal.append(f"push {repository}:{tag}")
        self.reachable.add(f"{repository}:{tag}")
        return iter([{"status": "Pushed"}])

    def close(self):
        pass


@pytest.fixture
def engine(monkeypatch, tmp_path) -> Engine:
    result = Engine()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(base_image.docker, "DockerClient", lambda **_: result)
    return result


OWN = base_image.reference("localhost:5000")


def cached(tmp_path: Path) -> None:
    name = f"{base_image.SUITE}-{base_image._architecture()}-{OWN.rsplit(':', 1)[1]}.tar"
    (tmp_path / "sophia" / "base").mkdir(parents=True)
    (tmp_path / "sophia" / "base" / name).write_text("")


def test_a_public_base_that_can_be_had_is_used(engine):
    engine.reachable.add(base_image.PUBLIC_BASE)
    assert base_image.for_stack("unix:///x", lambda text: None) is None
    assert engine.journal == [f"ask {base_image.PUBLIC_BASE}"]


def test_a_public_base_that_is_there_already_is_used_without_asking(engine):
    engine.held.add(base_image.PUBLIC_BASE)
    assert base_image.for_stack("unix:///x", lambda text: None) is None
    assert engine.journal == []


def test_without_a_registry_our_own_is_imported_from_the_cache_pushed_and_kept(engine, tmp_path):
    cached(tmp_path)
    assert base_image.for_stack("unix:///x", lambda text: None) == OWN
    assert [line.split()[0] for line in engine.journal] == ["ask", "import", "ask", "push"]
    engine.journal.clear()
    assert base_image.for_stack("unix:///x", lambda text: None) == OWN
    assert engine.journal == [f"ask {OWN}"]


def test_without_root_the_way_out_is_named(engine, monkeypatch):
    monkeypatch.setattr(base_image.os, "geteuid", lambda: 1000)
    with pytest.raises(BaseImageError, match=r"needs root.*images\.base"):
        base_image.for_stack("unix:///x", lambda text: None)


def test_a_machine_of_another_distribution_is_told_what_to_set(engine, monkeypatch):
    monkeypatch.setattr(base_image.os, "geteuid", lambda: 0)
    monkeypatch.setattr(base_image, "_os_release", lambda: ["ID=fedora"])
    with pytest.raises(BaseImageError, match=r"not a Debian.*images\.base"):
        base_image.for_stack("unix:///x", lambda text: None)


def test_a_push_that_is_refused_is_an_error(engine, tmp_path, monkeypatch):
    cached(tmp_path)
    monkeypatch.setattr(engine, "push", lambda *_, **__: iter([{"error": "connection refused"}]))
    with pytest.raises(BaseImageError, match="could not be pushed: connection refused"):
        base_image.for_stack("unix:///x", lambda text: None)


def test_no_engine_is_said_in_one_line(tmp_path):
    with pytest.raises(BaseImageError, match="no Docker engine answers at unix:///nowhere"):
        base_image.public_registry_reachable(f"unix:///nowhere{tmp_path}")
