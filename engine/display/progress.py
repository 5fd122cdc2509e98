"""Plain lines as things happen: for logs, pipes and CI."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from engine.display import tree
from engine.display.diff import property_lines
from engine.display.summary import Collected, lines
from engine.display.words import SYMBOLS, changed_keys, doing, done, label, seconds

Write = Callable[[str], None]
QUIET_SECONDS = 5.0
"""A status of the same kind (a growing bar) is told at most this often for one resource; a log is read, not watched."""
_TITLES = {"preview": "Previewing update", "up": "Updating", "destroy": "Destroying"}


class Progress:
    """One line a change of a resource. A preview is short, so it is shown as a tree when it is complete."""

    def __init__(self, write: Write, kind: str, stack: str, *, outputs: bool = True, diff: bool = False) -> None:
        self._write = write
        self._outputs = outputs
        self._diff = diff
        self._title = "Previewing destroy" if kind == "preview-destroy" else _TITLES[kind]
        self._stack = stack
        self._started: dict[str, tuple[str, float, str]] = {}
        self._last: dict[str, str] = {}
        self._told: dict[str, float] = {}
        self._steps: list[dict[str, Any]] = []
        self._begun_view = False
        self.collected = Collected()

    def begin(self) -> None:
        """Called with the first event, so that what is wrong before there is one is all that is said."""
        self._write(f"{self._title} ({self._stack}):")
        self._write("")

    def close(self) -> None:
        """Called at the end in any case, whether there was a summary or not."""

    def __call__(self, event: dict[str, Any]) -> None:
        if not self._begun_view:
            self._begun_view = True
            self.begin()
        self.collected.take(event)
        if "resourcePreEvent" in event:
            self._begun(event["resourcePreEvent"])
        elif "resOutputsEvent" in event:
            self._finished(event["resOutputsEvent"])
        elif "resOpFailedEvent" in event:
            self._failed(event["resOpFailedEvent"]["metadata"])
        elif "diagnosticEvent" in event:
            self._status(event["diagnosticEvent"])
        elif "summaryEvent" in event:
            self._end()

    def _begun(self, body: dict[str, Any]) -> None:
        metadata = body["metadata"]
        if body.get("planning"):
            self._steps.append(metadata)
            return
        self._started[metadata["urn"]] = (metadata["op"], time.monotonic(), changed_keys(metadata))
        if metadata["op"] != "same":
            self._line(metadata, doing(metadata["op"]), "(0s)")
            self._details(metadata)

    def _details(self, metadata: dict[str, Any]) -> None:
        if self._diff and metadata["op"] != "replace":  # its first half has told
            for line in property_lines(metadata):
                self._write(f"      {line}")

    def _finished(self, body: dict[str, Any]) -> None:
        metadata = body["metadata"]
        if body.get("planning"):
            return
        begun = self._started.pop(metadata["urn"], None)
        if begun is None or metadata["op"] == "same":
            return
        self._line(metadata, done(metadata["op"]), f"({seconds(time.monotonic() - begun[1])})")

    def _failed(self, metadata: dict[str, Any]) -> None:
        self._started.pop(metadata["urn"], None)
        self._line(metadata, f"**{doing(metadata['op'])} failed**", "")

    def _status(self, body: dict[str, Any]) -> None:
        """Live status of something that takes its time; repeated and empty ones say nothing new."""
        urn, text = body.get("urn", ""), body["message"].strip()
        if not body.get("ephemeral") or not text or urn not in self._started or self._last.get(urn) == text:
            return
        now = time.monotonic()
        same_kind = self._last.get(urn, "").split()[:1] == text.split()[:1]
        if same_kind and now - self._told.get(urn, 0.0) < QUIET_SECONDS:
            return
        self._last[urn], self._told[urn] = text, now
        op, began, _ = self._started[urn]
        self._write(f" {SYMBOLS[op]} {label(urn)} {doing(op)} ({seconds(int(time.monotonic() - began))}) {text.splitlines()[0]}")

    def _line(self, metadata: dict[str, Any], verb: str, duration: str) -> None:
        parts = [f" {SYMBOLS[metadata['op']]} {label(metadata['urn'])}", verb, duration, changed_keys(metadata)]
        old = metadata.get("old") or {}
        if old.get("retainOnDelete") and metadata["op"].startswith("delete"):
            parts.append("[retain]")
        self._write(" ".join(part for part in parts if part))

    def _end(self) -> None:
        if self._steps:
            for row in tree.rows(self._steps, diff=self._diff):
                self._write(row)
        self._write("")
        for line in lines(self.collected, outputs=self._outputs):
            self._write(line)
