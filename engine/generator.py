"""Decides what to do: from a goal and the recorded state to a chain of steps.

Goals are taken one at a time (the caller holds a lock), because the decision about one resource can delete others:
delete-before-replace takes the dependents with it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from engine.context import Bail, RunContext
from engine.difference import annotate_secrets, apply_ignore_changes, apply_replace_on_changes, compare_inputs, must_replace
from engine.goal import Goal
from engine.graph import deletion_waves, depending_on
from engine.identity import Identities
from engine.model import ResourceState, is_provider, split_provider_ref
from engine.policing import Policies
from engine.provider import Changes, Checked, Diff, Provider, ProviderError
from engine.steps import Op, Step
from engine.values import UNKNOWN, PropertyMap, Value, equal, map_leaves, reveal, unwrap


class StepGenerator:
    """One run's decisions and what follows from earlier ones."""

    def __init__(self, context: RunContext, policies: Policies) -> None:
        self._context = context
        self._policies = policies
        self.goals: dict[str, Goal] = {}
        self.provider_inputs: dict[str, ResourceState] = {}
        self._names = Identities(context)
        self._kept: set[str] = set()
        """URNs that some step keeps alive: same, update, replace, read."""
        self._deleted: set[str] = set()
        self._deleted_states: set[int] = set()
        self._replace_keys: dict[str, Sequence[str]] = {}

    # -- registrations ---------------------------------------------------------------------------------------------

    async def steps_for(self, goal: Goal) -> list[Step]:
        """Raises Bail when the goal is invalid, ProviderError when a provider cannot judge it."""
        context = self._context
        urn = self._names.claim(goal.parent, goal.type, goal.name)
        self._inherit(goal)
        old, alias = self._names.find_old(urn, goal)
        recreating, was_external = urn in self._deleted, old is not None and old.external
        carried = old is not None and not recreating and not was_external
        inputs = goal.properties
        if old is not None:
            try:
                inputs = apply_ignore_changes(inputs, old.inputs, goal.ignore_changes)
            except ValueError as error:
                raise context.bail(str(error), urn) from None
        new = self._new_state(urn, goal, inputs, old, alias)
        self.goals[urn] = goal
        if is_provider(goal.type):
            self.provider_inputs[urn] = new
        provider = self._provider(new)
        seed = os.urandom(32)
        if self._is_import(goal, old):
            return self._import_steps(goal, old, new, seed, recreating)
        if provider is not None:
            old_inputs = old.inputs if old is not None and carried else None
            new.inputs = await self._check(provider, new, old_inputs, inputs if carried else goal.properties, seed)
        new.inputs, rejected = await self._policies.check(new, goal, self.provider_of(new))
        if rejected and not context.preview:
            raise Bail(f"resource {urn} is invalid")
        if recreating:
            assert old is not None, "only what existed can have been deleted"
            return self._recreate(urn, old, new)
        if was_external:
            return [Step(Op.CREATE_REPLACEMENT, urn, old, new, pending_delete=True), Step(Op.REPLACE, urn, old, new, pending_delete=True)]
        if old is None:
            return [Step(Op.CREATE, urn, None, new)]
        return await self._compare(goal, old, new, provider, seed)

    def _inherit(self, goal: Goal) -> None:
        parent = self.goals.get(goal.parent)
        if parent is None:
            return
        goal.protect = parent.protect if goal.protect is None else goal.protect
        goal.retain_on_delete = parent.retain_on_delete if goal.retain_on_delete is None else goal.retain_on_delete
        goal.deleted_with = goal.deleted_with or parent.deleted_with

    @staticmethod
    def _new_state(urn: str, goal: Goal, inputs: PropertyMap, old: ResourceState | None, alias: str) -> ResourceState:
        return ResourceState(
            urn=urn,
            type=goal.type,
            custom=goal.custom,
            inputs=inputs,
            parent=goal.parent,
            protect=bool(goal.protect),
            dependencies=goal.dependencies,
            property_dependencies=goal.property_dependencies,
            provider=goal.provider,
            additional_secret_outputs=goal.additional_secret_outputs,
            aliases=[alias] if alias else [],
            custom_timeouts=goal.timeouts,
            retain_on_delete=bool(goal.retain_on_delete),
            deleted_with=goal.deleted_with,
            replace_with=goal.replace_with,
            created=old.created if old else "",
            modified=old.modified if old else "",
            source_position=goal.source_position,
            ignore_changes=goal.ignore_changes,
            hide_diff=goal.hide_diffs,
            replace_on_changes=goal.replace_on_changes,
            replacement_trigger=goal.replacement_trigger,
        )

    @staticmethod
    def _is_import(goal: Goal, old: ResourceState | None) -> bool:
        if not goal.custom or not goal.import_id:
            return False
        return old is None or old.external or (old.import_id or old.id) != goal.import_id

    def _import_steps(self, goal: Goal, old: ResourceState | None, new: ResourceState, seed: bytes, recreating: bool) -> list[Step]:
        new.id = new.import_id = goal.import_id
        if old is not None and not recreating:
            self._kept.add(new.urn)
            first = Step(Op.IMPORT_REPLACEMENT, new.urn, old, new, ignore_changes=goal.ignore_changes, random_seed=seed)
            return [first, Step(Op.REPLACE, new.urn, old, new, pending_delete=True)]
        return [Step(Op.IMPORT, new.urn, None, new, ignore_changes=goal.ignore_changes, random_seed=seed)]

    # -- comparison with what is recorded --------------------------------------------------------------------------

    async def _compare(self, goal: Goal, old: ResourceState, new: ResourceState, provider: Provider | None, seed: bytes) -> list[Step]:
        diff = apply_replace_on_changes(
            await self._diff(goal, old, new, provider), goal.replace_on_changes, has_init_errors=bool(old.init_errors)
        )
        if self._triggered(goal, old):
            diff = Diff(Changes.SOME, replaces=[*diff.replaces, "replacementTrigger"], diffs=diff.diffs, detailed=diff.detailed)
        if old.taint:  # `pulumi state taint`: to be made anew
            diff = Diff(Changes.SOME, replaces=[*diff.replaces, "taint"], diffs=diff.diffs, detailed=diff.detailed)
        self._kept.add(new.urn)
        if diff.changes is Changes.SOME or old.pending_replacement:
            if must_replace(diff) or old.pending_replacement:
                return await self._replace(goal, old, new, provider, diff, seed)
            return [
                Step(
                    Op.UPDATE,
                    new.urn,
                    old,
                    new,
                    diffs=diff.diffs,
                    detailed=diff.detailed,
                    ignore_changes=goal.ignore_changes,
                    stables=diff.stables,
                )
            ]
        if old.init_errors:  # an empty update goes on waiting for what did not start last time
            return [Step(Op.UPDATE, new.urn, old, new, stables=diff.stables)]
        return [Step(Op.SAME, new.urn, old, new)]

    @staticmethod
    def _triggered(goal: Goal, old: ResourceState) -> bool:
        trigger = goal.replacement_trigger
        return (
            trigger is not None
            and old.replacement_trigger is not None
            and trigger is not UNKNOWN
            and not equal(trigger, old.replacement_trigger)
        )

    async def _diff(self, goal: Goal, old: ResourceState, new: ResourceState, provider: Provider | None) -> Diff:
        if self._provider_replaced(old, new):
            return Diff(Changes.SOME, replaces=["provider"])
        if provider is None:
            return Diff(Changes.NONE if equal(old.inputs, new.inputs) else Changes.SOME)
        diff = await self._ask_diff(provider, old, new.inputs, goal.ignore_changes)
        if diff.changes is Changes.UNKNOWN:
            ignoring = apply_ignore_changes(new.inputs, old.inputs, goal.ignore_changes)
            own = compare_inputs(_comparable(old.inputs), _comparable(ignoring))
            return (
                Diff(own.changes, diff.replaces, diff.stables, own.diffs, own.detailed, diff.delete_before_replace)
                if own.changes is Changes.SOME
                else own
            )
        return diff

    async def _ask_diff(self, provider: Provider, old: ResourceState, inputs: PropertyMap, ignore: Sequence[str]) -> Diff:
        before, recorded = old.inputs, old.outputs
        if not provider.accepts_secrets:
            before, recorded, inputs = reveal(before), reveal(recorded), reveal(inputs)
        return await self._context.blocking(provider.diff, self._context.call(old.urn), old.id, before, recorded, inputs, ignore)

    def _provider_replaced(self, old: ResourceState, new: ResourceState) -> bool:
        if old.provider == new.provider:
            return False
        if not old.provider or not new.provider:
            return True
        old_urn, new_urn = split_provider_ref(old.provider)[0], split_provider_ref(new.provider)[0]
        if old_urn != new_urn and self._names.successor(old_urn) == new_urn:
            return False
        before, after = self._context.olds.get(old_urn), self.provider_inputs.get(new_urn)
        if before is None or after is None:
            return False
        return self._context.registry.replaces(new.provider, before.inputs, after.inputs)

    async def _check(
        self, provider: Provider, new: ResourceState, old_inputs: PropertyMap | None, inputs: PropertyMap, seed: bytes
    ) -> PropertyMap:
        call = self._context.call(new.urn)
        if provider.accepts_secrets:
            checked = await self._context.blocking(provider.check, call, old_inputs, inputs, seed)
        else:
            plain_old = None if old_inputs is None else reveal(old_inputs)
            checked = await self._context.blocking(provider.check, call, plain_old, reveal(inputs), seed)
            checked = Checked(annotate_secrets(checked.inputs, inputs), checked.failures)
        for failure in checked.failures:
            where = (
                f" has a problem: {failure.reason}"
                if not failure.property
                else f"'s property '{failure.property}' is invalid: {failure.reason}"
            )
            self._context.error(f"{new.type} resource '{new.name}'{where}", new.urn)
        if checked.failures:
            raise Bail(f"resource {new.urn} is invalid")
        return checked.inputs

    # -- replacement -----------------------------------------------------------------------------------------------

    async def _replace(
        self, goal: Goal, old: ResourceState, new: ResourceState, provider: Provider | None, diff: Diff, seed: bytes
    ) -> list[Step]:
        context, urn = self._context, new.urn
        if new.protect and old.protect:
            message = (
                f'unable to replace resource "{urn}"\nas it is currently marked for protection. To unprotect the resource, '
                "remove the `protect` flag from the resource in your Pulumi program and run `pulumi up`"
            )
            context.error(message, urn)
            if not context.preview:
                raise Bail(message)
        if goal.import_id:
            message = (
                "previously-imported resources that still specify an ID may not be replaced; "
                "please remove the `import` declaration from your program"
            )
            if not context.preview:
                raise context.bail(message, urn)
            context.events.diagnostic("warning", message, urn)
        if provider is not None:  # defaults that were carried over from the old one (its name) must not be
            new.inputs = await self._check(provider, new, None, goal.properties, seed)
        keys, diffs, detailed = list(diff.replaces), diff.diffs, diff.detailed
        delete_first = diff.delete_before_replace if goal.delete_before_replace is None else goal.delete_before_replace
        if not delete_first:
            steps = [Step(op, urn, old, new, keys, diffs, detailed, pending_delete=True) for op in (Op.CREATE_REPLACEMENT, Op.REPLACE)]
            return steps
        await self._ensure_provider(old)
        chain = await self._delete_dependents(old, urn)
        if not old.pending_replacement:
            self._mark_deleted(old)
            chain.append(Step(Op.DELETE_REPLACED, old.urn, old, None, pending_delete=True))
        self._deleted.discard(urn)
        return [
            *chain,
            Step(Op.REPLACE, urn, old, new, keys, diffs, detailed),
            Step(Op.CREATE_REPLACEMENT, urn, old, new, keys, diffs, detailed),
        ]

    def _recreate(self, urn: str, old: ResourceState, new: ResourceState) -> list[Step]:
        """It was deleted because something that it depends on was replaced delete-first; now it is back."""
        self._deleted.discard(urn)
        self._kept.add(urn)
        keys = self._replace_keys.get(urn, ())
        return [Step(Op.REPLACE, urn, old, new), Step(Op.CREATE_REPLACEMENT, urn, old, new, keys)]

    def _mark_deleted(self, state: ResourceState) -> None:
        self._deleted.add(state.urn)
        self._deleted_states.add(id(state))

    async def _delete_dependents(self, root: ResourceState, cause: str) -> list[Step]:
        chain: list[Step] = []
        for state, keys in reversed(await self._dependent_replacements(root)):
            if id(state) in self._deleted_states:
                continue
            if state.protect:
                raise self._context.bail(
                    f'unable to replace resource "{state.urn}" as part of replacing "{cause}" as it is currently marked for protection. '
                    "To unprotect the resource, remove the `protect` flag from the resource in your Pulumi program and run `pulumi up`, "
                    f"or use the command:\n`pulumi state unprotect {state.urn!r}`",
                    state.urn,
                )
            self._replace_keys[state.urn] = keys
            await self._ensure_provider(state)
            self._mark_deleted(state)
            chain.append(Step(Op.DELETE if state.delete else Op.DELETE_REPLACED, state.urn, state, None, pending_delete=not state.delete))
        return chain

    async def _dependent_replacements(self, root: ResourceState) -> list[tuple[ResourceState, Sequence[str]]]:
        """Dependents that a change of root would replace: asked of their providers, with unknowns for what may change."""
        successor = self._names.successor
        replaced = {successor(root.urn)}
        found: list[tuple[ResourceState, Sequence[str]]] = []
        for state in depending_on(self._context.previous, root, self._names.claimed, self._names.successor):
            if not state.custom or state.external:
                continue
            if state.provider and successor(split_provider_ref(state.provider)[0]) in replaced:
                await self._ensure_provider(state)
                found.append((state, ()))
                replaced.add(successor(state.urn))
                continue
            dependencies = {k: urns for k, urns in state.property_dependencies.items() if k in state.inputs}
            touched = {k for k, urns in dependencies.items() if replaced.intersection(map(successor, urns))}
            if not touched:
                continue
            await self._ensure_provider(state)
            provider = self._provider(state)
            assert provider is not None, "custom resources have providers"
            inputs = {k: _unknown_leaves(v) if k in touched else v for k, v in state.inputs.items()}
            diff = await self._ask_diff(provider, state, inputs, ())
            if must_replace(diff):
                found.append((state, _replace_keys(diff)))
                replaced.add(successor(state.urn))
        return found

    # -- providers -------------------------------------------------------------------------------------------------

    def _provider(self, state: ResourceState) -> Provider | None:
        if not state.custom:
            return None
        if is_provider(state.type):
            return self._context.registry
        provider = self._context.registry.get(state.provider)
        if provider is None:
            raise self._context.bail(f"unknown provider '{state.provider}' for resource '{state.urn}'", state.urn)
        return provider

    def provider_of(self, state: ResourceState) -> ResourceState | None:
        return self.provider_inputs.get(split_provider_ref(state.provider)[0]) if state.provider else None

    async def _ensure_provider(self, state: ResourceState) -> None:
        """Loads the provider that a recorded resource was made with, from its recorded configuration."""
        registry = self._context.registry
        if not state.provider or registry.get(state.provider) is not None:
            return
        urn, id_ = split_provider_ref(state.provider)
        recorded = next((s for s in self._context.previous if s.urn == urn and s.id == id_), None)
        if recorded is None:
            raise ProviderError(f"could not find provider {state.provider!r} of resource {state.urn} in the state")
        await self._context.blocking(registry.load, state.provider, recorded.inputs)

    # -- reads and deletions ---------------------------------------------------------------------------------------

    def read_steps(self, goal: Goal, id_: str) -> list[Step]:
        urn = self._names.claim(goal.parent, goal.type, goal.name)
        new = self._new_state(urn, goal, goal.properties, None, "")
        new.custom, new.external, new.id = True, True, id_
        self.goals[urn] = goal
        old = self._context.olds.get(urn)
        self._kept.add(urn)
        if old is not None and not old.external and old.id != id_:
            return [Step(Op.READ_REPLACEMENT, urn, old, new, pending_delete=True), Step(Op.REPLACE, urn, old, new, pending_delete=True)]
        return [Step(Op.READ, urn, old, new)]

    async def deletions(self) -> list[list[Step]]:
        """What is recorded and was not asked for again, in waves: everything within one wave may go at once."""
        steps: dict[int, Step] = {}
        condemned: list[ResourceState] = []
        for state in self._context.previous:
            step = self._deletion(state)
            if step is not None:
                await self._ensure_provider(state)
                self._deleted.add(state.urn)
                steps[id(state)] = step
                condemned.append(state)
        return [[steps[id(s)] for s in wave] for wave in deletion_waves(self._context.previous, condemned, self._names.successor)]

    def _deletion(self, state: ResourceState) -> Step | None:
        if state.delete:
            if id(state) in self._deleted_states:
                return None
            return Step(Op.DISCARD_REPLACED if state.external else Op.DELETE_REPLACED, state.urn, state)
        if self._names.successor(state.urn) in self._kept:
            return None
        if state.pending_replacement:
            return Step(Op.REMOVE_PENDING_REPLACE, state.urn, state)
        if id(state) in self._deleted_states:
            return None
        return Step(Op.READ_DISCARD if state.external else Op.DELETE, state.urn, state)

    def rename_references(self, urn: str) -> list[ResourceState]:
        """See `Identities.rename_references`."""
        return self._names.rename_references(urn)

    @property
    def deleted(self) -> set[str]:
        """URNs that are deleted in this run; a `deletedWith` of one of them spares the provider call."""
        return self._deleted


def _unknown_leaves(value: Value) -> Value:
    """The same shape with nothing known in it: that is how precisely Pulumi names what forces a dependent's replacement."""
    return map_leaves(unwrap(value), lambda leaf: UNKNOWN)


def _replace_keys(diff: Diff) -> list[str]:
    return list(diff.replaces) or [path for path, d in (diff.detailed or {}).items() if d.kind.endswith("-replace")]


def _comparable(inputs: PropertyMap) -> PropertyMap:
    """Without a dynamic provider's pickled code, which changes with every edit of it."""
    return {k: v for k, v in inputs.items() if k != "__provider"}
