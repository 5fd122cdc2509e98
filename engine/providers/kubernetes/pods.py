"""Why Pods are not ready: the lines that pulumi-kubernetes reports, and what a person needs to find the cause."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from engine.provider import ProviderError
from engine.providers.kubernetes.objects import Object, metadata, name_of, namespace_of, pluck
from engine.providers.kubernetes.view import Note, View, conditions, display_name, number

LOG_LINES = 10
LOG_BYTES = 2000
"""Bounds of what is quoted of a failing container's log."""
PODS = 2
"""Pods whose logs and events are quoted; the others fail for the same reason as a rule."""
EVENTS = 3
_HOPELESS = (
    "ImagePullBackOff",
    "ErrImagePull",
    "InvalidImageName",
    "CrashLoopBackOff",
    "CreateContainerConfigError",
    "CreateContainerError",
)


def is_ready(pod: Object) -> bool:
    found = conditions(pod)
    return all(_is_true(found, c) for c in ("PodScheduled", "Initialized")) and (
        _is_true(found, "Ready") or ("Ready" in found and pluck(pod, "status", "phase") == "Succeeded")
    )


def _is_true(found: dict[str, Object], type_: str) -> bool:
    return found.get(type_, {}).get("status") == "True"


def progress(pod: Object) -> list[str]:
    """What a Pod waits for, step by step up to the first that is not done."""
    found, name = conditions(pod), display_name(pod)
    lines = []
    for type_, word in (("PodScheduled", "scheduled"), ("Initialized", "initialized"), ("Ready", "ready")):
        lines.append(f'Waiting for Pod "{name}" to be {word}')
        if not _is_true(found, type_):
            break
    return lines


def warnings(pod: Object) -> list[str]:
    """At most one line: the first of Initialized and Ready that is not true, with the state of its containers."""
    found = conditions(pod)
    if not _is_true(found, "PodScheduled"):
        return []
    for type_ in ("Initialized", "Ready"):
        if type_ not in found:
            return []
        if _is_true(found, type_) or (type_ == "Ready" and pluck(pod, "status", "phase") == "Succeeded"):
            continue
        errors = [e for s in _containers(pod, "containerStatuses") for e in _container_errors(s)]
        condition = found[type_]
        message = condition.get("message") or ""
        if errors or message:
            return [f"[Pod {display_name(pod)}]: {message if condition.get('reason') else ''}" + "\n".join(errors)]
        return []
    return []


def hopeless(pod: Object) -> bool:
    """Whether a container is in a state that seldom passes by waiting; such warnings are shown at once."""
    return any(pluck(s, "state", "waiting", "reason") in _HOPELESS for s in _all_containers(pod))


def _containers(pod: Object, key: str) -> list[Object]:
    found = pluck(pod, "status", key)
    return found if isinstance(found, list) else []


def _all_containers(pod: Object) -> list[Object]:
    return _containers(pod, "initContainerStatuses") + _containers(pod, "containerStatuses")


def _container_errors(status: Object) -> list[str]:
    if status.get("ready"):
        return []
    errors = []
    waiting, ended, last = pluck(status, "state", "waiting"), pluck(status, "state", "terminated"), pluck(status, "lastState", "terminated")
    name = status.get("name")
    if waiting and waiting.get("reason") != "ContainerCreating":
        errors.append(f"[{waiting.get('reason', '')}] {_pull_message(waiting.get('message', ''))}")
    if ended and ended.get("reason"):
        message = ended.get("message")
        errors.append(
            f"[{ended['reason']}] {message}" if message else f'container "{name}" completed with exit code {ended.get("exitCode")}'
        )
    if last:
        at, reason, code = last.get("finishedAt"), last.get("reason", ""), last.get("exitCode")
        errors.append(f'container "{name}" terminated at {at} ({reason}: exit code {code})')
        errors += [last["message"]] if last.get("message") else []
    return errors


