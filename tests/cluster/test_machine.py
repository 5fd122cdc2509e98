"""The parts that touch the distribution and the runtime, with files instead of a machine."""

from __future__ import annotations

import io
import json
import os
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster import cri, image, packages
from cluster.errors import ClusterError
from cluster.kubeapi import object_path
from cluster.launch import ComponentState, Launch, Report
from cluster.paths import Layout, clone_id


def test_services_stay_off_and_what_was_there_comes_back(tmp_path: Path) -> None:
    policy = tmp_path / "policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 0 # theirs\n")
    with pytest.raises(RuntimeError), packages.services_stay_off(policy):
        assert "exit 101" in policy.read_text()
        assert os.access(policy, os.X_OK)
        raise RuntimeError
    assert "theirs" in policy.read_text()
    assert list(tmp_path.iterdir()) == [policy]


def test_a_policy_of_ours_left_by_a_crash_is_not_taken_for_theirs(tmp_path: Path) -> None:
    policy = tmp_path / "policy-rc.d"
    crashed = packages.services_stay_off(policy)
    policy.write_text("theirs")
    crashed.__enter__()
    with packages.services_stay_off(policy):
        assert "exit 101" in policy.read_text()
    assert policy.read_text() == "theirs"


def test_without_any_policy_none_is_left(tmp_path: Path) -> None:
    policy = tmp_path / "policy-rc.d"
    with packages.services_stay_off(policy):
        assert policy.exists()
    assert not policy.exists()


def test_without_apt_the_missing_programs_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "_SBIN", ())
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ClusterError, match=r"missing programs: etcd, runc\. There is no apt-get here") as caught:
        packages.install([packages.ETCD, packages.Program("runc", "runc", "")], print, tmp_path / "log")
    assert "\n" not in str(caught.value)


def test_nothing_is_installed_when_nothing_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "etcd").touch(0o755)
    said: list[str] = []
    packages.install([packages.ETCD], said.append, tmp_path / "log")
    assert said == []


def test_the_pause_image_is_reproducible_and_whole(tmp_path: Path) -> None:
    busybox = tmp_path / "busybox"
    busybox.write_bytes(b"program" * 100)
    image.write_archive(busybox, tmp_path / "one.tar")
    image.write_archive(busybox, tmp_path / "two.tar")
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()
    with tarfile.open(tmp_path / "one.tar") as archive:
        content = {m.name: (archive.extractfile(m) or io.BytesIO()).read() for m in archive}
    manifest = json.loads(content["blobs/sha256/" + json.loads(content["index.json"])["manifests"][0]["digest"].split(":")[1]])
    layer = content["blobs/sha256/" + manifest["layers"][0]["digest"].split(":")[1]]
    config = json.loads(content["blobs/sha256/" + manifest["config"]["digest"].split(":")[1]])
    assert config["rootfs"]["diff_ids"] == [manifest["layers"][0]["digest"]]
    assert config["config"]["User"] == "65535:65535"
    with tarfile.open(fileobj=io.BytesIO(layer)) as files:
        assert files.getmember("bin/busybox").mode == 0o755
        assert files.getmember("bin/sh").linkname == "busybox"


@given(st.lists(st.tuples(st.integers(1, 1000), st.one_of(st.text(max_size=300), st.integers(0, 2**40)))))
def test_protobuf_fields_come_back_as_written(items: list[tuple[int, str | int]]) -> None:
    written = b"".join(cri._text(number, value) for number, value in items)
    expected = [(n, v.encode() if isinstance(v, str) else v) for n, v in items]
    assert list(cri.fields(written)) == expected


@pytest.mark.parametrize(
    ("manifest", "path"),
    [
        ({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}}, "/api/v1/namespaces/a"),
        ({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a", "namespace": "n"}}, "/api/v1/namespaces/n/services/a"),
        (
            {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {"name": "a", "namespace": "n"}},
            "/apis/discovery.k8s.io/v1/namespaces/n/endpointslices/a",
        ),
        (
            {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "a"}},
            "/apis/storage.k8s.io/v1/storageclasses/a",
        ),
    ],
)
def test_objects_are_found_at_their_path(manifest: dict[str, object], path: str) -> None:
    assert object_path(manifest) == path


def test_launch_and_report_survive_the_disk(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    layout.state.mkdir(parents=True)
    launch = Launch("simulated", {"etcd": "/bin/etcd"}, count=3)
    launch.save(layout)
    assert Launch.load(layout) == launch
    report = Report("abc", "running", {"etcd": ComponentState(True, 1, 2, "why")})
    report.save(layout.status_file)
    assert Report.load(layout.status_file) == report
    layout.status_file.write_text('{"half')
    assert Report.load(layout.status_file) is None


def test_clones_have_their_own_names() -> None:
    assert clone_id(Path("/a")) != clone_id(Path("/b"))
    assert clone_id(Path("/a")) == clone_id(Path("/a/../a"))
