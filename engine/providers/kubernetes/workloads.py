"""When workloads are ready: the conditions and messages of pulumi-kubernetes' awaiters (deployment.go, statefulset.go, job.go, pod.go)."""

from __future__ import annotations

from engine.providers.kubernetes import pods
from engine.providers.kubernetes.kstatus import daemon_set_status
from engine.providers.kubernetes.objects import Object, metadata, name_of, pluck
from engine.providers.kubernetes.view import Note, Verdict, View, conditions, display_name, number

REVISION = "deployment.kubernetes.io/revision"


def revision_of(obj: Object | None) -> str:
    found = (metadata(obj or {}).get("annotations") or {}).get(REVISION, "")
    return found if isinstance(found, str) else ""


def deployment(view: View) -> Verdict:
    """Ready when the controller has seen this generation, the Deployment is available, and the ReplicaSet of its revision has all
    replicas ready (and, after a change, has finished progressing); claims it mounts must be bound."""
    live = view.live
    if pluck(live, "status", "observedGeneration") != metadata(live).get("generation"):
        return Verdict(errors=["Minimum number of live Pods was not attained"])
    revision = revision_of(live)
    if not revision:
        return Verdict(errors=["Minimum number of live Pods was not attained"])
    found = conditions(live)
    problems = _condition_problems(found)
    available = found.get("Available", {}).get("status") == "True"
    progressing = found.get("Progressing", {})
    rolled_out = progressing.get("status") == "True" and progressing.get("reason") == "NewReplicaSetAvailable"
    replica_set = next((r for r in view.owned("apps/v1", "ReplicaSet", live) if revision_of(r) == revision), None)
    notes: list[Note] = [("warning", p) for p in problems]
    updated = _replica_set_ready(view, replica_set, revision, notes)
    unbound = _unbound_claims(view, notes)
    if available and updated and not unbound and (rolled_out or revision == "1"):
        return Verdict(True, [*notes, ("info", "Deployment initialization complete")])
    children = view.owned("v1", "Pod", replica_set)
    errors = list(problems)
    if unbound:
        errors.append(f'Failed to bind PersistentVolumeClaim(s): "{",".join(unbound)}"')
    errors += _deployment_errors(revision, available, rolled_out, updated)
    errors += [w for p in children for w in pods.warnings(p)]
    return Verdict(False, [*notes, *pods.notes(children, view.elapsed)], errors)


def _condition_problems(found: dict[str, Object]) -> list[str]:
    return [
        f"[{c['reason']}] {c['message']}"
        for type_ in ("Progressing", "Available")
        if (c := found.get(type_)) and c.get("status") != "True" and c.get("reason") and c.get("message")
    ]


def _replica_set_ready(view: View, replica_set: Object | None, revision: str, notes: list[Note]) -> bool:
    if replica_set is None:
        return False
    wanted = number(replica_set, "spec", "replicas", default=1)
    ready = number(replica_set, "status", "readyReplicas")
    done = ready >= wanted
    if view.last is not None and revision_of(view.last) == revision:
        # The change started no rollout (for instance only `replicas`): the revision stays, but its replica set may still be
        # told of the new number. Count against the Deployment too, so as not to be done before the controller has begun.
        wanted = number(view.live, "spec", "replicas", default=1)
        done = done and number(view.live, "status", "readyReplicas") >= wanted
    if not done:
        notes.append(("info", f"Waiting for app ReplicaSet to be available ({ready}/{wanted} Pods available)"))
    elif wanted == 0:
        notes.append(("warning", f'Replicas scaled to 0 for Deployment "{name_of(view.live)}"'))
    return done


def _unbound_claims(view: View, notes: list[Note]) -> list[str]:
    volumes = pluck(view.live, "spec", "template", "spec", "volumes") or []
    names = {str(pluck(v, "persistentVolumeClaim", "claimName")) for v in volumes if pluck(v, "persistentVolumeClaim", "claimName")}
    if not names:
        return []
    unbound = []
    for claim in view.siblings("v1", "PersistentVolumeClaim"):
        phase = pluck(claim, "status", "phase")
        if name_of(claim) in names and phase and phase != "Bound":
            notes.append(("warning", f"PersistentVolumeClaim: [{name_of(claim)}] is not ready. status.phase currently at: {phase}"))
            unbound.append(name_of(claim))
    return sorted(unbound)


