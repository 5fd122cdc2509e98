"""The Kubernetes provider against an API server that answers as documented."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from engine.provider import Call, InitError, ProviderError
from engine.providers.kubernetes import KubernetesProvider
from engine.values import UNKNOWN, Secret
from tests.engine.providers.kubernetes_fake import FakeApi, fields_of, status

Object = dict[str, Any]
CONFIG_MAP = "kubernetes:core/v1:ConfigMap"
PATH = "/api/v1/namespaces/default/configmaps/settings"


@pytest.fixture
def api() -> Iterator[FakeApi]:
    server = FakeApi()
    yield server
    server.close()


class Log:
    def __init__(self) -> None:
        self.lines: list[tuple[str, str, bool]] = []

    def __call__(self, severity: str, message: str, ephemeral: bool) -> None:
        self.lines.append((severity, message, ephemeral))

    def texts(self, severity: str) -> list[str]:
        return [m for s, m, _ in self.lines if s == severity and m]


@pytest.fixture
def log() -> Log:
    return Log()


def call(log: Log, type_: str = CONFIG_MAP, **fields: Any) -> Call:
    base = {"preview": False, "cancelled": threading.Event(), "log": log}
    return Call(f"urn:pulumi:dev::p::{type_}::settings", **{**base, **fields})


def configured(config: Object) -> KubernetesProvider:
    provider = KubernetesProvider()
    provider.configure(config)
    return provider


@pytest.fixture
def provider(api: FakeApi) -> KubernetesProvider:
    return configured({"kubeconfig": api.kubeconfig})


def config_map(**parts: Any) -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings", "namespace": "default"}, "data": {"a": "1"}, **parts}


def test_configuring_does_not_touch_the_network(api: FakeApi, provider: KubernetesProvider, log: Log) -> None:
    provider.check(call(log), None, config_map(), b"s")
    assert not api.requests


def test_an_object_is_created_by_a_plain_post(api: FakeApi, provider: KubernetesProvider, log: Log) -> None:
    made = provider.create(call(log), config_map())
    assert made.id == "default/settings"
    assert api.sent("POST") == [("/api/v1/namespaces/default/configmaps", {"fieldManager": "pulumi-kubernetes"}, config_map())]
    assert made.outputs["__inputs"] == config_map()
    assert made.outputs["__initialApiVersion"] == "v1"
    assert made.outputs["__fieldManager"].startswith("pulumi-kubernetes-") and len(made.outputs["__fieldManager"]) == 26


def test_a_preview_is_a_dry_run(api: FakeApi, provider: KubernetesProvider, log: Log) -> None:
    seen = provider.create(call(log, preview=True), config_map())
    assert (seen.id, seen.outputs["metadata"]["uid"]) == ("", "uid-settings")
    assert "status" not in seen.outputs and not api.objects
    assert api.sent("POST")[0][1]["dryRun"] == "All"


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (config_map(metadata={"name": "settings", "namespace": "later"}), ""),
        (config_map(data={"a": UNKNOWN}), ""),
        ({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}}, ""),
        (config_map(metadata={"name": "there", "namespace": "default"}), 'Retry #0; creation failed: configmaps "there" already exists'),
    ],
    ids=["no namespace yet", "unknown value", "no definition yet", "name is taken"],
)
def test_what_cannot_be_tried_is_previewed_as_its_inputs(
    api: FakeApi, provider: KubernetesProvider, log: Log, inputs: Object, message: str
) -> None:
    api.put("/api/v1/namespaces/default/configmaps/there", config_map())
    seen = provider.create(call(log, preview=True), inputs)
    assert (seen.id, seen.outputs) == ("", inputs)
    assert log.texts("info") == ([message] if message else [])


def test_an_object_that_exists_is_not_taken_over_silently(api: FakeApi, provider: KubernetesProvider, log: Log) -> None:
    api.put(PATH, config_map(data={"theirs": "1"}))
    with pytest.raises(ProviderError, match=r'was not successfully created.*"settings" already exists'):
        provider.create(call(log), config_map())
    assert api.objects[PATH]["data"] == {"theirs": "1"}


def test_an_interrupted_creation_is_taken_up(api: FakeApi, provider: KubernetesProvider, log: Log) -> None:
    entry = {"manager": "pulumi-kubernetes", "operation": "Update", "fieldsV1": fields_of(config_map())}
    api.put(PATH, config_map(metadata={"name": "settings", "namespace": "default", "uid": "u", "managedFields": [entry]}, data={"a": "0"}))
    made = provider.create(call(log, adopt=True), config_map())
    assert made.outputs["data"] == {"a": "1"} and made.outputs["metadata"]["uid"] == "u"
    assert made.outputs["metadata"]["managedFields"][0]["manager"] == made.outputs["__fieldManager"]


def test_a_creation_is_tried_again_until_its_namespace_is_there(
    api: FakeApi, provider: KubernetesProvider, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.providers.kubernetes.apply.FIRST_PAUSE", 0.01)
    tries = []

    def later(method: str, path: str) -> None:
        tries.append(method)
        if tries.count("POST") == 2:
            api.objects["/api/v1/namespaces/later"] = {"metadata": {"name": "later"}}

    api.hooks.append(later)
    made = provider.create(call(log), config_map(metadata={"name": "settings", "namespace": "later"}))
    assert made.id == "later/settings"
    assert log.texts("info") == ['Retry #0; creation failed: namespaces "later" not found']


def test_a_kind_without_definition_is_named(provider: KubernetesProvider, log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.providers.kubernetes.apply.FIRST_PAUSE", 0.001)
    widget = {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}}
    with pytest.raises(ProviderError, match=r'no matches for kind "Widget" in version "example\.com/v1"'):
        provider.create(call(log, "kubernetes:example.com/v1:Widget"), widget)


def test_a_definition_and_its_object_in_one_program(api: FakeApi, provider: KubernetesProvider, log: Log) -> None:
    crd = {
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "widgets.example.com"},
        "spec": {"group": "example.com", "scope": "Cluster", "names": {"kind": "Widget", "plural": "widgets"}},
    }  # fmt: skip
    provider.check(call(log, "kubernetes:apiextensions.k8s.io/v1:CustomResourceDefinition"), None, crd, b"")
    widget = {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}}
    checked = provider.check(call(log, "kubernetes:example.com/v1:Widget"), None, widget, b"")
    assert checked.inputs == widget  # cluster-wide, so without a namespace
    assert provider.create(call(log, "kubernetes:example.com/v1:Widget", preview=True), widget).outputs == widget
    api.discovery["/apis/example.com/v1"] = [("Widget", "widgets", False)]
    assert provider.create(call(log, "kubernetes:example.com/v1:Widget"), widget).id == "w"


def made(provider: KubernetesProvider, log: Log, inputs: Object) -> Object:
    return provider.create(call(log), inputs).outputs


def test_an_update_is_an_apply_by_the_manager_that_inherits_the_creation(api: FakeApi, provider: KubernetesProvider, log: Log) -> None:
    outputs = made(provider, log, config_map())
    manager = outputs["__fieldManager"]
    changed = config_map(data={"a": "2"})
    result = provider.update(call(log), "default/settings", config_map(), outputs, changed, [])
    inherit, apply = api.sent("PATCH")
    assert inherit[2][0]["value"][0]["manager"] == manager
    assert apply == (PATH, {"fieldManager": manager, "force": "false"}, changed)
    assert (result["data"], result["__fieldManager"], result["__inputs"]) == ({"a": "2"}, manager, changed)


def test_a_preview_of_an_update_changes_nothing(api: FakeApi, provider: KubernetesProvider, log: Log) -> None:
    outputs = made(provider, log, config_map())
    seen = provider.update(call(log, preview=True), "default/settings", config_map(), outputs, config_map(data={"a": "2"}), [])
    assert seen["data"] == {"a": "2"} and api.objects[PATH]["data"] == {"a": "1"}
    assert [(q["dryRun"], q["force"]) for _, q, _ in api.sent("PATCH")] == [("All", "true")]


def test_a_conflict_names_manager_field_and_fix(api: FakeApi, provider: KubernetesProvider, log: Log) -> None:
    outputs = made(provider, log, config_map())
    message = 'Apply failed with 1 conflict: conflict with "kubectl-edit" using v1: .data.a'
    api.objects[PATH]["metadata"]["managedFields"] = []
    api.failures[("PATCH", PATH)] = 409, status(409, message, "Conflict")
    with pytest.raises(InitError) as caught:
        provider.update(call(log), "default/settings", config_map(), outputs, config_map(data={"a": "2"}), [])
    for part in (message, 'pulumi.com/patchForce: "true"', outputs["__fieldManager"]):
        assert part in str(caught.value)
    # What is recorded differs from what is wanted, so the next run tries again.
    again = provider.diff(call(log), "default/settings", config_map(), caught.value.outputs, config_map(data={"a": "2"}), [])
    assert again.detailed and "data.a" in again.detailed


def test_force_is_asked_for_by_annotation(api: FakeApi, provider: KubernetesProvider, log: Log) -> None:
    outputs = made(provider, log, config_map())
    meta = {"name": "settings", "namespace": "default", "annotations": {"pulumi.com/patchForce": "true"}}
    provider.update(call(log), "default/settings", config_map(), outputs, config_map(metadata=meta), [])
    assert api.sent("PATCH")[-1][1]["force"] == "true"


def test_another_field_manager_takes_over_and_the_old_one_lets_go(api: FakeApi, provider: KubernetesProvider, log: Log) -> None:
    outputs = made(provider, log, config_map())
    meta = {"name": "settings", "namespace": "default", "annotations": {"pulumi.com/patchFieldManager": "team-a"}}
    result = provider.update(call(log), "default/settings", config_map(), outputs, config_map(metadata=meta), [])
    assert result["__fieldManager"] == "team-a"
    _, query, body = api.sent("PATCH")[-1]
    assert (query["fieldManager"], body["metadata"]) == (outputs["__fieldManager"], {"name": "settings", "namespace": "default"})
    assert "data" not in body


@pytest.mark.parametrize(
    ("managed", "sent"),
    [
        ([{"manager": "hpa", "operation": "Update", "fieldsV1": {"f:data": {"f:a": {}}}}], {}),
        ([], {"a": "live"}),
        (
            [
                {"manager": "hpa", "operation": "Update", "fieldsV1": {"f:data": {"f:a": {}}}},
                {"manager": "OURS", "operation": "Apply", "fieldsV1": {"f:data": {"f:a": {}}}},
            ],
            {"a": "live"},
        ),
    ],
    ids=["theirs alone", "nobody's", "shared"],
)
def test_ignored_fields_stay_as_they_are(api: FakeApi, provider: KubernetesProvider, log: Log, managed: list[Object], sent: Object) -> None:
    outputs = made(provider, log, config_map())
    manager = outputs["__fieldManager"]
    entries = [{**m, "manager": m["manager"].replace("OURS", manager)} for m in managed]
    api.objects[PATH] = {**api.objects[PATH], "data": {"a": "live"}}
    api.objects[PATH]["metadata"]["managedFields"] = entries
    provider.update(call(log), "default/settings", config_map(), outputs, config_map(data={"a": "new"}), ["data.a"])
    assert api.sent("PATCH")[-1][2]["data"] == sent


def test_client_side_mode_sends_what_differs(api: FakeApi, log: Log) -> None:
    provider = configured({"kubeconfig": api.kubeconfig, "enableServerSideApply": "false", "enableConfigMapMutable": "true"})
    checked = provider.check(call(log), None, config_map(), b"s").inputs
    assert checked["metadata"]["labels"] == {"app.kubernetes.io/managed-by": "pulumi"}
    assert "labels" not in provider.check(call(log), config_map(), config_map(), b"s").inputs["metadata"]
    outputs = made(provider, log, config_map(data={"a": "1", "b": "1"}))
    assert outputs["__fieldManager"] == "pulumi-kubernetes"
    result = provider.update(call(log), "default/settings", {}, outputs, config_map(data={"a": "2"}), [])
    assert api.sent("PATCH")[-1][2] == {"data": {"a": "2", "b": None}}
    assert result["data"] == {"a": "2"}


def test_definitions_are_replaced_whole(api: FakeApi, provider: KubernetesProvider, log: Log) -> None:
    type_ = "kubernetes:apiextensions.k8s.io/v1:CustomResourceDefinition"
    crd = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "widgets.example.com"}}
    live = {**crd, "status": {"conditions": [{"type": "Established", "status": "True"}]}}
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.example.com"
    api.put(path, live)
    api.script(path, live)
    outputs = {**live, "__inputs": crd, "__initialApiVersion": "apiextensions.k8s.io/v1", "__fieldManager": "m"}
    provider.update(call(log, type_), "widgets.example.com", crd, outputs, {**crd, "spec": {"group": "example.com"}}, [])
    sent = api.sent("PUT")[0]
    assert sent[1] == {"fieldManager": "m"} and sent[2]["metadata"]["resourceVersion"]


def test_patch_resources_apply_and_let_go(api: FakeApi, provider: KubernetesProvider, log: Log) -> None:
    type_ = "kubernetes:core/v1:ConfigMapPatch"
    api.put(PATH, config_map(data={"theirs": "1"}))
    patch = config_map(data={"ours": "1"})
    assert provider.create(call(log, type_, preview=True), patch).outputs == patch
    outputs = provider.create(call(log, type_), patch).outputs
    assert outputs["data"] == {"theirs": "1", "ours": "1"}
    provider.delete(call(log, type_), "default/settings", patch, outputs)
    assert api.objects[PATH] and not api.sent("DELETE")
    assert api.sent("PATCH")[-1][1] == {"fieldManager": outputs["__fieldManager"], "force": "true"}
    unnamed = provider.check(call(log, type_), None, {**patch, "metadata": {}}, b"s")
    assert [f.property for f in unnamed.failures] == ["metadata.name"]


@pytest.mark.parametrize(
    ("type_", "kind", "annotations", "policy"),
    [
        (CONFIG_MAP, "ConfigMap", {}, "Background"),
        (CONFIG_MAP, "ConfigMap", {"pulumi.com/deletionPropagationPolicy": "foreground"}, "Foreground"),
        ("kubernetes:core/v1:Service", "Service", {}, "Foreground"),
        ("kubernetes:core/v1:Service", "Service", {"pulumi.com/deletionPropagationPolicy": "orphan"}, "Orphan"),
    ],
)
def test_deletion(api: FakeApi, provider: KubernetesProvider, log: Log, type_: str, kind: str, annotations: Object, policy: str) -> None:
    obj = {"apiVersion": "v1", "kind": kind, "metadata": {"name": "settings", "namespace": "default", "annotations": annotations}}
    api.put(f"/api/v1/namespaces/default/{kind.lower()}s/settings", obj)
    outputs = {**obj, "__inputs": obj}
    provider.delete(call(log, type_), "default/settings", obj, outputs)
    assert not api.objects and api.sent("DELETE")[0][2]["propagationPolicy"] == policy
    provider.delete(call(log, type_), "default/settings", obj, outputs)  # gone already


def test_objects_of_a_deleted_definition_are_gone(provider: KubernetesProvider, log: Log) -> None:
    widget = {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}}
    type_ = "kubernetes:example.com/v1:Widget"
    provider.delete(call(log, type_), "w", widget, {**widget, "__inputs": widget})
    assert provider.read(call(log, type_), "w", widget, {**widget, "__inputs": widget}).id == ""


def test_reading_shows_drift_and_keeps_identity(api: FakeApi, provider: KubernetesProvider, log: Log) -> None:
    secret_inputs = config_map(data={"a": Secret("1")})
    outputs = made(provider, log, secret_inputs)
    assert outputs["data"] == {"a": Secret("1")}
    api.objects[PATH]["data"] = {"a": "drifted", "added": "x"}
    read = provider.read(call(log), "default/settings", secret_inputs, outputs)
    assert read.inputs["data"] == {"a": Secret("drifted")}
    assert (read.outputs["__fieldManager"], list(read.init_errors)) == (outputs["__fieldManager"], [])
    del api.objects[PATH]
    assert provider.read(call(log), "default/settings", secret_inputs, outputs).id == ""


def test_get_and_import(api: FakeApi, provider: KubernetesProvider, log: Log) -> None:
    meta = {"name": "settings", "namespace": "default", "uid": "u", "creationTimestamp": "t", "labels": {"a": "b"}}
    api.put(PATH, config_map(metadata=meta))
    got = provider.read(call(log), "default/settings", {}, {})
    assert got.outputs["data"] == {"a": "1"}
    assert got.outputs["__inputs"] == {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings", "namespace": "default"}}
    imported = provider.read(call(log), "default/settings", None, None)
    assert imported.inputs == config_map(metadata={"name": "settings", "namespace": "default", "labels": {"a": "b"}})
    with pytest.raises(ProviderError, match="is not a Kubernetes id"):
        provider.read(call(log), "default/", None, None)


def test_a_refresh_records_what_is_not_ready(api: FakeApi, provider: KubernetesProvider, log: Log) -> None:
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "settings", "namespace": "default"}}
    api.put("/apis/batch/v1/namespaces/default/jobs/settings", job)
    read = provider.read(call(log, "kubernetes:batch/v1:Job"), "default/settings", job, {**job, "__inputs": job})
    assert list(read.init_errors) == ["Resource 'settings' was created but failed to initialize"]


def test_a_job_that_did_not_complete_can_be_replaced(api: FakeApi, provider: KubernetesProvider, log: Log) -> None:
    meta = {"name": "settings", "namespace": "default", "annotations": {"pulumi.com/replaceUnready": "true"}}
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": meta}
    path = "/apis/batch/v1/namespaces/default/jobs/settings"
    api.put(path, job)
    diff = provider.diff(call(log, "kubernetes:batch/v1:Job"), "default/settings", job, {**job, "__inputs": job}, job, [])
    assert diff.replaces == ['.metadata.annotations["pulumi.com/replaceUnready"]'] and diff.delete_before_replace
    done = {"startTime": "t", "conditions": [{"type": "Complete", "status": "True"}]}
    api.put(path, {**job, "status": done})
    assert not provider.diff(call(log, "kubernetes:batch/v1:Job"), "default/settings", job, {**job, "__inputs": job}, job, []).replaces


# No cluster


def unreachable(**config: Any) -> KubernetesProvider:
    api = FakeApi()
    api.close()
    return configured({"kubeconfig": api.kubeconfig, **config})


def test_a_preview_goes_on_without_a_cluster_and_says_so_once(log: Log) -> None:
    provider = unreachable()
    for _ in range(2):
        checked = provider.check(call(log, preview=True), None, config_map(), b"s")
        assert provider.create(call(log, preview=True), checked.inputs).outputs == config_map()
    assert provider.update(call(log, preview=True), "default/settings", {}, {**config_map(), "__inputs": config_map()}, config_map(), [])
    warnings = log.texts("warning")
    assert len(warnings) == 1 and warnings[0].startswith("configured Kubernetes cluster is unreachable: http://127.0.0.1:")


def test_operations_fail_without_a_cluster(log: Log) -> None:
    provider, state = unreachable(), {**config_map(), "__inputs": config_map()}
    with pytest.raises(ProviderError, match=r"configured Kubernetes cluster is unreachable: .*onnection refused"):
        provider.create(call(log), config_map())
    for operation in (
        lambda: provider.delete(call(log), "default/settings", config_map(), state),
        lambda: provider.read(call(log), "default/settings", config_map(), state),
    ):
        with pytest.raises(ProviderError, match="PULUMI_K8S_DELETE_UNREACHABLE"):
            operation()


def test_a_lost_cluster_can_be_forgotten(log: Log) -> None:
    provider, state = unreachable(deleteUnreachable="true"), {**config_map(), "__inputs": config_map()}
    provider.delete(call(log), "default/settings", config_map(), state)
    assert provider.read(call(log), "default/settings", config_map(), state).id == ""
    keeping = unreachable(skipUpdateUnreachable="true")
    assert keeping.read(call(log), "default/settings", config_map(), state).outputs == state
    assert keeping.check(call(log), config_map(), config_map(data={"a": "2"}), b"").inputs == config_map()


def test_a_broken_kubeconfig_is_an_unreachable_cluster(log: Log) -> None:
    provider = configured({"kubeconfig": "{not: [yaml"})
    with pytest.raises(ProviderError, match="failed to parse kubeconfig data"):
        provider.create(call(log), config_map())


# Rendering


def test_manifests_are_rendered_without_a_cluster(tmp_path: Path, log: Log) -> None:
    provider = configured({"renderYamlToDirectory": str(tmp_path / "out"), "kubeconfig": ""})
    widget = {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}}
    crd = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "widgets.example.com"}}
    provider.create(call(log, preview=True), config_map())
    assert not (tmp_path / "out").exists()
    created = provider.create(call(log), config_map(data={"a": Secret("geheim")}))
    provider.create(call(log, "kubernetes:example.com/v1:Widget"), widget)
    provider.create(call(log, "kubernetes:apiextensions.k8s.io/v1:CustomResourceDefinition"), crd)
    files = sorted(str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*.yaml"))
    assert files == [
        "0-crd/apiextensions.k8s.io_v1-customresourcedefinition-default-widgets.example.com.yaml",
        "1-manifest/example.com_v1-widget-default-w.yaml",
        "1-manifest/v1-configmap-default-settings.yaml",
    ]
    manifest = tmp_path / "out" / files[2]
    assert yaml.safe_load(manifest.read_text()) == config_map(data={"a": "geheim"})
    assert manifest.stat().st_mode & 0o777 == 0o600
    assert created.id == "default/settings" and created.outputs["data"] == {"a": Secret("geheim")}
    assert any("plaintext" in w and "geheim" not in w for w in log.texts("warning"))
    provider.update(call(log), created.id, {}, created.outputs, config_map(data={"a": "2"}), [])
    assert yaml.safe_load(manifest.read_text())["data"] == {"a": "2"}
    provider.delete(call(log), created.id, {}, created.outputs)
    assert not manifest.exists()


# Checks and functions


@pytest.mark.parametrize(
    ("config", "type_", "inputs", "namespace"),
    [
        ({"namespace": "team"}, CONFIG_MAP, {"apiVersion": "v1", "kind": "ConfigMap"}, "team"),
        ({}, CONFIG_MAP, {"apiVersion": "v1", "kind": "ConfigMap"}, "default"),
        ({"namespace": "team"}, CONFIG_MAP, config_map(metadata={"namespace": "own"}), "own"),
        ({"namespace": "team"}, "kubernetes:core/v1:Namespace", {"apiVersion": "v1", "kind": "Namespace"}, None),
        ({"namespace": "team"}, "kubernetes:core/v1:ConfigMap", config_map(metadata={"namespace": UNKNOWN}), UNKNOWN),
        ({"namespace": "team"}, "kubernetes:example.com/v1:Widget", {"apiVersion": "example.com/v1", "kind": "Widget"}, "team"),
    ],
)  # fmt: skip
def test_the_namespace_is_filled_in(api: FakeApi, log: Log, config: Object, type_: str, inputs: Object, namespace: Any) -> None:
    provider = configured({"kubeconfig": api.kubeconfig, **config})
    checked = provider.check(call(log, type_), None, inputs, b"s").inputs
    assert checked["metadata"].get("namespace") == namespace
    assert checked["metadata"]["name"].startswith("settings-")


def test_lists_are_refused_and_internal_annotations_warned_of(provider: KubernetesProvider, log: Log) -> None:
    with pytest.raises(ProviderError, match="list resources"):
        provider.check(call(log, "kubernetes:core/v1:ConfigMapList"), None, {"apiVersion": "v1", "kind": "ConfigMapList"}, b"")
    annotated = config_map(metadata={"name": "a", "annotations": {"pulumi.com/autonamed": "true"}})
    provider.check(call(log), None, annotated, b"")
    assert log.texts("warning") == ['ignoring user-specified value for internal annotation "pulumi.com/autonamed"']


def test_a_name_of_the_servers_choice(api: FakeApi, provider: KubernetesProvider, log: Log) -> None:
    inputs = config_map(metadata={"generateName": "job-", "namespace": "default"})
    checked = provider.check(call(log), None, inputs, b"s").inputs
    created = provider.create(call(log), checked)
    assert created.id == "default/job-x7k2p"
    diff = provider.diff(call(log), created.id, checked, created.outputs, checked, [])
    assert diff.detailed == {}
    provider.update(call(log), created.id, checked, created.outputs, {**checked, "immutable": True}, [])
    assert api.sent("PATCH")[-1][2]["metadata"]["name"] == "job-x7k2p"


def test_functions(provider: KubernetesProvider, log: Log) -> None:
    text = "apiVersion: v1\nkind: Service\nmetadata: {name: s}\n"
    result = provider.invoke(call(log), "kubernetes:yaml:decode", {"text": text, "defaultNamespace": "team"})
    assert result == {"result": [{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s", "namespace": "team"}}]}
    for token in ("kubernetes:helm:template", "kubernetes:kustomize:directory"):
        with pytest.raises(ProviderError, match="needs the pulumi CLI"):
            provider.invoke(call(log), token, {})
