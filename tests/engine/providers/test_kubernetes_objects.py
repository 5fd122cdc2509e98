"""Pure parts of the Kubernetes provider: canonical form, secretness, names, diffs, settings."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from engine.provider import Call, Changes, ProviderError
from engine.providers.kubernetes import KubernetesProvider, difference, kinds, naming
from engine.providers.kubernetes.configuration import check_configuration, replacing_configuration
from engine.providers.kubernetes.decode import decode
from engine.providers.kubernetes.force_new import force_new
from engine.providers.kubernetes.managed_fields import FieldSet, taken_over
from engine.providers.kubernetes.normalize import normalize, quantity
from engine.providers.kubernetes.objects import LAST_APPLIED, checkpoint, from_checkpoint, mark_secrets, prune, to_object
from engine.providers.kubernetes.settings import locate, read
from engine.values import UNKNOWN, Secret, contains_secret, reveal

OBSERVED = json.loads(Path(__file__).with_name("kubernetes_observed.json").read_text())


def call(urn: str) -> Call:
    return Call(urn, True, threading.Event())


def with_secrets(value: Any) -> Any:
    if isinstance(value, dict):
        return Secret({"k": "v"}) if value == {"secret": True} else {k: with_secrets(v) for k, v in value.items()}
    return [with_secrets(v) for v in value] if isinstance(value, list) else value


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> KubernetesProvider:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    made = KubernetesProvider()
    made.configure({})
    return made


# Against what pulumi-kubernetes did


@pytest.mark.parametrize("case", OBSERVED["diffs"], ids=lambda c: f"{c['program']} {c['urn'].split('::')[-1]}")
def test_diffs_are_those_of_pulumi(provider: KubernetesProvider, case: dict[str, Any]) -> None:
    old = with_secrets(case["old"])
    diff = provider.diff(call(case["urn"]), old["id"], old["inputs"], old["outputs"], with_secrets(case["inputs"]), [])
    assert diff.detailed is not None
    assert {k: v.kind for k, v in diff.detailed.items()} == case["detailedDiff"]
    assert list(diff.replaces) == case["keys"]
    named = "pulumi.com/autonamed" not in case["inputs"]["metadata"].get("annotations", {})
    assert diff.delete_before_replace == (case["op"] == "replace" and named)


@pytest.mark.parametrize("state", OBSERVED["states"], ids=lambda s: s["urn"].split("::", 2)[2])
def test_a_state_of_pulumi_is_no_change(provider: KubernetesProvider, state: dict[str, Any]) -> None:
    diff = provider.diff(call(state["urn"]), state["id"], state["inputs"], state["outputs"], state["inputs"], [])
    assert (diff.changes, diff.detailed) == (Changes.NONE, {})


@pytest.mark.parametrize("state", OBSERVED["states"], ids=lambda s: s["urn"].split("::", 2)[2])
def test_check_gives_the_inputs_that_pulumi_stored(provider: KubernetesProvider, state: dict[str, Any]) -> None:
    program = json.loads(json.dumps(state["inputs"]))
    meta = program["metadata"]
    if "pulumi.com/autonamed" in meta.get("annotations", {}):
        del meta["annotations"]["pulumi.com/autonamed"], meta["name"]
        if not meta["annotations"]:
            del meta["annotations"]
    if meta.get("namespace") == "default":
        del meta["namespace"]
    checked = provider.check(call(state["urn"]), state["inputs"], program, b"")
    assert (checked.inputs, list(checked.failures)) == (state["inputs"], [])


@pytest.mark.parametrize("state", OBSERVED["states"], ids=lambda s: s["urn"].split("::", 2)[2])
def test_a_checkpoint_is_read_and_written_alike(state: dict[str, Any]) -> None:
    inputs, live = from_checkpoint(state["outputs"])
    version, manager = live.pop("__initialApiVersion"), live.pop("__fieldManager")
    assert checkpoint(inputs, live, state["inputs"], version, manager) == state["outputs"]


# Canonical form


@pytest.mark.parametrize(
    ("given_text", "expected"),
    [
        ("0.5", "500m"), ("1000m", "1"), ("1024Mi", "1Gi"), ("1.5Gi", "1536Mi"), ("1000Mi", "1000Mi"), ("0", "0"), ("0Mi", "0"),
        ("512", "512"), ("1e3", "1e3"), ("1E3", "1e3"), ("1500e3", "1500e3"), ("1000k", "1M"), ("128974848", "128974848"),
        ("100Ki", "100Ki"), ("0.5Ki", "512"), (2, "2"), (0.1, "100m"), ("1n", "1n"), ("0.1n", "1n"), ("2000000u", "2"), ("1E", "1E"),
        ("-1.5", "-1500m"), ("1500m", "1500m"), ("9000000000G", "9E"),
    ],
)  # fmt: skip
def test_quantities_are_canonical(given_text: Any, expected: str) -> None:
    assert quantity(given_text) == expected


@given(st.integers(-(10**15), 10**15), st.sampled_from(["", "m", "k", "M", "G", "Ki", "Mi", "Gi"]))
def test_a_canonical_quantity_stays(number: int, suffix: str) -> None:
    once = quantity(f"{number}{suffix}")
    assert quantity(once) == once


def pod_spec(**fields: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [{"name": "c"}], **fields}}


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"hostNetwork": False}, {}),
        ({"hostNetwork": True}, {"hostNetwork": True}),
        ({"automountServiceAccountToken": False}, {"automountServiceAccountToken": False}),  # a pointer: false is said
        ({"nodeSelector": {}}, {}),
        ({"volumes": []}, {}),
        ({"volumes": [{"name": "v", "emptyDir": {}}]}, {"volumes": [{"name": "v", "emptyDir": {}}]}),
        ({"securityContext": {}}, {"securityContext": {}}),
        ({"nodeName": ""}, {}),
        ({"terminationGracePeriodSeconds": 0}, {"terminationGracePeriodSeconds": 0}),
        ({"misspelt": 1}, {}),
        (
            {"hostNetwork": "yes", "nodeSelector": {}},
            {"hostNetwork": "yes", "nodeSelector": {}},
        ),  # does not fit: left for the server to refuse
    ],
)
def test_what_the_server_would_drop_is_dropped(spec: dict[str, Any], expected: dict[str, Any]) -> None:
    assert normalize(pod_spec(**spec)) == pod_spec(**expected)


def test_containers_are_normalized_inside_lists() -> None:
    container = {"name": "c", "stdin": False, "ports": [{"containerPort": 80}], "resources": {"limits": {"cpu": "1000m"}}}
    probe = {"httpGet": {"path": "/", "port": "http"}, "initialDelaySeconds": 0}
    result = normalize(pod_spec(containers=[{**container, "readinessProbe": probe}]))["spec"]["containers"][0]
    assert result == {
        "name": "c", "ports": [{"containerPort": 80}], "resources": {"limits": {"cpu": "1"}},
        "readinessProbe": {"httpGet": {"path": "/", "port": "http"}},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"stringData": {"p": "x"}}, {"data": {"p": "eA=="}}),
        ({"stringData": {"p": "x"}, "data": {"p": "eQ==", "q": "eQ=="}}, {"data": {"p": "eA==", "q": "eQ=="}}),
        ({"data": {"p": "eA==\n"}}, {"data": {"p": "eA=="}}),
        ({"data": {"p": "not base64!"}}, {"data": {"p": "not base64!"}}),
    ],
)
def test_secrets_are_encoded_as_the_server_does(fields: dict[str, Any], expected: dict[str, Any]) -> None:
    base = {"apiVersion": "v1", "kind": "Secret"}
    assert normalize({**base, **fields}) == {**base, **expected}


def test_unknown_values_keep_an_object_as_it_is() -> None:
    obj = {"apiVersion": "v1", "kind": "Secret", "metadata": {"uid": "u"}, "stringData": {"p": UNKNOWN}}
    assert normalize(obj) == {"apiVersion": "v1", "kind": "Secret", "metadata": {}, "stringData": {"p": UNKNOWN}}


def test_custom_resources_are_left_alone() -> None:
    obj = {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"labels": {}}, "spec": {"on": False}}
    assert normalize(obj) == obj


def test_definitions_get_their_dashes_back() -> None:
    assert to_object({"a": {"x_kubernetes_int_or_string": True}, "b": None, "c": Secret("s")}) == {
        "a": {"x-kubernetes-int-or-string": True}, "c": "s",
    }  # fmt: skip


# Secretness


@pytest.mark.parametrize(
    ("outs", "ins", "expected"),
    [
        ({"a": 1, "b": 2}, {"a": Secret(1)}, {"a": Secret(1), "b": 2}),
        ({"spec": {"env": ["x", "y"], "n": 1}}, {"spec": {"env": ["x", Secret("y")]}}, {"spec": {"env": Secret(["x", "y"]), "n": 1}}),
        ({"spec": {"n": 1}}, {"spec": Secret({"n": 1})}, {"spec": Secret({"n": 1})}),
        ({"kind": "Secret", "data": {"a": "b"}}, {}, {"kind": "Secret", "data": Secret({"a": "b"})}),
        ({"kind": "ConfigMap", "data": {"a": "b"}}, {}, {"kind": "ConfigMap", "data": {"a": "b"}}),
    ],
)
def test_secretness_is_kept(outs: dict[str, Any], ins: dict[str, Any], expected: dict[str, Any]) -> None:
    assert mark_secrets(outs, ins) == expected


def test_no_part_of_a_secret_is_stored_in_the_open() -> None:
    value = "c2VjcmV0LXZhbHVl"
    live = {
        "apiVersion": "v1", "kind": "Secret", "data": {"p": value},
        "metadata": {"name": "s", "annotations": {LAST_APPLIED: f'{{"data":{{"p":"{value}"}}}}', "other": "o"}},
    }  # fmt: skip
    outputs = checkpoint(live, live, {}, "v1", "m")

    def visible(v: Any) -> str:
        return "" if isinstance(v, Secret) else " ".join(map(visible, v.values())) if isinstance(v, dict) else str(v)

    assert value not in visible(outputs)
    assert reveal(outputs)["__inputs"]["data"] == {"p": value}


secret_or_text = st.one_of(st.text(max_size=3), st.text(max_size=3).map(Secret))
properties = st.recursive(
    secret_or_text, lambda c: st.one_of(st.lists(c, max_size=3), st.dictionaries(st.sampled_from("abc"), c, max_size=3)), max_leaves=8
)


@given(st.dictionaries(st.sampled_from("abc"), properties, max_size=3))
def test_whatever_is_secret_in_inputs_is_secret_in_outputs(ins: dict[str, Any]) -> None:
    marked = mark_secrets(to_object(ins), ins)
    assert reveal(marked) == to_object(ins)

    def covered(given_value: Any, shown: Any) -> bool:
        if isinstance(shown, Secret):
            return True
        if isinstance(given_value, dict):
            return all(covered(v, shown[k]) for k, v in given_value.items())
        return not contains_secret(given_value)

    assert covered(ins, marked)


# Diffs


def detail(old: Any, new: Any, forced: tuple[str, ...] = ()) -> dict[str, str]:
    return {k: v.kind for k, v in difference.detailed(old, new, forced).items()}


@pytest.mark.parametrize(
    ("old", "new", "forced", "expected"),
    [
        ({"a": 1}, {"a": 1}, (), {}),
        ({"a": 1}, {"a": 1.0}, (), {}),
        ({"a": 1}, {"a": True}, (), {"a": "update"}),
        ({"a": {"b": 1}}, {"a": {"b": 2}}, (".a",), {"a.b": "update-replace"}),
        ({"a": {"b": 1}}, {"a": {"b": 2}}, (".a.b.c",), {"a.b": "update"}),
        ({"a": {"b": 1}}, {}, (".a.b.c",), {"a": "delete-replace"}),
        ({}, {"a": {"b": {"c": 1}}}, (".a.b.c",), {"a": "add-replace"}),
        ({"l": [{"n": 1, "gone": 2}]}, {"l": [{"n": 1}]}, (), {"l[0].gone": "delete"}),
        ({"l": [1, 2]}, {"l": [1]}, (), {"l[1]": "delete"}),
        ({"l": [1]}, {"l": [1, 2]}, (), {"l[1]": "add"}),
        ({"l": [{"image": "a"}]}, {"l": [{"image": "b"}]}, (".l[*].image",), {"l[0].image": "update-replace"}),
        ({"m": {"a.b/c": 1}}, {"m": {"a.b/c": 2}}, (), {'m["a.b/c"]': "update"}),
        ({"a": 1}, {"a": UNKNOWN}, (".a",), {"a": "update-replace"}),
        ({}, {"a": UNKNOWN}, (), {"a": "add"}),
        ({"a": {"b": 1}}, {"a": UNKNOWN}, (), {"a": "update"}),
    ],
)
def test_detailed_diffs(old: Any, new: Any, forced: tuple[str, ...], expected: dict[str, str]) -> None:
    assert detail(old, new, forced) == expected


json_values = st.recursive(
    st.one_of(st.booleans(), st.integers(-3, 3), st.text(max_size=2)),
    lambda c: st.one_of(st.lists(c, max_size=3), st.dictionaries(st.sampled_from("abc"), c, max_size=3)),
    max_leaves=8,
)
json_objects = st.dictionaries(st.sampled_from("abc"), json_values, max_size=3)


@given(json_objects, json_objects)
def test_a_diff_is_empty_exactly_when_nothing_differs(old: Any, new: Any) -> None:
    assert (detail(old, new) == {}) == (old == new and json.dumps(old, sort_keys=True) == json.dumps(new, sort_keys=True))


@given(json_objects, json_objects)
def test_pruning_adds_nothing(source: Any, shape: Any) -> None:
    pruned = prune(source, shape)
    assert pruned.keys() == source.keys() & shape.keys()
    assert prune(source, source) == source


def test_ignored_paths_are_left_out() -> None:
    found = difference.detailed({"a": {"x": 1, "y": 1}, "l": [{"n": 1}]}, {"a": {"x": 2, "y": 2}, "l": [{"n": 2}]}, ())
    assert sorted(difference.without_ignored(found, ["a.x", "l[*].n"])) == ["a.y"]
    with pytest.raises(ProviderError, match="ignoreChanges"):
        difference.without_ignored(found, ["a..["])


@pytest.mark.parametrize(
    ("obj", "flags", "path", "replaces"),
    [
        ({"apiVersion": "v1", "kind": "ConfigMap"}, (False, False), ".data", True),
        ({"apiVersion": "v1", "kind": "ConfigMap"}, (True, False), ".data", False),
        ({"apiVersion": "v1", "kind": "ConfigMap", "immutable": True}, (True, False), ".data", True),
        ({"apiVersion": "v1", "kind": "Secret"}, (False, True), ".data", False),
        ({"apiVersion": "v1", "kind": "Secret"}, (False, True), ".type", True),
        ({"apiVersion": "v1", "kind": "Secret"}, (False, False), ".stringData", True),
        ({"apiVersion": "apps/v1", "kind": "StatefulSet"}, (False, False), ".spec.volumeClaimTemplates", True),
        ({"apiVersion": "batch/v1", "kind": "Job"}, (False, False), ".spec.template", True),
        ({"apiVersion": "batch/v1", "kind": "CronJob"}, (False, False), ".spec.template", False),
        ({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding"}, (False, False), ".roleRef", True),
        ({"apiVersion": "example.com/v1", "kind": "Widget"}, (False, False), ".metadata.name", True),
    ],
)
def test_what_cannot_change_in_place(obj: dict[str, Any], flags: tuple[bool, bool], path: str, replaces: bool) -> None:
    assert (path in force_new(obj, mutable_config_maps=flags[0], mutable_secrets=flags[1])) == replaces


# Names, kinds, managed fields


def test_names_are_made_up_and_kept() -> None:
    urn = "urn:pulumi:dev::p::kubernetes:core/v1:ConfigMap::settings"
    one: dict[str, Any] = {}
    naming.assign(one, urn, b"seed")
    again: dict[str, Any] = {}
    naming.assign(again, urn, b"seed")
    assert one == again
    assert one["metadata"]["annotations"] == {"pulumi.com/autonamed": "true"}
    assert len(one["metadata"]["name"]) == len("settings-") + 8
    kept: dict[str, Any] = {"metadata": {"labels": {"a": "b"}}}
    naming.adopt(kept, one)
    assert kept["metadata"]["name"] == one["metadata"]["name"]
    for given_meta in ({"name": "fixed"}, {"name": UNKNOWN}, {"generateName": "x-"}):
        named: dict[str, Any] = {"metadata": dict(given_meta)}
        naming.assign(named, urn, b"seed")
        assert named == {"metadata": given_meta}


@pytest.mark.parametrize(
    ("type_", "list_", "patch"),
    [
        ("apps/v1:DeploymentList", True, False),
        ("apps/v1:DeploymentPatch", False, True),
        ("apps/v1:Deployment", False, False),
        ("x.io/v1:AllowList", False, False),
    ],
)
def test_lists_and_patches_are_told_from_kinds(type_: str, list_: bool, patch: bool) -> None:
    urn = f"urn:pulumi:dev::p::kubernetes:{type_}::n"
    assert (kinds.is_list(urn), kinds.is_patch(urn, "Deployment")) == (list_, patch)


@pytest.mark.parametrize("type_", ["helm.sh/v3:Release", "yaml/v2:ConfigFile", "nonsense"])
def test_other_types_of_the_package_are_refused(type_: str) -> None:
    with pytest.raises(ProviderError, match="needs the pulumi CLI"):
        kinds.kind_of_urn(f"urn:pulumi:dev::p::kubernetes:{type_}::n")


def test_scopes_are_known_without_a_cluster() -> None:
    assert kinds.is_namespaced(kinds.Kind("", "v1", "Namespace")) is False
    assert kinds.is_namespaced(kinds.Kind("apps", "v1", "DeploymentPatch")) is True
    assert kinds.is_namespaced(kinds.Kind("example.com", "v1", "Widget")) is None


def test_an_update_inherits_the_fields_of_the_creation() -> None:
    created = {"manager": "pulumi-kubernetes", "operation": "Update", "fieldsV1": {"f:data": {"f:a": {}}}}
    other = {"manager": "kube-controller-manager", "operation": "Update", "subresource": "status", "fieldsV1": {}}
    entries = taken_over([created, other], "pulumi-kubernetes-1234")
    assert entries == [other, {**created, "manager": "pulumi-kubernetes-1234", "operation": "Apply"}]
    assert taken_over(entries, "pulumi-kubernetes-1234") is None
    own = {"manager": "m", "operation": "Apply", "fieldsV1": {"f:data": {"f:b": {}}}}
    assert taken_over([own, created], "m") == [{**own, "fieldsV1": {"f:data": {"f:a": {}, "f:b": {}}}}]


def test_field_sets_know_what_is_below() -> None:
    fields = FieldSet()
    fields.add({"f:spec": {"f:replicas": {}}})
    assert fields.has(("spec",)) and fields.has(("spec", "replicas")) and not fields.has(("spec", "paused"))


# Settings


def kubeconfig(server: str = "https://one", name: str = "a", namespace: str = "") -> dict[str, Any]:
    context = {"cluster": name, "user": name, **({"namespace": namespace} if namespace else {})}
    return {
        "current-context": name, "clusters": [{"name": name, "cluster": {"server": server}}],
        "users": [{"name": name, "user": {}}], "contexts": [{"name": name, "context": context}],
    }  # fmt: skip


def test_flags_come_from_configuration_then_environment_then_default(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read({}).flag("enableServerSideApply") and not read({}).flag("enableConfigMapMutable")
    monkeypatch.setenv("PULUMI_K8S_ENABLE_CONFIGMAP_MUTABLE", "true")
    assert read({}).flag("enableConfigMapMutable")
    assert not read({"enableConfigMapMutable": "false"}).flag("enableConfigMapMutable")
    assert not read({"enableServerSideApply": False}).flag("enableServerSideApply")
    with pytest.raises(ProviderError, match=r"kubeClientSettings\.qps"):
        read({"kubeClientSettings": {"qps": "many"}})


@pytest.mark.parametrize(
    ("config", "namespace", "error"),
    [
        ({"kubeconfig": kubeconfig(namespace="team")}, "team", ""),
        ({"kubeconfig": kubeconfig(namespace="team"), "namespace": "mine"}, "mine", ""),
        ({"kubeconfig": kubeconfig()}, "default", ""),
        ({"kubeconfig": kubeconfig(), "context": "b"}, "default", "context 'b' does not exist"),
        ({"kubeconfig": kubeconfig(), "cluster": "b"}, "default", "cluster 'b' does not exist"),
        ({"kubeconfig": "/does/not/exist"}, "", "failed to parse kubeconfig"),
        ({}, "default", "no configuration has been provided"),
    ],
)
def test_the_cluster_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, config: dict[str, Any], namespace: str, error: str) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    target = locate(read(config))
    assert target.namespace == namespace
    assert error in target.error and bool(error) == bool(target.error)


def test_several_files_are_merged_and_relative_paths_follow_their_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    first, second = kubeconfig("https://one", "a"), kubeconfig("https://two", "b")
    first["clusters"][0]["cluster"]["certificate-authority"] = "ca.crt"
    for path, content in ((tmp_path / "x" / "1", first), (tmp_path / "2", second)):
        path.write_text(yaml.safe_dump(content))
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path / 'x' / '1'}:{tmp_path / '2'}")
    config = locate(read({"context": "b"})).config
    assert config is not None and config["current-context"] == "b"
    assert config["clusters"][0]["cluster"]["certificate-authority"] == str(tmp_path / "x" / "ca.crt")


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ({"kubeconfig": kubeconfig("https://one")}, {"kubeconfig": kubeconfig("https://one", namespace="n")}, []),
        ({"kubeconfig": kubeconfig("https://one")}, {"kubeconfig": kubeconfig("https://two")}, ["kubeconfig"]),
        ({"kubeconfig": kubeconfig("https://one")}, {"kubeconfig": UNKNOWN}, ["kubeconfig"]),
        (
            {"kubeconfig": kubeconfig("https://one"), "clusterIdentifier": "x"},
            {"kubeconfig": kubeconfig("https://two"), "clusterIdentifier": "x"},
            [],
        ),
        ({"clusterIdentifier": "x"}, {"clusterIdentifier": "y"}, ["clusterIdentifier"]),
        ({"namespace": "a"}, {"namespace": "b"}, []),
        ({"renderYamlToDirectory": "a"}, {"renderYamlToDirectory": "b"}, ["renderYamlToDirectory"]),
    ],
)
def test_another_cluster_replaces_everything(old: dict[str, Any], new: dict[str, Any], expected: list[str]) -> None:
    assert list(replacing_configuration(old, new)) == expected


def test_rendering_and_a_cluster_contradict_each_other() -> None:
    with pytest.raises(ProviderError, match="renderYamlToDirectory"):
        check_configuration({"renderYamlToDirectory": "out", "context": "c"})


# yaml:decode


def test_manifests_are_decoded() -> None:
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {at: 2026-01-01}\n---\n---\n"
    text += "kind: Namespace\napiVersion: v1\nmetadata: {name: n}\n"
    found = decode(text, "team", lambda kind: kind.kind == "ConfigMap")
    assert [o["metadata"] for o in found] == [{"name": "a", "namespace": "team"}, {"name": "n"}]
    assert found[0]["data"] == {"at": "2026-01-01"}
    with pytest.raises(ProviderError, match="line 2"):
        decode("a: 1\nb: [", "", lambda kind: True)
