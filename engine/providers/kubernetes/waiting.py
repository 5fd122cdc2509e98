"""Waiting until an object is ready, or gone: looks at the cluster again and again, reports what changes, gives up in time.

Looking (a GET every 50 ms at first, every second later) instead of watching: a watch that a proxy cuts or a server compacts has to be
resumed by listing anyway, and one small request a second is nothing to the API server.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Sequence

from engine.provider import Call, ProviderError
from engine.providers.kubernetes import kstatus, pods, services, workloads
from engine.providers.kubernetes.apply import Writer
from engine.providers.kubernetes.client import ApiError, NoMatchError, UnreachableError
from engine.providers.kubernetes.objects import (
    SKIP_AWAIT,
    TIMEOUT_SECONDS,
    WAIT_FOR,
    Object,
    annotation,
    api_version_of,
    is_crd,
    is_true,
    kind_of,
    metadata,
    name_of,
    pluck,
)
from engine.providers.kubernetes.view import Check, Verdict, View, conditions

DEFAULT_TIMEOUT = 600.0
"""Seconds (pulumi-kubernetes: 10 minutes for workloads, Services and deletions)."""
_TIMEOUTS = {"PersistentVolume": 300.0, "PersistentVolumeClaim": 300.0, "Secret": 300.0, "ResourceQuota": 60.0}
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0

_CHECKS: dict[str, Callable[[], Check]] = {
    **{f"apps/{v}/Deployment": lambda: workloads.deployment for v in ("v1", "v1beta1", "v1beta2")},
    **{f"apps/{v}/StatefulSet": lambda: workloads.stateful_set for v in ("v1", "v1beta1", "v1beta2")},
    **{f"apps/{v}/DaemonSet": lambda: workloads.daemon_set for v in ("v1", "v1beta1", "v1beta2")},
    "batch/v1/Job": lambda: workloads.job,
    "v1/Pod": lambda: workloads.pod,
    "v1/ReplicationController": lambda: workloads.replication_controller,
    "v1/Service": services.Service,
    "v1/PersistentVolume": lambda: services.volume,
    "v1/PersistentVolumeClaim": lambda: services.claim,
    "v1/ResourceQuota": lambda: services.quota,
    "v1/Secret": lambda: services.token_secret,
    "networking.k8s.io/v1/Ingress": services.Ingress,
}
"""Kinds that are waited for. As in pulumi-kubernetes all others are ready when they exist (ReplicaSet, APIService, custom resources …):
what they lead to may need objects that the same program makes later."""
_GONE_UNWAITED = {
    "v1/Namespace", "v1/Pod", "v1/ReplicationController", "apps/v1/DaemonSet", "apps/v1/Deployment", "apps/v1/StatefulSet", "batch/v1/Job",
}  # fmt: skip
"""Kinds whose deletion `pulumi.com/skipAwait` does not wait for."""


class WaitError(Exception):
    """The object exists but is not ready. The text is what happened, `reasons` why, `detail` what to look at."""

    def __init__(self, message: str, live: Object, reasons: Sequence[str], detail: str = ""):
        super().__init__(message)
        self.live, self.reasons, self.detail = live, list(reasons), detail


def timeout_of(call: Call, inputs: Object) -> float:
    """Seconds: the resource's customTimeouts, its annotation, the default."""
    if call.timeout:
        return call.timeout
    text = annotation(inputs, TIMEOUT_SECONDS)
    return float(text) if text.isdigit() else _TIMEOUTS.get(kind_of(inputs), DEFAULT_TIMEOUT)


def check_for(inputs: Object, live: Object) -> Check | None:
    """The check to wait for; None: ready as it is. Raises ProviderError for a `pulumi.com/waitFor` that cannot be read."""
    if wanted := annotation(inputs, WAIT_FOR):
        return custom(wanted)
    if is_crd(live):
        # Its objects follow in the same program; being served takes a moment and needs nothing else.
        return kstatus.definition
    make = _CHECKS.get(f"{api_version_of(live)}/{kind_of(live)}")
    if make is not None:
        return make()
    return kstatus.generic if os.environ.get("PULUMI_K8S_AWAIT_ALL") == "true" else None


