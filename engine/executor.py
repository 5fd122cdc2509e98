"""Carries out steps: calls providers, records every outcome, tells what happened."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Callable
from typing import Any, Protocol

from engine.context import RunContext
from engine.difference import annotate_secrets, mark_secret_outputs
from engine.model import ResourceState, is_provider
from engine.provider import InitError, Provider, ProviderError
from engine.steps import DELETES, Op, Step
from engine.values import UNKNOWN_STRING, PropertyMap, equal, reveal, unwrap

PENDING = {
    Op.CREATE: "creating",
    Op.CREATE_REPLACEMENT: "creating",
    Op.UPDATE: "updating",
    Op.DELETE: "deleting",
    Op.DELETE_REPLACED: "deleting",
    Op.READ: "reading",
    Op.READ_REPLACEMENT: "reading",
    Op.IMPORT: "importing",
    Op.IMPORT_REPLACEMENT: "importing",
}
"""What `pending_operations` calls an operation whose outcome is not known after a crash."""


class Recorder(Protocol):
    """Where outcomes are written; `engine.journal.SnapshotManager`, or nothing in a preview."""

    def begin(self, op_type: str, resource: ResourceState) -> int: ...
    def success(self, ticket: int | None, old: ResourceState | None = None, new: ResourceState | None = None) -> None: ...
    def failure(self, ticket: int) -> None: ...
    def same(self, old: ResourceState, new: ResourceState) -> None: ...
    def outputs(self, resource: ResourceState) -> None: ...


class StepFailed(Exception):
    """A step failed and has been reported; `state` is what is known of the resource, if it exists after all."""

    def __init__(self, step: Step, message: str) -> None:
        super().__init__(message)
        self.step = step


class Executor:
    """Runs steps one by one as told; ordering and parallelism are the caller's."""

    def __init__(
        self,
        context: RunContext,
        recorder: Recorder | None,
        deleted: Callable[[], set[str]],
        rename: Callable[[str], list[ResourceState]],
    ) -> None:
        """`deleted`: URNs that this run deletes; `rename`: points what is recorded to a resource's new name."""
        self._rename = rename
        self._context = context
        self._recorder = recorder
        self._deleted = deleted
        self.changes: Counter[str] = Counter()
        self.news: dict[str, ResourceState] = {}
        """The newest state of every resource that the program asked for."""
        self._steps: dict[str, Step] = {}

    async def run(self, step: Step) -> None:
        """Carries out one step. Raises StepFailed; the failure has been recorded and reported then."""
        internal = _is_internal(step)
        ticket = self._begin(step)
        if not internal:
            self._emit("resourcePreEvent", step)
        try:
            await self._apply(step)
        except InitError as error:
            self._keep_unready(step, error)
            self._record(step, ticket)
            self._fail(step, str(error))
        except ProviderError as error:
            if self._recorder is not None and ticket is not None:
                self._recorder.failure(ticket)
            self._fail(step, str(error))
        else:
            self._record(step, ticket)
            self._done(step, internal)

    def _done(self, step: Step, internal: bool) -> None:
        if step.new is not None:
            self.news[step.urn] = step.new
            self._steps[step.urn] = step
        if internal:
            return
        if step.logical:
            self.changes[str(step.op)] += 1
        self._emit("resOutputsEvent", step)

    def _emit(self, kind: str, step: Step) -> None:
        body: dict[str, Any] = {"metadata": step.metadata()}
        if self._context.preview:
            body["planning"] = True
        self._context.events.emit(kind, body)

    def _fail(self, step: Step, message: str) -> None:
        self._context.errored = True
        self._context.events.emit("resOpFailedEvent", {"metadata": step.metadata(), "status": 0, "steps": 0})
        self._context.events.diagnostic("error", message, step.urn)
        raise StepFailed(step, message)

    def register_outputs(self, urn: str, outputs: PropertyMap) -> None:
        """Takes a component's outputs, which come after its step."""
        state, step = self.news[urn], self._steps[urn]
        changed = not equal(state.outputs, outputs) or state.outputs.keys() != outputs.keys()
        state.outputs = outputs
        if self._recorder is not None and changed:
            self._recorder.outputs(state)
        self._emit("resOutputsEvent", step)

    # -- recording -------------------------------------------------------------------------------------------------

    def _begin(self, step: Step) -> int | None:
        if self._recorder is None or not step.state.custom or is_provider(step.state.type) or step.op not in PENDING:
            return None
        if step.op in DELETES and step.old is not None and not self._calls_delete(step.old):
            return None
        return self._recorder.begin(PENDING[step.op], step.state)

    def _record(self, step: Step, ticket: int | None) -> None:
        recorder = self._recorder
        if recorder is None or step.op is Op.REPLACE:
            return
        if step.new is not None:
            step.new.aliases = []  # the record knows the new name only; references to the old one have been rewritten
        if step.op is Op.SAME:
            assert step.old is not None and step.new is not None, "same has both"
            recorder.same(step.old, step.new)
        elif step.op is Op.DELETE_REPLACED and step.pending_delete and step.old is not None:
            # Deleted ahead of its replacement: stays on record, marked, until the replacement exists.
            marked = step.old
            marked.pending_replacement = True
            recorder.outputs(marked)
            recorder.success(ticket)
        elif step.op in (Op.CREATE_REPLACEMENT, Op.READ_REPLACEMENT, Op.IMPORT_REPLACEMENT) and step.pending_delete:
            assert step.old is not None, "a replacement replaces something"
            recorder.outputs(step.old)  # now marked `delete`
            recorder.success(ticket, None, step.new)
        else:
            recorder.success(ticket, step.old, step.new)
        if step.new is not None:
            for state in self._rename(step.urn):
                recorder.outputs(state)

    def _keep_unready(self, step: Step, error: InitError) -> None:
        new = step.new
        if new is None:
            return
        new.id = error.id or new.id
        if error.inputs is not None:
            new.inputs = error.inputs
        new.outputs = self._outputs(self._provider(new), new, error.outputs)
        new.init_errors = list(error.reasons)
        self._touch(step)
        if step.pending_delete and step.old is not None:
            step.old.delete = True
        self.news[step.urn] = new
        self._steps[step.urn] = step

    # -- doing -----------------------------------------------------------------------------------------------------

    async def _apply(self, step: Step) -> None:
        match step.op:
            case Op.SAME:
                await self._same(step)
            case Op.CREATE | Op.CREATE_REPLACEMENT:
                await self._create(step)
            case Op.UPDATE:
                await self._update(step)
            case Op.DELETE | Op.DELETE_REPLACED:
                await self._delete(step)
            case Op.READ | Op.READ_REPLACEMENT:
                await self._read(step)
            case Op.IMPORT | Op.IMPORT_REPLACEMENT:
                await self._import(step)
            case _:
                pass  # replace, discards and remove-pending-replace only change the record

    async def _same(self, step: Step) -> None:
        old, new = step.old, step.new
        assert old is not None and new is not None, "same has both"
        new.id, new.outputs, new.import_id = old.id, old.outputs, old.import_id
        new.created, new.modified = old.created, old.modified
        new.extra = old.extra
        if new.custom and not is_provider(new.type):
            new.outputs = mark_secret_outputs(new.outputs, new.additional_secret_outputs)
        if is_provider(new.type):
            await self._context.blocking(self._context.registry.same, new)

    async def _create(self, step: Step) -> None:
        new = step.new
        assert new is not None, "create has a new state"
        if new.custom:
            provider = self._provider(new)
            call = self._context.call(step.urn, new.custom_timeouts.create)
            created = await self._context.blocking(provider.create, call, self._plain(provider, new.inputs))
            if not created.id and not self._context.preview:
                raise ProviderError(f"provider for {new.type} returned no id for a created resource")
            new.id, new.outputs = created.id, self._outputs(provider, new, created.outputs)
        if step.pending_delete and step.old is not None:
            step.old.delete = True
        new.created = new.modified = now()

    async def _update(self, step: Step) -> None:
        old, new = step.old, step.new
        assert old is not None and new is not None, "update has both"
        new.id, new.created, new.import_id = old.id, old.created, old.import_id
        if new.custom:
            provider = self._provider(new)
            plain = self._plain
            call = self._context.call(step.urn, new.custom_timeouts.update)
            outputs = await self._context.blocking(
                provider.update,
                call,
                old.id,
                plain(provider, old.inputs),
                plain(provider, old.outputs),
                plain(provider, new.inputs),
                step.ignore_changes,
            )
            new.outputs = self._outputs(provider, new, outputs)
        new.modified = now()

    def _touch(self, step: Step) -> None:
        if step.new is not None:
            step.new.modified = now()
            step.new.created = step.new.created or step.new.modified

    def _calls_delete(self, old: ResourceState) -> bool:
        if not old.custom or old.external or old.retain_on_delete:
            return False
        return not (old.deleted_with and old.deleted_with in self._deleted())

    async def _delete(self, step: Step) -> None:
        old = step.old
        assert old is not None, "delete has an old state"
        if old.protect and step.op is Op.DELETE:  # unprotecting and replacing in one run is allowed
            raise ProviderError(
                f'resource "{old.urn}" cannot be deleted\nbecause it is protected. To unprotect the resource, '
                "either remove the `protect` flag from the resource in your Pulumi program and run `pulumi up`, "
                f"or use the command:\n`pulumi state unprotect {old.urn!r}`"
            )
        if self._context.preview or not self._calls_delete(old):
            return
        provider = self._provider(old)
        call = self._context.call(step.urn, old.custom_timeouts.delete)
        await self._context.blocking(provider.delete, call, old.id, self._plain(provider, old.inputs), self._plain(provider, old.outputs))

    async def _read(self, step: Step) -> None:
        new = step.new
        assert new is not None, "read has a new state"
        if new.id == UNKNOWN_STRING:  # a preview that reads what another resource will create: everything is unknown
            return
        provider = self._provider(new)
        call = self._context.call(step.urn)
        read = await self._context.blocking(provider.read, call, new.id, {}, self._plain(provider, new.inputs))
        if not read.id:
            raise ProviderError(f"resource '{new.id}' does not exist")
        new.id, new.outputs = read.id, self._outputs(provider, new, read.outputs)
        new.created = new.modified = ""
        if step.pending_delete and step.old is not None:
            step.old.delete = True

    async def _import(self, step: Step) -> None:
        new = step.new
        assert new is not None, "import has a new state"
        provider = self._provider(new)
        call = self._context.call(step.urn)
        read = await self._context.blocking(provider.read, call, new.id, None, None)
        if not read.id:
            raise ProviderError(f"resource '{new.id}' does not exist")
        checked = await self._context.blocking(provider.check, call, read.inputs, self._plain(provider, new.inputs), step.random_seed)
        diff = await self._context.blocking(provider.diff, call, read.id, read.inputs, read.outputs, checked.inputs, step.ignore_changes)
        if diff.diffs or diff.detailed or diff.replaces:
            differing = sorted({*diff.diffs, *(diff.detailed or {}), *diff.replaces})
            message = f"inputs to import do not match the existing resource (differing: {', '.join(differing)})"
            if not self._context.preview:
                raise ProviderError(message)
            self._context.events.diagnostic("warning", f"{message}; importing this resource will fail", step.urn)
        new.id, new.inputs, new.outputs = read.id, checked.inputs, self._outputs(provider, new, read.outputs)
        if step.pending_delete and step.old is not None:
            step.old.delete = True
        new.created = new.modified = now()

    # -- providers -------------------------------------------------------------------------------------------------

    def _provider(self, state: ResourceState) -> Provider:
        if is_provider(state.type):
            return self._context.registry
        provider = self._context.registry.get(state.provider)
        if provider is None:
            raise ProviderError(f"unknown provider '{state.provider}' for resource '{state.urn}'")
        return provider

    @staticmethod
    def _plain(provider: Provider, values: PropertyMap) -> PropertyMap:
        plain: PropertyMap = values if provider.accepts_secrets else reveal(values)
        return plain

    @staticmethod
    def _outputs(provider: Provider, state: ResourceState, outputs: PropertyMap) -> PropertyMap:
        """A provider's outputs, secret where the program demands it, and where the inputs were if the provider cannot say so."""
        if not provider.accepts_secrets:
            outputs = unwrap(annotate_secrets(outputs, state.inputs))
        return mark_secret_outputs(outputs, state.additional_secret_outputs)


def now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat().replace("+00:00", "Z")


def _is_internal(step: Step) -> bool:
    """Default providers are the engine's own business and are not shown."""
    return is_provider(step.state.type) and not step.state.parent and step.state.name.startswith("default")