def _pull_message(message: str) -> str:
    return message.removeprefix("rpc error: code = Unknown desc = Error response from daemon: ").removesuffix(": manifest unknown")


def notes(pods: Sequence[Object], elapsed: float) -> list[Note]:
    """Warnings as status lines: hopeless ones at once, the others (a probe that did not succeed yet) after 10 s."""
    return [("warning", w) for p in pods if elapsed >= 10 or hopeless(p) for w in warnings(p)]


def details(view: View, pods: Sequence[Object]) -> str:
    """Container states, warning events and last log lines of Pods that are not ready."""
    bad = [p for p in pods if not is_ready(p)]
    lines: list[str] = []
    for pod in bad[:PODS]:
        lines += _pod_lines(view, pod)
    if len(bad) > PODS:
        lines.append(f"… and {len(bad) - PODS} more Pods that are not ready")
    return "\n".join(lines)


def _pod_lines(view: View, pod: Object) -> list[str]:
    head = f"Pod {namespace_of(pod)}/{name_of(pod)}: {pluck(pod, 'status', 'phase') or 'unknown'}"
    scheduled = conditions(pod).get("PodScheduled", {})
    if scheduled.get("status") == "False" and scheduled.get("message"):
        head += f", not scheduled: {scheduled['message']}"
    lines = [head]
    for status in _all_containers(pod):
        if state := _state(status):
            lines.append(f"  container {status.get('name')}: {state}")
            if _has_failed(status):
                lines += _log_lines(view, pod, status)
    return lines + _event_lines(view, pod)


def _state(status: Object) -> str:
    """Empty for a container that is as it should be."""
    waiting, ended, last = pluck(status, "state", "waiting"), pluck(status, "state", "terminated"), pluck(status, "lastState", "terminated")
    if status.get("ready") or (ended and ended.get("exitCode") == 0):
        return ""
    parts = []
    if waiting:
        parts.append(f"{waiting.get('reason', 'waiting')}" + (f" ({waiting['message']})" if waiting.get("message") else ""))
    elif not ended:
        parts.append("running, not ready" if status.get("started", True) else "running, not started up")
    if end := ended or last:
        parts.append(f"{'ended' if ended else 'last ended'} with exit code {end.get('exitCode')} ({end.get('reason', 'unknown')})")
    if restarts := number(status, "restartCount"):
        parts.append(f"{restarts} restart{'s' if restarts != 1 else ''}")
    return ", ".join(parts)


def _has_failed(status: Object) -> bool:
    ends = pluck(status, "state", "terminated") or pluck(status, "lastState", "terminated")
    return bool(ends) or bool(pluck(status, "state", "running"))


def _log_lines(view: View, pod: Object, status: Object) -> list[str]:
    previous = not pluck(status, "state", "terminated") and bool(pluck(status, "lastState", "terminated"))
    path = f"/api/v1/namespaces/{quote(namespace_of(pod))}/pods/{quote(name_of(pod))}/log"
    query = {
        "container": str(status.get("name")),
        "tailLines": str(LOG_LINES),
        "limitBytes": str(LOG_BYTES),
        "previous": str(previous).lower(),
    }
    try:
        text = view.writer.client.request("GET", path, query=query)
    except ProviderError:
        return []
    lines = text.strip().splitlines() if isinstance(text, str) else []
    return [f"    | {line}" for line in lines[-LOG_LINES:]]


def _event_lines(view: View, pod: Object) -> list[str]:
    path = f"/api/v1/namespaces/{quote(namespace_of(pod))}/events"
    query = {"fieldSelector": f"involvedObject.uid={metadata(pod).get('uid')},type=Warning"}
    try:
        items = view.writer.client.request("GET", path, query=query).get("items") or []
    except ProviderError:
        return []
    recent = sorted(items, key=lambda e: str(e.get("lastTimestamp") or e.get("eventTime") or ""))[-EVENTS:]
    return [f"  event {e.get('reason')}: {str(e.get('message', '')).strip()[:500]}" for e in recent]
