"""Waiting: sequences of object versions, as the API server would show them, to status lines, success or failure."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from engine.provider import Call, ProviderError
from engine.providers.kubernetes import waiting
from engine.providers.kubernetes.session import Session
from engine.providers.kubernetes.settings import read
from tests.engine.providers.kubernetes_fake import FakeApi

Object = dict[str, Any]
NAMESPACE = "/namespaces/shop"


@pytest.fixture
def api() -> Iterator[FakeApi]:
    server = FakeApi()
    yield server
    server.close()


class Run:
    """One wait: what was said, how it ended."""

    def __init__(self, api: FakeApi):
        self.session = Session(read({"kubeconfig": api.kubeconfig}))
        self.said: list[tuple[str, str]] = []
        self.cancelled = threading.Event()

    def call(self, timeout: float | None = None) -> Call:
        return Call("urn:pulumi:dev::p::kubernetes:x/v1:X::n", False, self.cancelled, log=self._log, timeout=timeout)

    def _log(self, severity: str, message: str, ephemeral: bool) -> None:
        assert ephemeral
        self.said.append((severity, message))

    def wait(self, live: Object, last: Object | None = None, timeout: float = 5, inputs: Object | None = None) -> Object:
        return waiting.until_ready(self.call(timeout), self.session.writer, inputs or live, live, last)

    @property
    def lines(self) -> list[str]:
        return [m for _, m in self.said]


@pytest.fixture
def run(api: FakeApi) -> Run:
    return Run(api)


def obj(api_version: str, kind: str, name: str = "web", **parts: Any) -> Object:
    meta = {"name": name, "namespace": "shop", "uid": f"uid-{kind}-{name}", "generation": 1, **parts.pop("metadata", {})}
    return {"apiVersion": api_version, "kind": kind, "metadata": meta, **parts}


def owned_by(owner: Object, revision: str = "") -> Object:
    return {
        "ownerReferences": [{"uid": owner["metadata"]["uid"]}],
        "annotations": {"deployment.kubernetes.io/revision": revision} if revision else {},
        "labels": {"app": "web"},
    }


def condition(type_: str, status: bool, reason: str = "", message: str = "") -> Object:
    return {"type": type_, "status": str(status), "reason": reason, "message": message}


SELECTOR = {"matchLabels": {"app": "web"}}


def deployment(
    revision: str = "1", available: bool = False, rolled_out: bool = False, observed: int | None = 1, generation: int = 1
) -> Object:
    conditions = [
        condition("Available", available, "MinimumReplicasUnavailable", "Deployment does not have minimum availability."),
        condition("Progressing", True, "NewReplicaSetAvailable" if rolled_out else "ReplicaSetUpdated", "…"),
    ]
    return obj(
        "apps/v1", "Deployment",
        metadata={"generation": generation, "annotations": {"deployment.kubernetes.io/revision": revision} if revision else {}},
        spec={"replicas": 1, "selector": SELECTOR},
        status={"observedGeneration": observed, "conditions": conditions, "readyReplicas": int(available)} if observed else {},
    )  # fmt: skip


def replica_set(ready: int, revision: str = "1") -> Object:
    meta = owned_by(deployment(), revision)
    return obj("apps/v1", "ReplicaSet", f"web-{revision}", metadata=meta, spec={"replicas": 1}, status={"readyReplicas": ready})


def pod(
    owner: Object, *statuses: Object, ready: bool = False, message: str = "containers with unready status: [c]", phase: str = "Running"
) -> Object:
    conditions = [condition("PodScheduled", True), condition("Initialized", True), condition("Ready", ready, "ContainersNotReady", message)]
    return obj(
        "v1", "Pod", "web-x", metadata=owned_by(owner), status={"phase": phase, "conditions": conditions, "containerStatuses": [*statuses]}
    )


DEPLOYMENT = f"/apis/apps/v1{NAMESPACE}/deployments/web"
REPLICA_SETS = f"/apis/apps/v1{NAMESPACE}/replicasets"
PODS = f"/api/v1{NAMESPACE}/pods"


def test_a_deployment_becomes_ready(api: FakeApi, run: Run) -> None:
    api.script(DEPLOYMENT, deployment("", observed=None), deployment(), deployment(available=True))
    api.script(REPLICA_SETS, {"items": [replica_set(0)]}, {"items": [replica_set(1)]})
    live = run.wait(deployment("", observed=None))
    assert live["status"]["readyReplicas"] == 1
    assert run.said == [
        ("warning", "[MinimumReplicasUnavailable] Deployment does not have minimum availability."),
        ("info", "Waiting for app ReplicaSet to be available (0/1 Pods available)"),
        ("info", "Deployment initialization complete"),
    ]


def test_a_rollout_waits_for_the_new_replica_set(api: FakeApi, run: Run) -> None:
    last = deployment("1", True, True)
    behind = deployment("1", True, True, observed=1, generation=2)  # the controller has not seen the change
    rolling = deployment("2", True, False, observed=2, generation=2)
    done = deployment("2", True, True, observed=2, generation=2)
    api.script(DEPLOYMENT, behind, rolling, done)
    api.script(REPLICA_SETS, {"items": [replica_set(1, "1"), replica_set(0, "2")]}, {"items": [replica_set(1, "1"), replica_set(1, "2")]})
    assert run.wait(behind, last)["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "2"


def test_a_failed_deployment_tells_why(api: FakeApi, run: Run) -> None:
    api.script(DEPLOYMENT, deployment())
    api.put(f"{REPLICA_SETS}/web-1", replica_set(0))
    crashed = {
        "name": "c", "ready": False, "restartCount": 3,
        "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 20s"}},
        "lastState": {"terminated": {"exitCode": 3, "reason": "Error", "finishedAt": "2026-01-01T00:00:00Z"}},
    }  # fmt: skip
    broken = pod(replica_set(0), crashed)
    api.put(f"{PODS}/web-x", broken)
    api.texts[f"{PODS}/web-x/log"] = "starting\nno such table: users\n"
    api.script(f"/api/v1{NAMESPACE}/events", {"items": [{"reason": "BackOff", "message": "Back-off restarting failed container c"}]})
    with pytest.raises(waiting.WaitError) as caught:
        run.wait(deployment(), timeout=0.3)
    warning = (
        "[Pod shop/web-x]: containers with unready status: [c][CrashLoopBackOff] back-off 20s\n"
        'container "c" terminated at 2026-01-01T00:00:00Z (Error: exit code 3)'
    )
    assert str(caught.value) == "'web' timed out waiting to be Ready"
    assert caught.value.reasons == [
        "[MinimumReplicasUnavailable] Deployment does not have minimum availability.",
        "Minimum number of live Pods was not attained",
        warning,
    ]
    assert caught.value.detail.splitlines() == [
        "Pod shop/web-x: Running",
        "  container c: CrashLoopBackOff (back-off 20s), last ended with exit code 3 (Error), 3 restarts",
        "    | starting",
        "    | no such table: users",
        "  event BackOff: Back-off restarting failed container c",
    ]
    assert ("warning", warning) in run.said
    logs = [q for m, p, q, _ in api.requests if p.endswith("/log")]
    assert logs[0]["previous"] == "true" and int(logs[0]["limitBytes"]) <= 2000


def test_a_probe_that_did_not_succeed_yet_is_no_news(api: FakeApi, run: Run) -> None:
    api.script(DEPLOYMENT, deployment(), deployment(), deployment(), deployment(available=True))
    api.script(REPLICA_SETS, {"items": [replica_set(0)]}, {"items": [replica_set(0)]}, {"items": [replica_set(1)]})
    api.put(f"{PODS}/web-x", pod(replica_set(0), {"name": "c", "ready": False, "state": {"running": {}}}))
    run.wait(deployment())
    assert not [m for m in run.lines if "unready" in m]


def test_claims_must_be_bound(api: FakeApi, run: Run) -> None:
    ready = deployment(available=True)
    ready["spec"]["template"] = {"spec": {"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]}}
    api.script(DEPLOYMENT, ready)
    api.put(f"{REPLICA_SETS}/web-1", replica_set(1))
    claim = obj("v1", "PersistentVolumeClaim", "data", status={"phase": "Pending"})
    path = f"/api/v1{NAMESPACE}/persistentvolumeclaims/data"
    api.put(path, claim)
    with pytest.raises(waiting.WaitError) as caught:
        run.wait(ready, timeout=0.2)
    assert caught.value.reasons == ['Failed to bind PersistentVolumeClaim(s): "data"']
    api.put(path, {**claim, "status": {"phase": "Bound"}})
    run.wait(ready)


def job(**status: Any) -> Object:
    return obj("batch/v1", "Job", "migrate", spec={"selector": SELECTOR}, status=status)


JOB = f"/apis/batch/v1{NAMESPACE}/jobs/migrate"


def test_a_job_completes(api: FakeApi, run: Run) -> None:
    done = job(startTime="t", succeeded=1, conditions=[condition("Complete", True)])
    api.script(JOB, job(startTime="t", active=1), done)
    run.wait(job())
    assert run.lines == [
        'Waiting for Job "shop/migrate" to start',
        'Waiting for Job "shop/migrate" to succeed (Active: 1 | Succeeded: 0 | Failed: 0)',
        'Waiting for Job "shop/migrate" to succeed (Active: 0 | Succeeded: 1 | Failed: 0)',
    ]


def test_a_failed_job_fails_at_once(api: FakeApi, run: Run) -> None:
    message = "Job has reached the specified backoff limit"
    api.script(JOB, job(startTime="t", failed=1, conditions=[condition("Failed", True, "BackoffLimitExceeded", message)]))
    ended = {"name": "c", "ready": False, "state": {"terminated": {"exitCode": 1, "reason": "Error"}}}
    api.put(f"{PODS}/web-x", pod(job(), ended, phase="Failed"))
    started = time.monotonic()
    with pytest.raises(waiting.WaitError) as caught:
        run.wait(job(), timeout=60)
    assert time.monotonic() - started < 5
    assert str(caught.value) == "Resource 'migrate' was created but failed to initialize"
    assert caught.value.reasons[0] == f"[BackoffLimitExceeded] {message}"
    assert 'container "c" completed with exit code 1' in caught.value.reasons[1]


def service(**spec: Any) -> Object:
    return obj("v1", "Service", spec={"type": "ClusterIP", "clusterIP": "10.0.0.1", "selector": {"app": "web"}, **spec})


SERVICE = f"/api/v1{NAMESPACE}/services/web"
SLICES = f"/apis/discovery.k8s.io/v1{NAMESPACE}/endpointslices"


def endpoints(*ready: bool) -> Object:
    return {"items": [{"metadata": {"name": "web-1"}, "endpoints": [{"conditions": {"ready": r}} for r in ready] or None}]}


def test_a_service_is_ready_with_its_first_ready_endpoint(api: FakeApi, run: Run) -> None:
    api.script(SERVICE, service())
    api.script(SLICES, {"items": []}, endpoints(False), endpoints(False, True))
    run.wait(service())
    assert run.lines == ["[1/3] Finding Pods to direct traffic to", "Service initialization complete"]


def test_a_service_without_ready_pods_settles(api: FakeApi, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(waiting._CHECKS, "v1/Service", lambda: waiting.services.Service(settle=0.3))
    api.script(SERVICE, service())
    api.script(SLICES, endpoints())
    run.wait(service())
    api.script(SLICES, {"items": []})  # no controller has ever looked at it
    with pytest.raises(waiting.WaitError) as caught:
        run.wait(service(), timeout=0.5)
    assert caught.value.reasons[0].startswith("Service does not target any Pods.")


@pytest.mark.parametrize(
    "spec",
    [{"type": "ExternalName", "selector": None}, {"clusterIP": "None"}, {"selector": None}],
    ids=["external", "headless", "no selector"],
)
def test_services_without_endpoints_of_their_own_are_ready(api: FakeApi, run: Run, spec: Object) -> None:
    run.wait(service(**spec))
    assert not api.requests


def test_a_load_balancer_needs_an_address(api: FakeApi, run: Run) -> None:
    addressed = {**service(type="LoadBalancer"), "status": {"loadBalancer": {"ingress": [{"ip": "1.2.3.4"}]}}}
    api.script(SERVICE, service(type="LoadBalancer"), addressed)
    api.script(SLICES, endpoints(True))
    assert run.wait(service(type="LoadBalancer"))["status"]
    assert "[2/3] Attempting to allocate IP address to Service" in run.lines


def test_a_stateful_set_waits_for_replicas_and_revision(api: FakeApi, run: Run) -> None:
    def version(ready: int, current: str, generation: int = 2) -> Object:
        counts = {"replicas": 2, "readyReplicas": ready, "currentReplicas": 2, "updatedReplicas": ready, "observedGeneration": generation}
        meta = {"generation": 2}
        return obj(
            "apps/v1",
            "StatefulSet",
            metadata=meta,
            spec={"replicas": 2},
            status={**counts, "currentRevision": current, "updateRevision": "b"},
        )

    api.script(f"/apis/apps/v1{NAMESPACE}/statefulsets/web", version(1, "a"), version(2, "a"), version(2, "b"))
    run.wait(version(2, "b", generation=1))
    assert run.lines == [
        "[1/3] Waiting for StatefulSet update to roll out (2/2 Pods ready)",
        "[1/3] Waiting for StatefulSet update to roll out (1/2 Pods ready)",
        "[2/3] Waiting for StatefulSet to update .status.currentRevision",
        "StatefulSet initialization complete",
    ]


def test_a_daemon_set_waits_for_every_node(api: FakeApi, run: Run) -> None:
    def version(ready: int) -> Object:
        keys = ("currentNumberScheduled", "updatedNumberScheduled", "numberAvailable", "numberReady")
        counts = dict.fromkeys(keys, 2) | {"numberAvailable": ready, "numberReady": ready}
        return obj("apps/v1", "DaemonSet", status={"observedGeneration": 1, "desiredNumberScheduled": 2, **counts})

    api.script(f"/apis/apps/v1{NAMESPACE}/daemonsets/web", version(1), version(2))
    run.wait(version(0))
    assert run.lines == ["Available: 0/2", "Available: 1/2", "All replicas scheduled as expected. Replicas: 2"]


def test_a_claim_that_binds_on_first_use_is_ready_when_pending(api: FakeApi, run: Run) -> None:
    claim = obj("v1", "PersistentVolumeClaim", "data", spec={"storageClassName": "slow"}, status={"phase": "Pending"})
    api.put(f"/api/v1{NAMESPACE}/persistentvolumeclaims/data", claim)
    with pytest.raises(waiting.WaitError):
        run.wait(claim, timeout=0.2)
    api.put("/apis/storage.k8s.io/v1/storageclasses/slow", {"metadata": {"name": "slow"}, "volumeBindingMode": "WaitForFirstConsumer"})
    run.wait(claim)


def test_a_pod_says_what_it_waits_for(api: FakeApi, run: Run) -> None:
    starting = obj("v1", "Pod", "p", status={"conditions": [condition("PodScheduled", False, "Unschedulable", "0/1 nodes are available")]})
    path = f"{PODS}/p"
    api.put(path, starting)
    with pytest.raises(waiting.WaitError) as caught:
        run.wait(starting, timeout=0.2)
    assert run.lines == ['Waiting for Pod "shop/p" to be scheduled']
    assert "not scheduled: 0/1 nodes are available" in caught.value.detail


def test_kinds_without_a_condition_are_ready(api: FakeApi, run: Run) -> None:
    for kind in ("ConfigMap", "Namespace", "ServiceAccount"):
        run.wait(obj("v1", kind))
    run.wait(obj("example.com/v1", "Widget"))
    run.wait(obj("v1", "Secret", type="Opaque"))
    assert not api.requests


def test_everything_can_be_awaited_when_asked_to(api: FakeApi, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PULUMI_K8S_AWAIT_ALL", "true")
    api.discovery["/apis/example.com/v1"] = [("Widget", "widgets", True)]
    waiting_for = obj("example.com/v1", "Widget", status={"conditions": [condition("Ready", False, "X", "still cooking")]})
    api.script(
        f"/apis/example.com/v1{NAMESPACE}/widgets/web", obj("example.com/v1", "Widget", status={"conditions": [condition("Ready", True)]})
    )
    run.wait(waiting_for)
    assert run.lines == ["still cooking", "Resource is Ready"]


def test_a_definition_is_ready_when_it_is_served(api: FakeApi, run: Run) -> None:
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.example.com"
    crd = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "widgets.example.com"}}
    api.script(path, crd, {**crd, "status": {"conditions": [condition("NamesAccepted", True), condition("Established", True)]}})
    run.wait(crd)
    assert run.lines == ["Install in progress", "CRD is established"]
    clash = {**crd, "status": {"conditions": [condition("NamesAccepted", False, "X", "plural is taken")]}}
    with pytest.raises(waiting.WaitError) as caught:
        run.wait(clash)
    assert caught.value.reasons == ["plural is taken"]


def annotated(**annotations: str) -> Object:
    return obj("example.com/v1", "Widget", metadata={"annotations": {f"pulumi.com/{k}": v for k, v in annotations.items()}})


@pytest.mark.parametrize(
    ("text", "status", "ready"),
    [
        ("condition=Synced", {"conditions": [condition("Synced", True)]}, True),
        ("condition=Synced=False", {"conditions": [condition("Synced", True)]}, False),
        ("condition=Synced", {}, False),
        ("jsonpath={.status.phase}=Running", {"phase": "Running"}, True),
        ("jsonpath={.status.phase}=Running", {"phase": "Pending"}, False),
        ("jsonpath={.status.phase}", {"phase": "Pending"}, True),
        ("jsonpath={.status.phase}", {}, False),
        ("jsonpath={.status.items[0]['a.b']}=1", {"items": [{"a.b": 1}]}, True),
        ('["condition=Synced", "jsonpath={.status.n}=2"]', {"conditions": [condition("Synced", True)], "n": 2}, True),
        ('["condition=Synced", "jsonpath={.status.n}=2"]', {"conditions": [condition("Synced", True)], "n": 1}, False),
    ],
)
def test_own_conditions(api: FakeApi, run: Run, text: str, status: Object, ready: bool) -> None:
    api.discovery["/apis/example.com/v1"] = [("Widget", "widgets", True)]
    inputs = annotated(waitFor=text)
    live = {**inputs, "status": status}
    api.put(f"/apis/example.com/v1{NAMESPACE}/widgets/web", live)
    if ready:
        run.wait(live, inputs=inputs)
    else:
        with pytest.raises(waiting.WaitError):
            run.wait(live, inputs=inputs, timeout=0.1)


@pytest.mark.parametrize("text", ["ready", "jsonpath=.a", "jsonpath={.a[?(@.b==1)]}", "[]"])
def test_conditions_that_cannot_be_read_are_named(run: Run, text: str) -> None:
    with pytest.raises(ProviderError, match=r"pulumi\.com/waitFor"):
        waiting.check_for(annotated(waitFor=text), {})


def test_timeouts(run: Run) -> None:
    assert waiting.timeout_of(run.call(7), annotated(timeoutSeconds="30")) == 7
    assert waiting.timeout_of(run.call(), annotated(timeoutSeconds="30")) == 30
    assert waiting.timeout_of(run.call(), annotated()) == 600
    assert waiting.timeout_of(run.call(), obj("v1", "PersistentVolumeClaim")) == 300


def test_waiting_can_be_skipped(api: FakeApi, run: Run) -> None:
    run.wait(deployment(), inputs=annotated(skipAwait="true"))
    assert run.lines == ["Skipping await logic"] and not api.requests


def test_cancelling_ends_the_wait_at_once(api: FakeApi, run: Run) -> None:
    api.script(DEPLOYMENT, deployment())
    threading.Timer(0.2, run.cancelled.set).start()
    started = time.monotonic()
    with pytest.raises(waiting.WaitError, match='Resource operation was cancelled for "web"'):
        run.wait(deployment(), timeout=60)
    assert time.monotonic() - started < 2


def test_a_server_that_stumbles_does_not_end_the_wait(api: FakeApi, run: Run) -> None:
    api.script(JOB, 500, 503, job(startTime="t", succeeded=1, conditions=[condition("Complete", True)]))
    run.wait(job())
    api.script(JOB, 404)
    with pytest.raises(waiting.WaitError, match="was deleted by something else"):
        run.wait(job())


# Deletion


CONFIG_MAP = f"/api/v1{NAMESPACE}/configmaps/web"


def test_deletion_waits_until_the_object_is_gone(api: FakeApi, run: Run) -> None:
    live = obj("v1", "ConfigMap")
    api.script(CONFIG_MAP, {**live, "metadata": {**live["metadata"], "deletionTimestamp": "t"}}, 404)
    waiting.until_deleted(run.call(5), run.session.writer, live, live, "web")
    assert run.lines == ["Resource scheduled for deletion"]


def test_deletion_that_does_not_end_names_the_finalizers(api: FakeApi, run: Run) -> None:
    live = obj("v1", "ConfigMap", metadata={"finalizers": ["example.com/backup"], "deletionTimestamp": "t"})
    api.script(CONFIG_MAP, live)
    with pytest.raises(ProviderError, match=r"finalizers might be preventing deletion \(example\.com/backup\)"):
        waiting.until_deleted(run.call(0.2), run.session.writer, live, live, "web")


def test_an_object_of_the_same_name_is_another_object(api: FakeApi, run: Run) -> None:
    live = obj("v1", "ConfigMap")
    api.script(CONFIG_MAP, {**live, "metadata": {**live["metadata"], "uid": "new"}})
    waiting.until_deleted(run.call(5), run.session.writer, live, live, "web")
