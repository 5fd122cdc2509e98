"""One operation from beginning to end: preview, update or destroy."""

from __future__ import annotations

import asyncio
import json
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Literal

from engine.callbacks import CallbackError, Callbacks
from engine.context import Bail, RunContext
from engine.events import Event, EventStream
from engine.executor import Executor, Recorder, StepFailed
from engine.generator import StepGenerator
from engine.goal import Goal, package_of
from engine.model import ResourceState, is_provider, make_urn
from engine.monitor import InvokeFailure, Monitor
from engine.policing import Policies, PolicySource
from engine.program import Program, ProgramSpec
from engine.provider import ProviderError
from engine.providers.builtin import Lookup
from engine.providers.registry import Factory, ProviderRegistry, default_provider_name
from engine.steps import Step
from engine.values import UNKNOWN_STRING, PropertyMap, Secret, Value, reveal

DEFAULT_PARALLEL = 16
"""Provider operations at once. 1 to 16 gains a third at 1000 resources, more gains nothing (measured)."""


@dataclass(frozen=True)
class Operation:
    """Everything an operation needs to know."""

    kind: Literal["preview", "up", "destroy"]
    project: str
    stack: str
    previous: list[ResourceState]
    """The recorded resources; the operation may change these objects."""
    factories: Mapping[str, Factory]
    listener: Callable[[Event], None]
    program: ProgramSpec | None = None
    """None for destroy, which needs only the state."""
    config: PropertyMap = field(default_factory=dict)
    """Configuration as `namespace:key` to value, secrets marked."""
    recorder: Recorder | None = None
    """Where outcomes are written; None for a preview."""
    policies: Sequence[PolicySource] = ()
    policy_interpreters: Sequence[str] = ()
    """Pythons that have pulumi_policy, for packs whose own environment was not made."""
    parallel: int = DEFAULT_PARALLEL
    redact: Callable[[str], str] = lambda text: text
    lookup: Lookup | None = None
    """Outputs of another stack of the same backend, for stack references."""
    interrupted: Mapping[str, str] = field(default_factory=dict)
    """URN -> operation (`creating`) that was under way when the last run was cut off: it may have happened."""
    destroy_preview: bool = False
    """For destroy: only show what would be deleted."""


@dataclass(frozen=True)
class Result:
    ok: bool
    changes: dict[str, int]
    policy_violation: bool
    cancelled: bool
    outputs: PropertyMap
    defect: bool = False
    """The engine itself failed."""