def until_ready(call: Call, writer: Writer, inputs: Object, live: Object, last: Object | None) -> Object:
    """The live object once it is ready. Raises WaitError."""
    if is_true(inputs, SKIP_AWAIT):
        call.log("info", "Skipping await logic", True)
        return live
    check = check_for(inputs, live)
    return live if check is None else _Wait(call, writer, check, timeout_of(call, inputs), last).run(live)


class _Wait:
    def __init__(self, call: Call, writer: Writer, check: Check, timeout: float, last: Object | None):
        self._call, self._writer, self._check, self._timeout, self._last = call, writer, check, timeout, last
        self._said: set[tuple[str, str]] = set()

    def run(self, live: Object) -> Object:
        started = time.monotonic()
        pause = FIRST_PAUSE
        while True:
            view = View(self._writer, live, self._last, time.monotonic() - started)
            verdict = self._check(view)
            self._say(verdict)
            if verdict.ready:
                return live
            if failure := self._failure(view, verdict):
                raise failure
            self._call.cancelled.wait(min(pause, max(0.0, self._timeout - view.elapsed)))
            version = metadata(live).get("resourceVersion")
            live = self._look(live)
            pause = FIRST_PAUSE * 2 if metadata(live).get("resourceVersion") != version else min(pause * 1.5, LONGEST_PAUSE)

    def _say(self, verdict: Verdict) -> None:
        for note in verdict.notes:
            if note not in self._said:
                self._said.add(note)
                self._call.log(*note, True)

    def _failure(self, view: View, verdict: Verdict) -> WaitError | None:
        name = name_of(view.live)
        if verdict.failed:
            text = f"Resource '{name}' was created but failed to initialize"
        elif self._call.cancelled.is_set():
            text = f'Resource operation was cancelled for "{name}"'
        elif view.elapsed >= self._timeout:
            text = f"'{name}' timed out waiting to be Ready"
        else:
            return None
        detail = explain(view)
        return WaitError(text, view.live, verdict.errors, detail)

    def _look(self, live: Object) -> Object:
        try:
            return self._writer.read(live)
        except ApiError as error:
            if error.not_found:
                raise WaitError(f"'{name_of(live)}' was deleted by something else while it was waited for", live, []) from None
            if error.status < 500:
                raise WaitError(f"'{name_of(live)}' can no longer be read: {error}", live, []) from None
        except UnreachableError as error:
            self._say(Verdict(notes=[("warning", f"the cluster does not answer ({error}); trying again")]))
        return live


def explain(view: View) -> str:
    """The state of the Pods behind an object, for the person who has to find out why."""
    kind = kind_of(view.live)
    if kind == "Pod":
        return pods.details(view, [view.live])
    if kind == "Deployment":
        sets = view.owned("apps/v1", "ReplicaSet", view.live)
        newest = max(sets, key=lambda r: int(workloads.revision_of(r) or 0), default=None)
        return pods.details(view, view.owned("v1", "Pod", newest))
    if kind in ("StatefulSet", "DaemonSet", "Job", "ReplicaSet"):
        return pods.details(view, view.owned("v1", "Pod", view.live))
    return ""


def point_in_time(call: Call, writer: Writer, live: Object, inputs: Object | None = None) -> list[str]:
    """Why an object is not ready at this moment, as pulumi-kubernetes records it on refresh; empty when it is."""
    if is_true(inputs or live, SKIP_AWAIT):
        return []
    make = _CHECKS.get(f"{api_version_of(live)}/{kind_of(live)}")
    if make is None or kind_of(live) in ("PersistentVolume", "PersistentVolumeClaim", "ResourceQuota", "Secret", "ReplicationController"):
        return []
    check = services.Service(settle=0.0) if kind_of(live) == "Service" else make()
    verdict = check(View(writer, live, None, services.SETTLE_SECONDS))
    return [] if verdict.ready else [f"Resource '{name_of(live)}' was created but failed to initialize", *verdict.errors]


