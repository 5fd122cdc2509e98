"""The view for a terminal: finished work scrolls by, what is in progress stays below and moves."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from engine.display.color import style
from engine.display.progress import Progress
from engine.display.words import SYMBOLS, doing, label, seconds


class LiveProgress(Progress):
    """`Progress`, with the running resources redrawn in place a few times a second."""

    def __init__(
        self,
        kind: str,
        stack: str,
        *,
        outputs: bool = True,
        diff: bool = False,
        console: Console | None = None,
        redact: Callable[[str], str] = lambda text: text,
    ) -> None:
        self._redact = redact
        self._console = console or Console(highlight=False, soft_wrap=True)
        super().__init__(self._print, kind, stack, outputs=outputs, diff=diff)
        self._live = Live(get_renderable=self._running, console=self._console, refresh_per_second=8, transient=True)

    def begin(self) -> None:
        super().begin()
        self._live.start()

    def _print(self, line: str) -> None:
        self._console.print(Text(self._redact(line), style=style(line)))

    def _begun(self, body: dict[str, Any]) -> None:
        metadata = body["metadata"]
        if body.get("planning"):
            self._steps.append(metadata)
        else:
            self._started[metadata["urn"]] = (metadata["op"], time.monotonic(), "")

    def _status(self, body: dict[str, Any]) -> None:
        if body.get("ephemeral") and body["message"].strip():
            self._last[body.get("urn", "")] = body["message"].strip().splitlines()[0]

    def _running(self) -> Group:
        rows = []
        for urn, (op, began, _) in list(self._started.items()):
            if op == "same" or urn.split("::")[2] == "pulumi:pulumi:Stack":
                continue
            text = f" {SYMBOLS[op]} {label(urn)} {doing(op)} ({seconds(int(time.monotonic() - began))}) {self._last.get(urn, '')}"
            rows.append(Text(self._redact(text), style=style(text), no_wrap=True, overflow="ellipsis"))
        return Group(*rows)

    def _finished(self, body: dict[str, Any]) -> None:
        metadata = body["metadata"]
        shown = metadata["urn"] in self._started and metadata["op"] != "same"
        super()._finished(body)
        if shown:
            self._details(metadata)

    def close(self) -> None:
        """Gives the terminal back as it was."""
        self._live.stop()

    def _end(self) -> None:
        self.close()
        super()._end()
