"""Shows every resource to the policy packs and turns their verdicts into events and consequences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from engine.context import RunContext
from engine.goal import Goal
from engine.model import ResourceState
from engine.values import PropertyMap

if TYPE_CHECKING:
    from engine.generator import StepGenerator


@dataclass(frozen=True)
class PolicySource:
    """A policy pack on disk and, if any, its configuration file."""

    path: Path
    config_file: Path | None = None


class Policies:
    """The packs of one run."""

    def __init__(self, context: RunContext, sources: Sequence[PolicySource]) -> None:
        self._context = context
        self._sources = sources
        self.versions: dict[str, str] = {}

    async def start(self, engine_address: str, config: PropertyMap) -> None:
        pass

    async def check(self, new: ResourceState, goal: Goal, provider: ResourceState | None) -> tuple[PropertyMap, bool]:
        return new.inputs, False

    async def check_stack(self, news: Mapping[str, ResourceState], generator: StepGenerator) -> None:
        pass

    def close(self) -> None:
        pass