def until_deleted(call: Call, writer: Writer, inputs: Object, live: Object, name: str) -> None:
    """Returns when the object is gone. Raises ProviderError when it stays, naming what may hold it."""
    if is_true(inputs, SKIP_AWAIT) and f"{api_version_of(live)}/{kind_of(live)}" in _GONE_UNWAITED:
        call.log("info", "Skipping await logic", True)
        return
    uid = metadata(live).get("uid")
    started, pause, timeout, said = time.monotonic(), FIRST_PAUSE / 2, timeout_of(call, inputs), False
    while True:
        try:
            live = writer.read(live, name)
        except NoMatchError:
            return
        except ApiError as error:
            if error.not_found:
                return
            if error.status < 500:
                raise
        except UnreachableError:
            pass
        if uid and metadata(live).get("uid") not in (None, uid):
            return  # something made a new object of the same name
        if metadata(live).get("deletionTimestamp") and not said:
            call.log("info", "Resource scheduled for deletion", True)
            said = True
        _still_there(call, live, name, time.monotonic() - started, timeout)
        call.cancelled.wait(pause)
        pause = min(pause * 1.5, LONGEST_PAUSE)


def _still_there(call: Call, live: Object, name: str, elapsed: float, timeout: float) -> None:
    what = f"{api_version_of(live)}/{kind_of(live)} {name!r}"
    if call.cancelled.is_set():
        raise ProviderError(f"Resource operation was cancelled for {what}: its deletion was requested and goes on in the cluster.")
    if elapsed >= timeout:
        finalizers = ", ".join(metadata(live).get("finalizers") or [])
        held = f"finalizers might be preventing deletion ({finalizers})" if finalizers else "nothing in the object says why"
        raise ProviderError(f"{what} still exists after {timeout:g} s; {held}. Its deletion was requested and goes on in the cluster.")


_STEP = re.compile(r"""\.?([A-Za-z0-9_-]+)|\[(\d+)\]|\[['"]([^'"]+)['"]\]""")


def custom(text: str) -> Check:
    """The check of a `pulumi.com/waitFor` annotation: one expression, or a JSON list of them that must all hold.

    `condition=Type[=Status]`, or `jsonpath={.a.b[0]}[=value]` with keys and indexes (no filters). Raises ProviderError.
    """
    try:
        loaded = json.loads(text)
    except ValueError:
        loaded = text
    expressions = loaded if isinstance(loaded, list) else [text]
    if not expressions:
        raise ProviderError(f"{WAIT_FOR}: at least one condition must be specified")
    checks = [_expression(str(e)) for e in expressions]

    def check(view: View) -> Verdict:
        missing = [m for c in checks if (m := c(view.live))]
        return Verdict(not missing, [("info", m) for m in missing], missing)

    return check


def _expression(text: str) -> Callable[[Object], str]:
    """A function from an object to what it still waits for ("" when it holds)."""
    if text.startswith("condition="):
        type_, _, wanted = text.removeprefix("condition=").partition("=")

        def has_condition(obj: Object) -> str:
            found = str(conditions(obj).get(type_, {}).get("status", ""))
            return "" if found.lower() == (wanted or "True").lower() else f"Waiting for condition {type_} to be {wanted or 'True'}"

        return has_condition
    match = re.fullmatch(r"jsonpath=\{(\.[^}]*)\}(?:=(.*))?", text)
    if match is None:
        raise ProviderError(f'{WAIT_FOR}: expected `condition=Type[=Status]` or `jsonpath={{.path}}[=value]`, got "{text}"')
    steps = _steps(match[1])
    wanted_value = match[2]

    def has_value(obj: Object) -> str:
        found: object = obj
        for step in steps:
            if isinstance(step, int):
                found = found[step] if isinstance(found, list) and step < len(found) else None
            else:
                found = pluck(found, step)
        shown = found if isinstance(found, str) else json.dumps(found)
        held = found is not None and (wanted_value is None or shown == wanted_value.strip("'\""))
        return "" if held else f"Waiting for {text}"

    return has_value


def _steps(path: str) -> list[str | int]:
    steps: list[str | int] = []
    position = 0
    while position < len(path):
        match = _STEP.match(path, position)
        if match is None:
            raise ProviderError(f'{WAIT_FOR}: the JSONPath "{path}" has something else than keys and indexes at character {position + 1}')
        steps.append(int(match[2]) if match[2] else match[1] or match[3])
        position = match.end()
    return steps
