"""The Kubernetes provider on a real cluster: whole lives of objects, real controllers, real failures."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from cluster.api import ClusterStatus
from engine.provider import Call, Changes, InitError, ProviderError
from engine.providers.kubernetes import KubernetesProvider
from engine.values import Secret, reveal

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("cluster")]
Object = dict[str, Any]
IMAGE = "sophia.local/busybox:1"
"""Present on every node of the one-machine cluster: its pause image."""


@dataclass
class Resource:
    """One resource of a program, as the engine would drive it."""

    provider: KubernetesProvider
    type: str
    name: str
    id: str = ""
    inputs: Object = field(default_factory=dict)
    outputs: Object = field(default_factory=dict)
    said: list[str] = field(default_factory=list)

    def call(self, preview: bool = False, timeout: float | None = 60) -> Call:
        urn = f"urn:pulumi:dev::p::kubernetes:{self.type}::{self.name}"
        return Call(urn, preview, threading.Event(), log=lambda s, m, e: self.said.append(m), timeout=timeout)

    def check(self, inputs: Object) -> Object:
        checked = self.provider.check(self.call(), self.inputs or None, inputs, uuid.uuid4().bytes)
        assert not checked.failures
        return checked.inputs

    def create(self, inputs: Object, timeout: float | None = 60) -> Resource:
        self.inputs = self.check(inputs)
        assert self.provider.create(self.call(preview=True), self.inputs).id == ""
        created = self.provider.create(self.call(timeout=timeout), self.inputs)
        self.id, self.outputs = created.id, created.outputs
        assert self.diff(self.inputs).changes is Changes.NONE
        return self

    def diff(self, inputs: Object) -> Any:
        return self.provider.diff(self.call(), self.id, self.inputs, self.outputs, self.check(inputs), [])

    def update(self, inputs: Object, ignored: tuple[str, ...] = (), timeout: float | None = 60) -> None:
        new = self.check(inputs)
        self.provider.update(self.call(preview=True), self.id, self.inputs, self.outputs, new, ignored)
        self.outputs = self.provider.update(self.call(timeout=timeout), self.id, self.inputs, self.outputs, new, ignored)
        self.inputs = new

    def delete(self) -> None:
        self.provider.delete(self.call(), self.id, self.inputs, self.outputs)
        if "Skipping await logic" in self.said:  # then its deletion was not waited for either
            return
        assert self.provider.read(self.call(), self.id, self.inputs, self.outputs).id == ""


Make = Callable[..., Resource]


@pytest.fixture(scope="module")
def provider(real_cluster: ClusterStatus) -> Iterator[KubernetesProvider]:
    made = KubernetesProvider()
    made.configure({})
    yield made
    made.close()


@pytest.fixture(scope="module")
def namespace(provider: KubernetesProvider) -> Iterator[str]:
    name = f"engine-{uuid.uuid4().hex[:6]}"
    resource = Resource(provider, "core/v1:Namespace", "ns").create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    yield name
    resource.delete()


@pytest.fixture
def make(provider: KubernetesProvider) -> Make:
    return lambda type_, name="thing": Resource(provider, type_, name)


def config_map(namespace: str, **parts: Any) -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": namespace}, "data": {"a": "1"}, **parts}


def managers(resource: Resource) -> list[tuple[str, str]]:
    return [(m["manager"], m["operation"]) for m in resource.outputs["metadata"]["managedFields"]]


def test_the_life_of_a_config_map(make: Make, namespace: str) -> None:
    resource = make("core/v1:ConfigMap", "settings").create(config_map(namespace))
    assert resource.id.startswith(f"{namespace}/settings-")
    assert managers(resource) == [("pulumi-kubernetes", "Update")]
    labelled = config_map(namespace, metadata={"namespace": namespace, "labels": {"a": "b"}})
    assert {k: v.kind for k, v in resource.diff(labelled).detailed.items()} == {"metadata.labels": "add"}
    resource.update(labelled)
    assert managers(resource) == [(resource.outputs["__fieldManager"], "Apply")]
    resource.update(config_map(namespace))
    assert "labels" not in resource.outputs["metadata"]
    assert resource.diff(config_map(namespace, data={"a": "2"})).replaces == ["data.a"]
    resource.delete()
    resource.provider.delete(resource.call(), resource.id, resource.inputs, resource.outputs)


def test_a_secret_is_secret_in_every_state(make: Make, namespace: str) -> None:
    inputs = {"apiVersion": "v1", "kind": "Secret", "metadata": {"namespace": namespace}, "stringData": {"p": Secret("geheim")}}
    resource = make("core/v1:Secret").create(inputs)
    assert resource.outputs["data"] == Secret({"p": "Z2VoZWlt"}) == resource.outputs["__inputs"]["data"]
    assert "geheim" not in repr(resource.outputs) and "Z2VoZWlt" not in repr(resource.outputs)
    read = resource.provider.read(resource.call(), resource.id, resource.inputs, resource.outputs)
    assert read.inputs["data"] == Secret({"p": "Z2VoZWlt"})
    resource.delete()


def test_the_server_normalizes_as_we_do(make: Make, namespace: str) -> None:
    """A Pod with everything that has two spellings: a second look must find no difference (asserted by create)."""
    container = {
        "name": "c", "image": "localhost/none:1", "stdin": False, "args": [], "ports": [{"containerPort": 80, "protocol": "TCP"}],
        "resources": {"requests": {"cpu": "0.05", "memory": "1024Ki"}, "limits": {"cpu": "1000m", "memory": "0.5Gi"}},
        "livenessProbe": {"tcpSocket": {"port": 80}, "initialDelaySeconds": 0}, "env": [{"name": "A", "value": ""}],
    }  # fmt: skip
    inputs = {
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"namespace": namespace, "labels": {}, "annotations": {"pulumi.com/skipAwait": "true"}},
        "spec": {"hostNetwork": False, "containers": [container], "volumes": [{"name": "v", "emptyDir": {"sizeLimit": "1024Mi"}}]},
    }  # fmt: skip
    make("core/v1:Pod").create(inputs).delete()


def deployment(namespace: str, image: str = "localhost/none:1", replicas: int = 1, **annotations: str) -> Object:
    labels = {"app": "web"}
    return {
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"namespace": namespace, "name": "web", "annotations": {f"pulumi.com/{k}": v for k, v in annotations.items()}},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": image}]}},
        },
    }  # fmt: skip


def test_a_deployment_that_cannot_pull_its_image(make: Make, namespace: str) -> None:
    resource = make("apps/v1:Deployment", "web")
    with pytest.raises(InitError) as caught:
        resource.create(deployment(namespace), timeout=4)
    error = caught.value
    assert error.id == f"{namespace}/web"
    assert error.reasons[0].endswith("failed to fully initialize or become live: 'web' timed out waiting to be Ready")
    assert error.reasons[1:3] == [
        "[MinimumReplicasUnavailable] Deployment does not have minimum availability.",
        "Minimum number of live Pods was not attained",
    ]
    assert "containers with unready status: [c]" in error.reasons[3]
    assert "container c: " in str(error) and "event Failed: " in str(error)
    # It exists: the next run changes it, and is done once nothing is waited for.
    resource.id, resource.outputs = error.id, error.outputs
    resource.update(deployment(namespace, replicas=0))
    assert resource.outputs["status"]["observedGeneration"] == resource.outputs["metadata"]["generation"]
    resource.delete()


def with_command(namespace: str, *command: str) -> Object:
    inputs = deployment(namespace, IMAGE)
    container = {
        "name": "c",
        "image": IMAGE,
        "command": list(command),
        "readinessProbe": {"exec": {"command": ["true"]}, "periodSeconds": 1},
    }
    inputs["spec"]["template"]["spec"] = {"containers": [container], "terminationGracePeriodSeconds": 0}
    return inputs


def test_a_rollout_and_its_service(make: Make, namespace: str) -> None:
    web = make("apps/v1:Deployment", "web").create(with_command(namespace, "sleep", "1000"))
    assert (web.outputs["status"]["readyReplicas"], web.said[-1]) == (1, "")
    assert "Deployment initialization complete" in web.said
    started = time.monotonic()
    spec = {"selector": {"app": "web"}, "ports": [{"port": 80}]}
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": namespace, "name": "web"}, "spec": spec}
    front = make("core/v1:Service", "web").create(service)
    assert time.monotonic() - started < 8  # a ready endpoint needs no settling
    web.update(with_command(namespace, "sleep", "1001"))
    assert web.outputs["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "2"
    with pytest.raises(InitError) as caught:
        web.update(with_command(namespace, "sh", "-c", "echo no such table; exit 3"), timeout=8)
    text = str(caught.value)
    assert f'"{namespace}/web" failed to fully initialize or become live' in caught.value.reasons[0]
    assert "exit code 3" in text and "    | no such table" in text
    web.outputs = caught.value.outputs
    web.update(with_command(namespace, "sleep", "1002"))
    front.delete()
    web.delete()


@pytest.mark.parametrize(("command", "succeeds"), [("true", True), ("echo bad input; exit 1", False)])
def test_jobs(make: Make, namespace: str, command: str, succeeds: bool) -> None:
    pod = {"restartPolicy": "Never", "containers": [{"name": "c", "image": IMAGE, "command": ["sh", "-c", command]}]}
    spec = {"backoffLimit": 0, "template": {"spec": pod}}
    inputs = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"namespace": namespace, "name": "migrate"}, "spec": spec}
    resource = make("batch/v1:Job")
    if succeeds:
        assert resource.create(inputs).outputs["status"]["succeeded"] == 1
        assert f'Waiting for Job "{namespace}/migrate" to start' in resource.said
    else:
        with pytest.raises(InitError) as caught:
            resource.create(inputs)
        assert "[BackoffLimitExceeded]" in caught.value.reasons[1] and "    | bad input" in str(caught.value)
        resource.id, resource.outputs = caught.value.id, caught.value.outputs
    resource.delete()


def test_ignored_replicas_belong_to_whoever_set_them(make: Make, namespace: str) -> None:
    resource = make("apps/v1:Deployment", "web").create(deployment(namespace, replicas=0, skipAwait="true"))
    writer = resource.provider._session.writer
    scaled = writer.resource(resource.outputs)
    path = scaled.path(namespace, "web")
    body = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {"replicas": 2}}
    writer.client.request(
        "PATCH", path, query={"fieldManager": "autoscaler", "force": "true"}, body=body, content_type="application/apply-patch+yaml"
    )
    resource.update(deployment(namespace, image="localhost/none:2", replicas=0, skipAwait="true"), ignored=("spec.replicas",))
    live = reveal(resource.outputs)["spec"]
    assert (live["replicas"], live["template"]["spec"]["containers"][0]["image"]) == (2, "localhost/none:2")
    resource.delete()


def test_a_conflict_is_explained_and_can_be_forced(make: Make, namespace: str) -> None:
    inputs = config_map(namespace, metadata={"namespace": namespace, "name": "shared"})
    resource = make("core/v1:ConfigMap").create(inputs)
    resource.update({**inputs, "data": {"a": "1", "b": "1"}})
    writer = resource.provider._session.writer
    path = writer.resource(resource.outputs).path(namespace, "shared")
    theirs = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "shared"}, "data": {"a": "theirs"}}
    query = {"fieldManager": "some-operator", "force": "true"}
    writer.client.request("PATCH", path, query=query, body=theirs, content_type="application/apply-patch+yaml")
    with pytest.raises(InitError) as caught:
        resource.update({**inputs, "data": {"a": "mine", "b": "1"}})
    for part in ("some-operator", ".data.a", "pulumi.com/patchForce"):
        assert part in str(caught.value)
    meta = {**inputs["metadata"], "annotations": {"pulumi.com/patchForce": "true"}}
    resource.update({**inputs, "metadata": meta, "data": {"a": "mine", "b": "1"}})
    assert resource.outputs["data"]["a"] == "mine"
    resource.delete()


def test_a_change_the_server_refuses_is_tried_again(make: Make, namespace: str) -> None:
    inputs = {
        "apiVersion": "v1", "kind": "Service", "metadata": {"namespace": namespace, "name": "svc"},
        "spec": {"ports": [{"port": 80}], "clusterIP": "None"},
    }  # fmt: skip
    resource = make("core/v1:Service").create(inputs)
    with pytest.raises(InitError, match=r"spec\.ports\[0\]\.port"):
        bad = {**inputs, "spec": {"ports": [{"port": 700000}], "clusterIP": "None"}}
        resource.outputs = resource.provider.update(resource.call(), resource.id, resource.inputs, resource.outputs, bad, [])
    resource.delete()


def test_a_definition_and_its_objects_in_one_run(make: Make, namespace: str) -> None:
    group = f"{namespace}.example.com"
    crd = {
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": f"widgets.{group}"},
        "spec": {
            "group": group, "scope": "Namespaced", "names": {"kind": "Widget", "plural": "widgets"},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {
                "type": "object", "properties": {"spec": {"type": "object", "x_kubernetes_preserve_unknown_fields": True}},
            }}}],
        },
    }  # fmt: skip
    widget = {"apiVersion": f"{group}/v1", "kind": "Widget", "metadata": {"namespace": namespace}, "spec": {"size": 3}}
    early = make(f"{group}/v1:Widget")
    assert early.provider.create(early.call(preview=True), early.check(widget)).outputs["spec"] == {"size": 3}
    definition = make("apiextensions.k8s.io/v1:CustomResourceDefinition", "crd").create(crd)
    resource = make(f"{group}/v1:Widget").create(widget)
    resource.update({**widget, "spec": {"size": 4}})
    assert resource.outputs["spec"] == {"size": 4}
    definition.update({**crd, "metadata": {**crd["metadata"], "labels": {"a": "b"}}})
    resource.delete()
    definition.delete()


def test_a_patch_of_an_object_that_is_not_ours(make: Make, namespace: str) -> None:
    base = make("core/v1:ConfigMap").create(config_map(namespace, metadata={"namespace": namespace, "name": "base"}))
    patch = make("core/v1:ConfigMapPatch", "patch")
    inputs = patch.check(config_map(namespace, metadata={"namespace": namespace, "name": "base"}, data={"b": "2"}))
    created = patch.provider.create(patch.call(), inputs)
    assert created.outputs["data"] == {"a": "1", "b": "2"}
    patch.provider.delete(patch.call(), created.id, inputs, created.outputs)
    read = base.provider.read(base.call(), base.id, base.inputs, base.outputs)
    assert read.outputs["data"] == {"a": "1"}
    base.delete()


def test_a_volume_claim_waits_for_its_first_consumer_only(make: Make, namespace: str) -> None:
    inputs = {
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"namespace": namespace},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1024Mi"}}},
    }  # fmt: skip
    resource = make("core/v1:PersistentVolumeClaim").create(inputs, timeout=20)
    assert resource.outputs["status"]["phase"] == "Pending"
    resource.delete()


def test_an_object_that_somebody_else_made_is_left_alone(make: Make, namespace: str) -> None:
    inputs = config_map(namespace, metadata={"namespace": namespace, "name": "taken"})
    first = make("core/v1:ConfigMap").create(inputs)
    second = make("core/v1:ConfigMap", "other")
    with pytest.raises(ProviderError, match='configmaps "taken" already exists'):
        second.provider.create(second.call(), second.check(inputs))
    first.delete()


def test_get(make: Make, namespace: str) -> None:
    resource = make("core/v1:Namespace")
    read = resource.provider.read(resource.call(), "default", {}, {})
    assert (read.id, read.outputs["status"]["phase"]) == ("default", "Active")
    assert resource.provider.read(resource.call(), "no-such-namespace", {}, {}).id == ""