def _deployment_errors(revision: str, available: bool, rolled_out: bool, updated: bool) -> list[str]:
    if not available:
        return ["Minimum number of live Pods was not attained"]
    if revision != "1" and not rolled_out:
        return ["Minimum number of Pods to consider the application live was not attained"]
    if not updated and revision == "1":
        return ["Minimum number of Pods to consider the application live was not attained"]
    if not updated:
        return ["Attempted to roll forward to new ReplicaSet, but minimum number of Pods did not become live"]
    return []


def stateful_set(view: View) -> Verdict:
    """Ready when every replica is ready and of the current revision, and that revision is the updated one."""
    live = view.live
    generation = number(live, "metadata", "generation")
    seen = number(live, "status", "observedGeneration") >= generation
    wanted = number(live, "spec", "replicas", default=1)
    total, ready = number(live, "status", "replicas"), number(live, "status", "readyReplicas")
    current, updated = pluck(live, "status", "currentRevision") or "", pluck(live, "status", "updateRevision") or ""
    if generation > 1 and pluck(live, "spec", "updateStrategy", "type") == "OnDelete":
        revision_ready, replicas_ready = True, wanted == total == ready
    else:
        revision_ready = current != "" and current == updated
        replicas_ready = wanted == total == ready == number(live, "status", "currentReplicas")
    revision_ready, replicas_ready = revision_ready and seen, replicas_ready and seen
    if revision_ready and replicas_ready:
        return Verdict(True, [("info", "StatefulSet initialization complete")])
    shown = ready if revision_ready else min(ready, number(live, "status", "updatedReplicas"))
    children = view.owned("v1", "Pod", live)
    notes: list[Note] = [("info", _stateful_progress(generation, replicas_ready, shown, wanted))]
    errors = []
    if not replicas_ready:
        errors.append(f"{shown} out of {wanted} replicas succeeded readiness checks")
    if not revision_ready:
        errors.append(f'StatefulSet controller failed to advance from revision "{current}" to revision "{updated}"')
    errors += [w for p in children for w in pods.warnings(p)]
    return Verdict(False, [*notes, *pods.notes(children, view.elapsed)], errors)


def _stateful_progress(generation: int, replicas_ready: bool, shown: int, wanted: int) -> str:
    if generation <= 1:
        return f"[1/2] Waiting for StatefulSet to create Pods ({shown}/{wanted} Pods ready)"
    if not replicas_ready:
        return f"[1/3] Waiting for StatefulSet update to roll out ({shown}/{wanted} Pods ready)"
    return "[2/3] Waiting for StatefulSet to update .status.currentRevision"


def daemon_set(view: View) -> Verdict:
    """Ready when every node that should run a Pod runs an updated one that is available."""
    done, message = daemon_set_status(view.live)
    if done:
        return Verdict(True, [("info", message)])
    children = view.owned("v1", "Pod", view.live)
    errors = [w for p in children for w in pods.warnings(p)]
    return Verdict(False, [("info", message), *pods.notes(children, view.elapsed)], errors)


def job(view: View) -> Verdict:
    """Ready when complete; a failed Job fails at once."""
    live, found, name = view.live, conditions(view.live), display_name(view.live)
    if not pluck(live, "status", "startTime"):
        return Verdict(False, [("info", f'Waiting for Job "{name}" to start')])
    counts = " | ".join(f"{w}: {number(live, 'status', w.lower())}" for w in ("Active", "Succeeded", "Failed"))
    notes: list[Note] = [("info", f'Waiting for Job "{name}" to succeed ({counts})')]
    if found.get("Complete", {}).get("status") == "True":
        return Verdict(True, notes)
    children = view.owned("v1", "Pod", live)
    problems = [w for p in children for w in pods.warnings(p)]
    failed = found.get("Failed", {})
    if failed.get("status") == "True":
        return Verdict(False, notes, [f"[{failed.get('reason')}] {failed.get('message')}", *problems], failed=True)
    # That a Job's containers are not ready is their normal end.
    return Verdict(False, [*notes, *(("warning", p) for p in problems if "containers with unready status" not in p)], problems)


def pod(view: View) -> Verdict:
    """Ready when scheduled, initialized and ready, or ended well."""
    notes: list[Note] = [("info", line) for line in pods.progress(view.live)]
    if pods.is_ready(view.live):
        return Verdict(True, notes)
    return Verdict(False, [*notes, *pods.notes([view.live], view.elapsed)], pods.warnings(view.live))


def replication_controller(view: View) -> Verdict:
    wanted, available = number(view.live, "spec", "replicas", default=1), number(view.live, "status", "availableReplicas")
    return Verdict(available >= wanted, [("info", f"Waiting for {available}/{wanted} replicas to be available")])
