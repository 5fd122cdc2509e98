"""Shows every resource to the policy packs and turns their verdicts into events and consequences."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.context import RunContext
from engine.difference import annotate_secrets
from engine.goal import Goal
from engine.model import ResourceState
from engine.policy.events import PolicyEvent, analysis_events, remediation_events, stack_analysis_events
from engine.policy.model import PolicyError, PolicyOptions, PolicyProvider, PolicyResource
from engine.policy.pack import PolicyPack
from engine.values import PropertyMap

ProviderOf = Callable[[ResourceState], ResourceState | None]
"""The provider resource of a resource."""


@dataclass(frozen=True)
class PolicySource:
    """A policy pack on disk and, if any, its configuration file."""

    path: Path
    config_file: Path | None = None


class Policies:
    """The packs of one run."""

    def __init__(self, context: RunContext, sources: Sequence[PolicySource], interpreters: Sequence[str] = ()) -> None:
        """`interpreters`: Pythons that have pulumi_policy, for packs whose own environment was not made."""
        self._context = context
        self._interpreters = interpreters
        self._sources = sources
        self._packs: list[PolicyPack] = []
        self.versions: dict[str, str] = {}

    async def start(self, engine_address: str, config: Mapping[str, str], secret_keys: Sequence[str], interpreter: str) -> None:
        """Starts all packs. Raises Bail when one cannot be used."""
        if self._sources:
            self._context.events.emit("policyLoadEvent", {})
        for source in self._sources:
            try:
                pack = await self._context.blocking(
                    PolicyPack.start,
                    source.path,
                    source.config_file,
                    engine_address=engine_address,
                    project=self._context.project,
                    stack=self._context.stack,
                    dry_run=self._context.preview,
                    config=config,
                    secret_keys=secret_keys,
                    on_line=self._log,
                    interpreters=[interpreter, *self._interpreters],
                )
            except PolicyError as error:
                raise self._context.bail(str(error)) from None
            self._packs.append(pack)
            self.versions[pack.key] = pack.version
            for warning in pack.warnings:
                self._context.events.diagnostic("warning", warning)

    def _log(self, text: str, is_error: bool) -> None:
        self._context.loop.call_soon_threadsafe(lambda: self._context.events.diagnostic("info#err" if is_error else "info", text))

    async def check(self, new: ResourceState, goal: Goal, provider: ResourceState | None) -> tuple[PropertyMap, bool]:
        """Remediates, then judges. Returns the inputs to go on with and whether a mandatory policy is violated."""
        inputs, rejected = new.inputs, False
        try:
            for pack in self._packs:
                remediated = await self._context.blocking(pack.remediate, _resource(new, goal, provider, inputs))
                self._emit(remediation_events(pack, new.urn, inputs, remediated))
                inputs = annotate_secrets(remediated.properties(inputs), inputs)
            for pack in self._packs:
                analysis = await self._context.blocking(pack.analyze, _resource(new, goal, provider, inputs))
                self._emit(analysis_events(pack, new.urn, analysis))
                rejected = rejected or analysis.mandatory
        except PolicyError as error:
            raise self._context.bail(str(error), new.urn) from None
        self._context.policy_violation = self._context.policy_violation or rejected
        return inputs, rejected

    async def check_stack(self, news: Mapping[str, ResourceState], goals: Mapping[str, Goal], provider_of: ProviderOf) -> None:
        """Judges the stack as a whole, by its outputs, after everything else went well."""
        resources = []
        for urn, state in news.items():
            goal = goals.get(urn)
            if goal is not None:
                resources.append(_resource(state, goal, provider_of(state), state.outputs))
        for pack in self._packs:
            try:
                analysis = await self._context.blocking(pack.analyze_stack, resources)
            except PolicyError as error:
                raise self._context.bail(str(error)) from None
            self._emit(stack_analysis_events(pack, self._context.stack_urn, analysis))
            self._context.policy_violation = self._context.policy_violation or analysis.mandatory

    def _emit(self, events: Sequence[PolicyEvent]) -> None:
        for kind, body in events:
            self._context.events.emit(kind, self._context.events.redacted(body))

    def close(self) -> None:
        for pack in self._packs:
            pack.close()


def _resource(state: ResourceState, goal: Goal, provider: ResourceState | None, properties: PropertyMap) -> PolicyResource:
    return PolicyResource(
        urn=state.urn,
        type=state.type,
        name=state.name,
        properties=properties,
        options=PolicyOptions(
            protect=state.protect,
            ignore_changes=goal.ignore_changes,
            delete_before_replace=goal.delete_before_replace,
            aliases=state.aliases,
            custom_timeouts=state.custom_timeouts,
            additional_secret_outputs=state.additional_secret_outputs,
            parent=state.parent,
        ),
        provider=PolicyProvider(provider.urn, provider.type, provider.name, provider.inputs) if provider else None,
        parent=state.parent,
        dependencies=state.dependencies,
        property_dependencies=state.property_dependencies,
    )
