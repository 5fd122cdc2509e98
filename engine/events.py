"""Engine events: what happened, as plain dicts in the JSON form of Pulumi's event stream. Secrets never get in.

The one place where values leave the engine for eyes and files, so redaction lives here: a Secret becomes a marked
`[secret]`, whatever is inside it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from engine.model import ResourceState
from engine.values import (
    ARCHIVE_SIGNATURE,
    ASSET_SIGNATURE,
    RESOURCE_SIGNATURE,
    SECRET_SIGNATURE,
    SIGNATURE_KEY,
    UNKNOWN,
    UNKNOWN_STRING,
    Archive,
    Asset,
    ResourceRef,
    Secret,
    Value,
)

Event = dict[str, Any]
REDACTED = {SIGNATURE_KEY: SECRET_SIGNATURE, "ciphertext": "[secret]"}


def render(value: Value) -> Any:
    """A value as JSON for events: secrets redacted, unknowns as Pulumi's sentinel."""
    if isinstance(value, dict):
        return {k: render(v) for k, v in value.items()}
    if isinstance(value, list):
        return [render(v) for v in value]
    if isinstance(value, Secret):
        return dict(REDACTED)
    if value is UNKNOWN:
        return UNKNOWN_STRING
    if isinstance(value, ResourceRef):
        ref = {SIGNATURE_KEY: RESOURCE_SIGNATURE, "urn": value.urn}
        return ref if value.id is None else {**ref, "id": render(value.id)}
    if isinstance(value, Asset):
        return {SIGNATURE_KEY: ASSET_SIGNATURE, **{k: v for k, v in _asset_fields(value).items() if v}}
    if isinstance(value, Archive):
        return {SIGNATURE_KEY: ARCHIVE_SIGNATURE, **{k: render(v) for k, v in _archive_fields(value).items() if v}}
    return value


def _asset_fields(asset: Asset) -> dict[str, str | None]:
    return {"hash": asset.hash, "text": asset.text, "path": asset.path, "uri": asset.uri}


def _archive_fields(archive: Archive) -> dict[str, Any]:
    return {"hash": archive.hash, "assets": archive.assets, "path": archive.path, "uri": archive.uri}


def render_state(state: ResourceState | None) -> dict[str, Any] | None:
    if state is None:
        return None
    rendered: dict[str, Any] = {"type": state.type, "urn": state.urn}
    for name in ("custom", "delete", "protect", "external"):
        if getattr(state, name):
            rendered[name] = True
    rendered |= {"id": state.id, "parent": state.parent, "inputs": render(state.inputs), "outputs": render(state.outputs)}
    rendered["provider"] = state.provider
    if state.init_errors:
        rendered["initErrors"] = list(state.init_errors)
    if state.retain_on_delete:
        rendered["retainOnDelete"] = True
    return rendered


class EventStream:
    """Numbers and dates events and hands them to the listener; runs in the engine's event loop only."""

    def __init__(self, listener: Callable[[Event], None], redact: Callable[[str], str]) -> None:
        self._listener = listener
        self._redact = redact
        self._sequence = 0

    def emit(self, kind: str, body: dict[str, Any]) -> None:
        self._sequence += 1
        self._listener({"sequence": self._sequence, "timestamp": int(time.time()), kind: body})

    def redacted(self, body: dict[str, Any]) -> dict[str, Any]:
        """A body whose message has passed the filter for known secrets."""
        return {**body, "message": self._redact(body["message"])} if isinstance(body.get("message"), str) else body

    def diagnostic(self, severity: str, message: str, urn: str = "", *, ephemeral: bool = False, stream_id: int = 0) -> None:
        body: dict[str, Any] = {"urn": urn} if urn else {}
        if severity in ("error", "warning"):
            body["prefix"] = f"{severity}: "
        body |= {"message": self._redact(message.rstrip("\n")) + "\n", "color": "never", "severity": severity}
        if stream_id:
            body["streamID"] = stream_id
        if ephemeral:
            body["ephemeral"] = True
        self.emit("diagnosticEvent", body)
