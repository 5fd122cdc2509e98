"""Runs a Pulumi program against mocks, on an event loop of its own, and keeps what it registered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pulumi
from pulumi.runtime import mocks as pulumi_mocks
from pulumi.runtime import rpc
from pulumi.runtime.stack import wait_for_rpcs

PASSWORD = "canary-8c1f"


@dataclass
class Recorder(pulumi_mocks.Mocks):
    """Answers like a provider that adds nothing, but makes passwords."""

    resources: list[pulumi_mocks.MockResourceArgs] = field(default_factory=list)

    def new_resource(self, args: pulumi_mocks.MockResourceArgs) -> tuple[str, dict[str, Any]]:
        self.resources.append(args)
        made = {"result": PASSWORD} if args.typ == "random:index/randomPassword:RandomPassword" else {}
        return f"{args.name}-id", {**args.inputs, **made}

    def call(self, args: pulumi_mocks.MockCallArgs) -> tuple[dict[str, Any], None]:
        return {}, None

    def registered(self) -> set[tuple[str, str]]:
        """Type (without package and group) and name of everything registered."""
        return {(resource.typ.rpartition(":")[2], resource.name) for resource in self.resources}

    def one(self, kind: str, name: str) -> dict[str, Any]:
        """Inputs of the one resource of this kind and name."""
        found = [r for r in self.resources if r.typ.rpartition(":")[2] == kind and r.name == name]
        assert len(found) == 1, f"{kind} {name}: {len(found)} registered"
        revealed = reveal(found[0].inputs)
        assert isinstance(revealed, dict)
        return revealed

    def kubernetes(self) -> list[tuple[str, dict[str, Any]]]:
        """Type token and inputs of every Kubernetes object."""
        return [(r.typ, dict(r.inputs)) for r in self.resources if r.typ.startswith("kubernetes:")]


def reveal(value: Any) -> Any:
    """The value with secrets taken out of their envelopes."""
    if isinstance(value, dict):
        if value.get(rpc._special_sig_key) == rpc._special_secret_sig:
            return reveal(value["value"])
        return {key: reveal(item) for key, item in value.items()}
    return [reveal(item) for item in value] if isinstance(value, list) else value


def deploy(program: Callable[[], object], config: dict[str, str] | None = None, stack: str = "dev") -> Recorder:
    """Runs `program` to its end. A fresh loop and fresh mocks each time: Pulumi keeps both in globals."""
    recorder = Recorder()

    async def run() -> None:
        pulumi.runtime.set_mocks(recorder, project="sophia", stack=stack, preview=False)
        pulumi.runtime.set_all_config(config or {})
        try:
            program()
        finally:
            # Also after a failure: what is under way would otherwise be waited for by the next program, on a dead loop.
            await wait_for_rpcs()

    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        loop.run_until_complete(run())
    finally:
        pending = asyncio.all_tasks(loop)
        for task in pending:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*pending, return_exceptions=True))
        loop.close()
        asyncio.set_event_loop(None)
    return recorder
