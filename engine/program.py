"""Starts the program as a child process and relays what it prints."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

RUNNER = Path(__file__).with_name("runner.py")
LINE_LIMIT = 16 * 1024 * 1024
"""Bytes of one line of program output that are accepted; a longer one ends the relay of that stream."""


@dataclass(frozen=True)
class ProgramSpec:
    """What to run and as whom."""

    root: Path
    """The folder of Pulumi.yaml."""
    directory: Path
    """The program's own folder (`main`)."""
    python: str
    config: dict[str, str] = field(repr=False, default_factory=dict)
    secret_keys: list[str] = field(default_factory=list)
    organization: str = "organization"
    environment: dict[str, str] = field(repr=False, default_factory=dict)


class Program:
    """The running program of one operation."""

    def __init__(self, process: asyncio.subprocess.Process, relays: list[asyncio.Task[None]]) -> None:
        self._process = process
        self._relays = relays

    @classmethod
    async def start(
        cls,
        spec: ProgramSpec,
        *,
        address: str,
        project: str,
        stack: str,
        parallel: int,
        dry_run: bool,
        on_line: Callable[[str, bool], None],
    ) -> Program:
        """`on_line(text, is_error)` gets every line the program prints."""
        entry = spec.directory
        settings: dict[str, Any] = {
            "program": str(entry),
            "directory": str(entry if entry.is_dir() else entry.parent),
            "root": str(spec.root),
            "monitor": address,
            "engine": address,
            "project": project,
            "stack": stack,
            "organization": spec.organization,
            "parallel": parallel,
            "dry_run": dry_run,
            "config": spec.config,
            "secret_keys": spec.secret_keys,
        }
        process = await asyncio.create_subprocess_exec(
            spec.python or sys.executable,
            "-u",
            str(RUNNER),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=settings["directory"],
            env={**os.environ, **spec.environment},
            start_new_session=True,  # Ctrl-C is the engine's to handle; the program must not die half-way by itself
            limit=LINE_LIMIT,
        )
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None, "pipes were asked for"
        process.stdin.write(json.dumps(settings).encode() + b"\n")
        await process.stdin.drain()
        relays = [
            asyncio.create_task(_relay(stream, on_line, error)) for stream, error in ((process.stdout, False), (process.stderr, True))
        ]
        return cls(process, relays)

    async def wait(self) -> int:
        """The exit status, once everything that was printed has been relayed."""
        status = await self._process.wait()
        await asyncio.gather(*self._relays)
        return status

    async def kill(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self.wait()


async def _relay(stream: asyncio.StreamReader, on_line: Callable[[str, bool], None], error: bool) -> None:
    try:
        async for line in stream:
            on_line(line.decode(errors="replace").rstrip("\n"), error)
    except ValueError:
        on_line("(a line longer than 16 MiB; the rest of this stream is not shown)", error)
