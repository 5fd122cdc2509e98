"""A whole engine run in a test: a program as text, a provider that keeps its world in memory, and what came out."""

from __future__ import annotations

import asyncio
import itertools
import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import docker
import pytest

from cluster import api as cluster
from cluster import packages
from cluster.api import ClusterStatus
from cluster.paths import Layout
from engine.deployment import Deployment, Operation, Result
from engine.journal import SnapshotManager
from engine.model import ResourceState, Snapshot
from engine.policing import PolicySource
from engine.program import ProgramSpec
from engine.provider import Call, Changes, Checked, CheckFailure, Created, Diff, InitError, Provider, ProviderError, Read
from engine.providers.builtin import BuiltinProvider
from engine.values import UNKNOWN, PropertyMap, equal
from ops import base_image


@dataclass
class World:
    """What exists outside the state, and how often each operation ran."""

    things: dict[str, PropertyMap] = field(default_factory=dict)
    calls: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """The provider's `note` at each operation."""
    running: int = 0
    most_running: int = 0
    ids: Any = field(default_factory=itertools.count)
    lock: threading.Lock = field(default_factory=threading.Lock)


class FakeProvider(Provider):
    """A provider of `fake:index:Thing`. Inputs steer it: `key*` replaces, `fixed` replaces delete-first, `fail`, `unready`, `delay`."""

    accepts_secrets = True

    def __init__(self, world: World) -> None:
        self.world = world
        self.config: PropertyMap = {}

    def configure(self, config: PropertyMap) -> None:
        self.config = config

    def diff_config(self, old: PropertyMap, new: PropertyMap) -> Sequence[str]:
        return ["region"] if old.get("region") != new.get("region") else []

    def check(self, call: Call, old_inputs: PropertyMap | None, inputs: PropertyMap, random_seed: bytes) -> Checked:
        if inputs.get("invalid"):
            return Checked(inputs, [CheckFailure("invalid", "must not be set")])
        name = (old_inputs or {}).get("auto") or f"auto-{random_seed.hex()[:8]}"
        return Checked({**inputs, "auto": name} if inputs.get("named") else inputs)

    def diff(
        self,
        call: Call,
        id: str,
        old_inputs: PropertyMap,
        old_outputs: PropertyMap,
        inputs: PropertyMap,
        ignore_changes: Sequence[str],
    ) -> Diff:
        changed = [k for k in sorted({*old_inputs, *inputs}) if not equal(old_inputs.get(k), inputs.get(k))]
        replaces = [k for k in changed if k.startswith("key") or k == "fixed"]
        return Diff(
            Changes.SOME if changed else Changes.NONE,
            replaces=replaces,
            diffs=changed,
            delete_before_replace="fixed" in replaces,
        )

    def _enter(self, call: Call, op: str, inputs: PropertyMap) -> None:
        with self.world.lock:
            self.world.calls.append((op, call.urn.rsplit("::", 1)[-1]))
            self.world.notes.append(str(self.config.get("note", "")))
            self.world.running += 1
            self.world.most_running = max(self.world.most_running, self.world.running)
        try:
            call.cancelled.wait(float(inputs.get("delay", 0)))
            if inputs.get("fail") == op:
                raise ProviderError(f"cannot {op}: asked to fail")
        finally:
            with self.world.lock:
                self.world.running -= 1

    def create(self, call: Call, inputs: PropertyMap) -> Created:
        if call.preview:
            return Created("", {**inputs, "size": UNKNOWN})
        self._enter(call, "create", inputs)
        id_ = f"thing-{next(self.world.ids)}"
        self.world.things[id_] = inputs
        self._ready(inputs, id_)
        return Created(id_, {**inputs, "size": len(inputs)})

    def update(
        self,
        call: Call,
        id: str,
        old_inputs: PropertyMap,
        old_outputs: PropertyMap,
        inputs: PropertyMap,
        ignore_changes: Sequence[str],
    ) -> PropertyMap:
        if not call.preview:
            self._enter(call, "update", inputs)
            self.world.things[id] = inputs
            self._ready(inputs, id)
        return {**inputs, "size": len(inputs)}

    @staticmethod
    def _ready(inputs: PropertyMap, id_: str) -> None:
        if inputs.get("unready"):
            raise InitError("it did not start", id=id_, inputs=None, outputs={**inputs, "size": 0}, reasons=["it did not start"])

    def delete(self, call: Call, id: str, inputs: PropertyMap, outputs: PropertyMap) -> None:
        self._enter(call, "delete", inputs)
        self.world.things.pop(id, None)

    def read(self, call: Call, id: str, inputs: PropertyMap | None, outputs: PropertyMap | None) -> Read:
        if id not in self.world.things:
            return Read("", {}, {})
        return Read(id, self.world.things[id], {**self.world.things[id], "size": len(self.world.things[id])})

    def invoke(self, call: Call, token: str, args: PropertyMap) -> PropertyMap:
        if token == "fake:index:double":
            return {"result": 2 * args["value"]}
        raise ProviderError(f"unknown function {token}")


PRELUDE = """
import os
import pulumi
from pulumi import Alias, ComponentResource, CustomResource, CustomTimeouts, Output, ResourceOptions

class Thing(CustomResource):
    size: Output[int]
    def __init__(self, name, opts=None, **props):
        super().__init__("fake:index:Thing", name, {**props, "size": None}, opts)

class Group(ComponentResource):
    def __init__(self, name, opts=None, **props):
        super().__init__("fake:index:Group", name, props, opts)
"""


