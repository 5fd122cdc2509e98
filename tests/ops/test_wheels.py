"""Fetching the images' packages: once for the same requirements, whole or not at all, nothing stale."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops import wheels


class Index:
    """Stands for pip: a requirements file lists the names of the files to fetch."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []
        self.fails = False

    def __call__(self, requirements: Path, folder: Path, platform: str) -> None:
        self.calls.append((requirements.parent.name, platform))
        for name in requirements.read_text().split():
            (folder / f"{name}.whl").write_text(f"{name} for {platform}")
        if self.fails:
            raise wheels.WheelsError("no network")


@pytest.fixture
def images(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for image, packages in (("one", "a b"), ("two", "c")):
        (tmp_path / "images" / image).mkdir(parents=True)
        (tmp_path / "images" / image / "requirements.txt").write_text(packages)
    return tmp_path / "images"


def fill(images: Path, index: Index, platform: str = "linux/amd64") -> bool:
    return wheels.fill(lambda text: None, platform, images, index)


def held(images: Path, image: str) -> set[str]:
    return {path.name for path in (images / image / "wheels").iterdir()}


def test_every_image_gets_its_packages_and_a_second_run_does_nothing(images):
    index = Index()
    assert fill(images, index)
    assert (held(images, "one"), held(images, "two")) == ({"a.whl", "b.whl"}, {"c.whl"})
    assert not fill(images, index)
    assert index.calls == [("one", "linux/amd64"), ("two", "linux/amd64")]


def test_changed_requirements_fetch_that_image_anew_and_remove_what_is_stale(images):
    index = Index()
    fill(images, index)
    (images / "one" / "requirements.txt").write_text("b d")
    assert fill(images, index)
    assert held(images, "one") == {"b.whl", "d.whl"}
    assert index.calls[2:] == [("one", "linux/amd64")]
    (images / "one" / "requirements.txt").write_text("a b")
    assert fill(images, index)
    assert len(index.calls) == 3


def test_another_clone_of_the_user_fetches_nothing(images, tmp_path):
    index = Index()
    fill(images, index)
    for path in images.glob("*/wheels/*"):
        path.unlink()
    (images / "one" / "wheels" / "leftover.whl").write_text("")
    (images / "one" / "wheels" / "folder").mkdir()
    assert fill(images, index)
    assert held(images, "one") == {"a.whl", "b.whl"}
    assert len(index.calls) == 2


def test_a_file_that_was_cut_short_is_replaced(images):
    index = Index()
    fill(images, index)
    broken = images / "two" / "wheels" / "c.whl"
    broken.unlink()
    broken.write_text("c")
    assert fill(images, index)
    assert broken.read_text() == "c for linux/amd64"


def test_an_interrupted_download_is_not_taken_for_a_whole_one(images):
    index = Index()
    index.fails = True
    with pytest.raises(wheels.WheelsError, match="no network"):
        fill(images, index)
    index.fails = False
    assert fill(images, index)
    assert held(images, "one") == {"a.whl", "b.whl"}
    cache = Path(os.environ["XDG_CACHE_HOME"]) / "sophia" / "wheels"
    assert len([path for path in cache.iterdir() if path.is_dir()]) == 2


def test_another_platform_has_packages_of_its_own(images):
    index = Index()
    fill(images, index)
    assert fill(images, index, "linux/arm64")
    assert (images / "two" / "wheels" / "c.whl").read_text() == "c for linux/arm64"
    with pytest.raises(wheels.WheelsError, match="plan9/mips"):
        fill(images, index, "plan9/mips")


@given(st.binary(), st.binary())
def test_the_key_tells_requirements_and_platforms_apart(first, second):
    assert (wheels.key(first, "linux/amd64") == wheels.key(second, "linux/amd64")) == (first == second)
    assert wheels.key(first, "linux/amd64") != wheels.key(first, "linux/arm64")


def test_pip_is_asked_for_wheels_with_hashes_of_every_glibc_the_image_has(tmp_path, monkeypatch):
    seen: list[str] = []

    def run(command, **_):
        seen.extend(command)
        return wheels.subprocess.CompletedProcess(command, 1, "", "WARNING: x\nERROR: No matching distribution found for a\n")

    monkeypatch.setattr(wheels.subprocess, "run", run)
    with pytest.raises(wheels.WheelsError, match="No matching distribution found for a Check the network"):
        wheels.pip_download(tmp_path / "requirements.txt", tmp_path, "linux/arm64")
    assert {"--require-hashes", "--no-deps", ":all:"} <= set(seen)
    tags = [seen[index + 1] for index, word in enumerate(seen) if word == "--platform"]
    assert tags[0] == "manylinux_2_36_aarch64"
    assert {"manylinux2014_aarch64", "manylinux_2_17_aarch64", "linux_aarch64"} <= set(tags)
    assert "manylinux_2_37_aarch64" not in tags


@pytest.mark.parametrize("requirements", sorted(wheels.IMAGES.glob("*/requirements.txt")), ids=lambda path: path.parent.name)
def test_our_own_requirements_are_pinned_hashed_and_name_no_host(requirements):
    lines = [line for line in requirements.read_text().splitlines() if line and not line.lstrip().startswith("#")]
    packages = [line for line in lines if not line.startswith(" ")]
    assert packages
    for line in packages:
        assert "==" in line
        assert line.endswith("\\")
    assert all(line.strip().startswith("--hash=sha256:") for line in lines if line.startswith(" "))
    assert "://" not in requirements.read_text()
    excluded = {line for line in (requirements.parent / "excludes.txt").read_text().splitlines() if not line.startswith("#")}
    assert excluded
    assert not {line.split("==")[0] for line in packages} & excluded
