"""DockerProvider with a real Docker engine and a real registry on localhost:5000."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest
import requests

from engine.provider import Call, Changes, ProviderError
from engine.providers.docker_image import DockerProvider
from engine.values import Secret

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("cluster"), pytest.mark.usefixtures("real_cluster")]
REGISTRY = "localhost:5000"
MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


@pytest.fixture
def provider(tmp_path: Path) -> DockerProvider:
    assert os.environ.get("DOCKER_HOST"), "set DOCKER_HOST to the engine of the local cluster"
    folder = tmp_path / "ctx"
    folder.mkdir()
    (folder / "Dockerfile").write_text(
        "ARG GREETING\nFROM scratch AS first\nCOPY hello.txt /hello.txt\nENV GREETING=hello\nFROM first\nLABEL a=b\n"
    )
    (folder / "hello.txt").write_text("hi\n")
    (folder / "ignored.txt").write_text("not for the image")
    (folder / ".dockerignore").write_text("ignored.txt\n")
    made = DockerProvider(tmp_path)
    made.configure({})
    return made


def call(lines: list[str]) -> Call:
    urn = "urn:pulumi:dev::p::docker:index/image:Image::app"
    return Call(urn, False, threading.Event(), lambda severity, message, ephemeral: lines.append(message))


def inputs(**build: Any) -> dict[str, Any]:
    common = {"context": "ctx", "platform": "linux/amd64", "args": {"GREETING": Secret("s3cr3t")}}
    return {"imageName": f"{REGISTRY}/engine-tests/app:v1", "build": {**common, **build}}


def config_of(digest: str) -> dict[str, Any]:
    def get(path: str) -> dict[str, Any]:
        url = f"http://{REGISTRY}/v2/engine-tests/app/{path}"
        return dict(requests.get(url, headers={"Accept": MANIFEST}, timeout=30).json())

    return get("blobs/" + get(f"manifests/{digest}")["config"]["digest"])


def test_an_image_is_built_pushed_and_not_built_again(provider: DockerProvider) -> None:
    lines: list[str] = []
    checked = provider.check(call(lines), None, inputs(), b"").inputs
    created = provider.create(call(lines), checked)
    repository, _, digest = created.outputs["repoDigest"].partition("@")
    assert repository == f"{REGISTRY}/engine-tests/app"
    config = config_of(digest)
    assert config["config"]["Labels"] == {"a": "b"}
    assert len(config["rootfs"]["diff_ids"]) == 1
    assert "s3cr3t" not in "\n".join(lines)
    again = provider.check(call(lines), checked, inputs(), b"").inputs
    assert provider.diff(call(lines), created.id, checked, created.outputs, again, []).changes is Changes.NONE
    target = provider.check(call(lines), checked, inputs(target="first"), b"").inputs
    assert provider.diff(call(lines), created.id, checked, created.outputs, target, []).changes is Changes.SOME
    first = provider.update(call(lines), created.id, checked, created.outputs, target, [])
    assert not config_of(first["repoDigest"].partition("@")[2])["config"].get("Labels")


def test_a_failing_step_is_named(provider: DockerProvider, tmp_path: Path) -> None:
    (tmp_path / "Other").write_text("FROM scratch\nCOPY ignored.txt /x\n")
    checked = provider.check(call([]), None, inputs(dockerfile="Other"), b"").inputs
    with pytest.raises(ProviderError, match=r"failed at Step 2/2 : COPY ignored.txt /x: COPY failed: file not found"):
        provider.create(call([]), checked)


def test_a_local_image_needs_no_registry(provider: DockerProvider) -> None:
    given = {**inputs(), "imageName": "engine-tests-local", "skipPush": True}
    outputs = provider.create(call([]), provider.check(call([]), None, given, b"").inputs).outputs
    assert outputs["repoDigest"].startswith("sha256:")