@dataclass
class Outcome:
    result: Result
    events: list[dict[str, Any]]
    resources: list[ResourceState]
    seconds: float

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [e[kind] for e in self.events if kind in e]

    @property
    def steps(self) -> list[tuple[str, str]]:
        """(op, name) of everything begun, in order, without the stack itself."""
        shown = [(e["metadata"]["op"], e["metadata"]["urn"].rsplit("::", 1)[-1]) for e in self.of("resourcePreEvent")]
        return [(op, name) for op, name in shown if name != "proj-dev"]

    @property
    def errors(self) -> str:
        return "".join(e["message"] for e in self.of("diagnosticEvent") if e["severity"] == "error")

    def named(self, name: str) -> ResourceState:
        return next(r for r in self.resources if r.urn.endswith(f"::{name}") and not r.delete)


class EngineFixture:
    """Runs programs one after the other on one state."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.world = World()
        self.resources: list[ResourceState] = []
        self.policies: list[PolicySource] = []
        self.config: dict[str, Any] = {}
        self.parallel = 16
        self.redact: Callable[[str], str] = lambda text: text
        self.stacks: dict[str, PropertyMap] = {}
        self.during: Callable[[Deployment], None] | None = None

    def __call__(self, program: str, kind: str = "up", *, env: dict[str, str] | None = None) -> Outcome:
        target = self.folder / "program"
        target.mkdir(exist_ok=True)
        (target / "__main__.py").write_text(PRELUDE + textwrap.dedent(program))
        return self.run(target, kind, env)

    def preview(self, program: str) -> Outcome:
        return self(program, "preview")

    def destroy(self) -> Outcome:
        return self.run(None, "destroy")

    def run(self, program: Path | None, kind: str, env: dict[str, str] | None = None) -> Outcome:
        events: list[dict[str, Any]] = []
        saved: list[Snapshot] = []
        manager = SnapshotManager(Snapshot(resources=self.resources), saved.append) if kind != "preview" else None
        texts = {k: v if isinstance(v, str) else getattr(v, "value", str(v)) for k, v in self.config.items()}
        spec = None
        if program is not None:
            secret = [k for k, v in self.config.items() if not isinstance(v, str)]
            spec = ProgramSpec(self.folder, program, sys.executable, config=texts, secret_keys=secret, environment=env or {})
        operation = Operation(
            kind=kind,  # type: ignore[arg-type]
            project="proj",
            stack="dev",
            previous=self.resources,
            factories={"fake": lambda: FakeProvider(self.world), "pulumi": lambda: BuiltinProvider(self.stacks.get)},
            listener=events.append,
            program=spec,
            config=self.config,
            recorder=manager,
            policies=self.policies,
            parallel=self.parallel,
            redact=self.redact,
        )
        started = time.monotonic()
        result = asyncio.run(self._run(operation))
        if manager is not None:
            self.resources = manager.snapshot().resources
        return Outcome(result, events, self.resources, time.monotonic() - started)

    async def _run(self, operation: Operation) -> Result:
        deployment = Deployment(operation)
        if self.during is not None:
            asyncio.get_running_loop().call_soon(self.during, deployment)
        return await deployment.run()


@pytest.fixture
def engine(tmp_path: Path) -> EngineFixture:
    return EngineFixture(tmp_path)


class RecordedImages:
    """The base image under the name that the recorded programs use, on the node and in the Docker engine."""

    NAME = "localhost/python:3.11-bookworm"
    NAMESPACES: ClassVar = {
        "kubernetes-basics": "golden-basics",
        "update-and-replace": "golden-update",
        "failed-rollout": "golden-rollout",
    }

    def __init__(self, status: ClusterStatus) -> None:
        self._kubectl = str(cluster.kubectl())
        base = base_image.ensure_base_image(status.docker_host, status.registry, lambda text: None)
        engine = docker.DockerClient(base_url=status.docker_host)
        engine.images.get(base).tag(*self.NAME.rsplit(":", 1))
        layout = Layout.of()
        ctr = ["ctr", "--address", str(layout.containerd_socket), "--namespace", "k8s.io", "images"]
        environment = {**os.environ, "PATH": packages.search_path()}
        subprocess.run([*ctr, "pull", "--plain-http", base], check=True, capture_output=True, env=environment)
        subprocess.run([*ctr, "tag", "--force", base, self.NAME], check=True, capture_output=True, env=environment)

    def clean(self, program: str) -> None:
        """Removes what a failed test left, so that the next run starts from nothing."""
        names = [self.NAMESPACES[program]] if program in self.NAMESPACES else []
        flags = ["--ignore-not-found", "--wait=true", "--timeout=120s"]
        if names:
            subprocess.run([self._kubectl, "delete", "namespace", *names, *flags], check=True, capture_output=True)
        listed = [self._kubectl, "get", "configmap", "-n", "default", "-o", "name"]
        found = subprocess.run(listed, check=True, capture_output=True, text=True).stdout.split()
        left = [name for name in found if "kube-root-ca" not in name]
        if left:
            subprocess.run([self._kubectl, "delete", "-n", "default", *left, *flags], check=True, capture_output=True)


@pytest.fixture(scope="session")
def recorded_images(real_cluster: ClusterStatus) -> RecordedImages:
    return RecordedImages(real_cluster)
