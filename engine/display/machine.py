"""Output for programs: Pulumi's preview digest, or its stream of events, one JSON object a line."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any


class EventLines:
    """Every event as one line of JSON. `redact` filters the texts in a value."""

    def __init__(self, write: Callable[[str], None], redact: Callable[[Any], Any] = lambda value: value) -> None:
        self._write = write
        self._redact = redact

    def __call__(self, event: dict[str, Any]) -> None:
        self._write(json.dumps(self._redact(event), ensure_ascii=False))


class Digest:
    """`pulumi preview --json`: one object at the end. Pulumi leaves policy findings out of it; here they are diagnostics too."""

    def __init__(self, write: Callable[[str], None], redact: Callable[[Any], Any] = lambda value: value) -> None:
        self._write = write
        self._redact = redact
        self._steps: list[dict[str, Any]] = []
        self._diagnostics: list[dict[str, Any]] = []
        self._config: dict[str, str] = {}

    def __call__(self, event: dict[str, Any]) -> None:
        if "preludeEvent" in event:
            self._config = event["preludeEvent"]["config"]
        elif "resourcePreEvent" in event:
            self._steps.append(_step(event["resourcePreEvent"]["metadata"]))
        elif "resOutputsEvent" in event:
            self._outputs(event["resOutputsEvent"]["metadata"])
        elif "diagnosticEvent" in event:
            self._diagnostic(event["diagnosticEvent"])
        elif "policyEvent" in event:
            body = event["policyEvent"]
            severity = "error" if body["enforcementLevel"] == "mandatory" else "warning"
            message = f"[{body['enforcementLevel']}] {body['policyName']}: {body['message']}"
            self._diagnostics.append({"urn": body["resourceUrn"], "message": message, "severity": severity})
        elif "summaryEvent" in event:
            self._end(event["summaryEvent"])

    def _diagnostic(self, body: dict[str, Any]) -> None:
        if not body.get("ephemeral") and body["severity"] != "debug":
            self._diagnostics.append({k: body[k] for k in ("urn", "prefix", "message", "severity") if body.get(k)})

    def _outputs(self, metadata: dict[str, Any]) -> None:
        for step in reversed(self._steps):
            if step["urn"] == metadata["urn"] and step["op"] == metadata["op"]:
                if metadata.get("new"):
                    step["newState"] = metadata["new"]
                return

    def _end(self, summary: dict[str, Any]) -> None:
        digest: dict[str, Any] = {"config": self._config, "steps": self._steps}
        if self._diagnostics:
            digest["diagnostics"] = self._diagnostics
        digest |= {"duration": summary["durationSeconds"] * 1_000_000_000, "changeSummary": summary["resourceChanges"]}
        self._write(json.dumps(self._redact(digest), indent=4, ensure_ascii=False))


def _step(metadata: dict[str, Any]) -> dict[str, Any]:
    step: dict[str, Any] = {"op": metadata["op"], "urn": metadata["urn"]}
    if metadata.get("provider"):
        step["provider"] = metadata["provider"]
    for key, name in (("old", "oldState"), ("new", "newState")):
        if metadata.get(key):
            step[name] = metadata[key]
    if metadata.get("diffs"):
        step["diffReasons"] = metadata["diffs"]
    if metadata.get("keys"):
        step["replaceReasons"] = metadata["keys"]
    if metadata.get("detailedDiff"):
        step["detailedDiff"] = {path: {"kind": d["diffKind"], "inputDiff": d["inputDiff"]} for path, d in metadata["detailedDiff"].items()}
    return step