class Deployment:
    """Serves the program's requests and drives the run. Use `run` or, to be able to cancel, the object."""

    def __init__(self, operation: Operation) -> None:
        self._operation = operation
        loop = asyncio.get_running_loop()
        self._workers = ThreadPoolExecutor(max_workers=operation.parallel + 2, thread_name_prefix="provider")
        self._registry = ProviderRegistry(operation.factories)
        preview = operation.kind == "preview" or operation.destroy_preview
        self._context = RunContext(
            project=operation.project,
            stack=operation.stack,
            preview=preview,
            registry=self._registry,
            events=EventStream(operation.listener, operation.redact),
            workers=self._workers,
            loop=loop,
            previous=list(operation.previous),
            interrupted=frozenset(operation.interrupted),
        )
        self._policies = Policies(self._context, operation.policies, operation.policy_interpreters)
        self._generator = StepGenerator(self._context, self._policies)
        self._executor = Executor(self._context, operation.recorder, lambda: self._generator.deleted, self._generator.rename_references)
        self._callbacks = Callbacks()
        self._deciding = asyncio.Lock()
        self._slots = asyncio.Semaphore(operation.parallel)
        self._default_providers: dict[tuple[str, str], asyncio.Task[str]] = {}
        self._chains: set[asyncio.Task[Any]] = set()
        self._stopped = asyncio.Event()
        """Set on the first failure or cancellation: no step is begun after that."""

    def cancel(self) -> None:
        """Stops gracefully: what is in flight may finish (providers wind up), nothing new is begun. Call in the event loop."""
        self._context.cancelled.set()
        self._stopped.set()

    def log(self, text: str, is_error: bool) -> None:
        """A line printed by a helper process of a provider; from any thread."""
        severity = "info#err" if is_error else "info"
        self._context.loop.call_soon_threadsafe(lambda: self._context.events.diagnostic(severity, text))

    # -- the run ---------------------------------------------------------------------------------------------------

    async def run(self) -> Result:
        started = time.monotonic()
        context = self._context
        try:
            try:
                if self._operation.program is not None:
                    await self._run_program(self._operation.program)
                else:
                    self._prelude()
                if not self._stopped.is_set() and not (context.errored and not context.preview):
                    await self._delete()
                if not self._stopped.is_set() and not (context.errored and not context.preview):
                    await self._policies.check_stack(self._executor.news, self._generator.goals, self._generator.provider_of)
            except (Bail, StepFailed):
                pass
            except (ProviderError, CallbackError) as error:
                context.error(str(error))
            except Exception:
                self._defect()
            await self._settle()
        finally:
            await self._close()
        failed = context.errored or context.policy_violation or context.cancelled.is_set()
        if failed:
            verb = {"preview": "preview", "up": "update", "destroy": "destroy"}[self._operation.kind]
            outcome = "canceled" if context.cancelled.is_set() else "failed"
            context.events.diagnostic("error", f"{'preview' if context.preview else verb} {outcome}")
        context.events.emit(
            "summaryEvent",
            {
                "maybeCorrupt": False,
                "durationSeconds": round(time.monotonic() - started),
                "resourceChanges": dict(sorted(self._executor.changes.items())),
                "PolicyPacks": self._policies.versions,
                "isPreview": context.preview,
                "result": "failed" if failed else "succeeded",
            },
        )
        context.events.emit("cancelEvent", {})
        stack = self._executor.news.get(context.stack_urn)
        return Result(
            ok=not failed,
            changes=dict(self._executor.changes),
            policy_violation=context.policy_violation,
            cancelled=context.cancelled.is_set(),
            outputs=stack.outputs if stack else {},
            defect=context.defect,
        )

    def _prelude(self) -> None:
        shown = {k: "[secret]" if isinstance(v, Secret) else _text(v) for k, v in self._operation.config.items()}
        self._context.events.emit("preludeEvent", {"config": shown})
        for urn, operation in self._operation.interrupted.items():
            self._context.events.diagnostic(
                "warning",
                f"the last run was cut off while {operation} this: whether it happened is not known. "
                "Kubernetes objects of the same name are taken over; look for anything else that was left behind.",
                urn,
            )

    async def _run_program(self, spec: ProgramSpec) -> None:
        monitor = Monitor(self._context, self, self._callbacks)
        address = await monitor.start()
        try:
            await self._policies.start(address, spec.config, spec.secret_keys, spec.python)
            self._prelude()
            program = await Program.start(
                spec,
                address=address,
                project=self._operation.project,
                stack=self._operation.stack,
                parallel=self._operation.parallel,
                dry_run=self._context.preview,
                on_line=lambda text, error: self._context.events.diagnostic("info#err" if error else "info", text),
            )
            await self._until_exit(program)
        finally:
            await monitor.stop()

    async def _until_exit(self, program: Program) -> None:
        exit_ = asyncio.ensure_future(program.wait())
        stopped = asyncio.ensure_future(self._stopped.wait())
        try:
            await asyncio.wait({exit_, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if not exit_.done():
                await self._settle()
                await program.kill()
                return
            await self._settle()
            if exit_.result() != 0:
                if not self._context.errored:
                    self._context.error(f"the program exited with status {exit_.result()} before it was finished")
                self._stopped.set()
        finally:
            stopped.cancel()
            if not exit_.done():
                await program.kill()

    async def _settle(self) -> None:
        """Waits for everything in flight; failures have been reported where they happened."""
        while self._chains:
            await asyncio.wait(self._chains)
            await asyncio.sleep(0)

    async def _delete(self) -> None:
        for wave in await self._generator.deletions():
            results = await asyncio.gather(*(self._run_chain([step]) for step in wave), return_exceptions=True)
            for result in results:
                if isinstance(result, BaseException):
                    raise result

    async def _close(self) -> None:
        await self._callbacks.close()
        await self._context.blocking(self._policies.close)
        await self._context.blocking(self._registry.close)
        self._workers.shutdown(wait=False)

    # -- requests of the program -----------------------------------------------------------------------------------

    async def register(self, goal: Goal, transforms: list[Any]) -> tuple[ResourceState, list[str]]:
        served: tuple[ResourceState, list[str]] = await self._serve(self._register(goal, transforms))
        return served

    async def _register(self, goal: Goal, transforms: list[Any]) -> tuple[ResourceState, list[str]]:
        await self._callbacks.transform(goal, transforms)
        if goal.custom and is_provider(goal.type):
            goal.properties = _with_version(goal.properties, goal.version, goal.plugin_download_url)
        elif goal.custom:
            goal.provider = goal.provider or await self._default_provider(goal.package, goal.version)
        else:
            goal.provider = ""
        async with self._deciding:
            steps = await self._generator.steps_for(goal)
        urn = steps[-1].urn
        if not goal.custom:
            self._callbacks.remember(urn, goal.parent, transforms)
        await self._run_chain(steps)
        return self._executor.news[urn], [str(s) for s in steps[-1].stables]

    async def read(self, goal: Goal, id_: str) -> ResourceState:
        served: ResourceState = await self._serve(self._read(goal, id_))
        return served

    async def _read(self, goal: Goal, id_: str) -> ResourceState:
        goal.provider = goal.provider or await self._default_provider(goal.package, goal.version)
        async with self._deciding:
            steps = self._generator.read_steps(goal, id_)
        await self._run_chain(steps)
        return self._executor.news[steps[-1].urn]

    def register_outputs(self, urn: str, outputs: PropertyMap) -> None:
        if not self._stopped.is_set():
            self._executor.register_outputs(urn, outputs)

    async def invoke(self, token: str, args: PropertyMap, provider: str, version: str) -> Value:
        if token == "pulumi:pulumi:getResource":  # noqa: S105
            return self._get_resource(str(args.get("urn", "")))
        ref = provider or await self._default_provider(package_of(token), version)
        served = self._registry.get(ref)
        if served is None:
            raise InvokeFailure(f"unknown provider {ref!r} for function {token}")
        plain = args if served.accepts_secrets else reveal(args)
        try:
            return await self._context.blocking(served.invoke, self._context.call(""), token, plain)
        except ProviderError as error:
            raise InvokeFailure(str(error)) from None

    def _get_resource(self, urn: str) -> PropertyMap:
        state = self._executor.news.get(urn)
        if state is None:
            raise InvokeFailure(f"unknown resource {urn}")
        return {"urn": urn, "id": state.id, "state": state.outputs}

    async def _serve(self, work: Any) -> Any:
        """Runs a request. After a failure the answer never comes: the program is ended, so that only the cause is shown."""
        if self._stopped.is_set():
            work.close()
            await asyncio.Event().wait()
        task = asyncio.ensure_future(work)
        self._chains.add(task)
        task.add_done_callback(self._chains.discard)
        try:
            return await asyncio.shield(task)
        except (Bail, StepFailed):
            self._stopped.set()
        except (ProviderError, CallbackError) as error:
            self._context.error(str(error))
            self._stopped.set()
        except Exception:
            self._defect()
        await asyncio.Event().wait()
        return None

    def _defect(self) -> None:
        """A mistake of ours, told as such: what was completed is recorded, and the traceback is what a report needs."""
        self._context.defect = True
        self._context.error(f"internal error of the embedded engine, please report it:\n{traceback.format_exc()}")
        self._stopped.set()

    # -- steps -----------------------------------------------------------------------------------------------------

    async def _run_chain(self, steps: Sequence[Step]) -> None:
        for step in steps:
            async with self._slots:
                if self._stopped.is_set():
                    raise Bail("stopped")
                try:
                    await self._executor.run(step)
                except StepFailed:
                    self._stopped.set()
                    raise

    async def _default_provider(self, package: str, version: str) -> str:
        """The reference of a package's default provider, which is registered before its first user."""
        key = (package, version)
        if key not in self._default_providers:
            self._default_providers[key] = asyncio.ensure_future(self._make_default_provider(package, version))
        return await asyncio.shield(self._default_providers[key])

    async def _make_default_provider(self, package: str, version: str) -> str:
        if not self._registry.known(package):
            raise self._context.bail(
                f"package {package!r} is not served by the embedded engine; resources of it need the pulumi CLI (`--engine pulumi`)."
            )
        own = {k.partition(":")[2]: v for k, v in self._operation.config.items() if k.partition(":")[0] == package}
        goal = Goal(
            type=f"pulumi:providers:{package}",
            name=default_provider_name(version),
            custom=True,
            properties=_with_version({k: v if isinstance(v, str | Secret) else _text(v) for k, v in own.items()}, version, ""),
        )
        async with self._deciding:
            steps = await self._generator.steps_for(goal)
        await self._run_chain(steps)
        urn = make_urn(self._operation.stack, self._operation.project, "", goal.type, goal.name)
        return self.provider_ref(self._executor.news[urn])

    @staticmethod
    def provider_ref(state: ResourceState) -> str:
        return f"{state.urn}::{state.id or UNKNOWN_STRING}"


def _with_version(inputs: PropertyMap, version: str, url: str) -> PropertyMap:
    if not version and not url:
        return inputs
    internal: PropertyMap = {"pluginDownloadURL": url} if url else {}
    versioned: PropertyMap = {"version": version} if version else {}
    return {**inputs, "__internal": internal, **versioned}


def _text(value: Value) -> str:
    return value if isinstance(value, str) else json.dumps(value)


async def run(operation: Operation) -> Result:
    """Carries out an operation. What happened is told by events; only defects of ours are raised."""
    return await Deployment(operation).run()
