"""Who is who: the URN of every registration, and the recorded resource it stands for, under that URN or a former one."""

from __future__ import annotations

from engine.context import RunContext
from engine.goal import AliasSpec, Goal
from engine.graph import rename_references
from engine.model import ROOT_STACK_TYPE, ResourceState, make_urn, urn_name, urn_qualified_type, urn_type


class Identities:
    """The names of one run. Every URN is claimed once, and every recorded resource is found once."""

    def __init__(self, context: RunContext) -> None:
        self._context = context
        self.claimed: set[str] = set()
        self._aliased: dict[str, str] = {}
        """old URN -> the URN that claimed it"""
        self._aliases: dict[str, str] = {}
        """URN -> the old URN it was found under"""

    def rename_references(self, urn: str) -> list[ResourceState]:
        """Points what is recorded to the new name of a resource, once that is recorded itself; returns what was changed."""
        old = self._aliases.get(urn)
        if old is None:
            return []
        return [state for state in self._context.previous if rename_references(state, old, urn)]

    def successor(self, urn: str) -> str:
        """The URN under which a recorded resource goes on; its own where it was not renamed."""
        return self._aliased.get(urn, urn)

    def claim(self, parent: str, type_: str, name: str) -> str:
        if parent and parent not in self.claimed:
            raise self._context.bail(f"could not find parent resource {parent}")
        urn = make_urn(self._context.stack, self._context.project, parent, type_, name)
        if urn in self.claimed:
            raise self._context.bail(f"Duplicate resource URN '{urn}'; try giving it a unique name", urn)
        if urn in self._aliased:
            raise self._context.bail(
                f"Duplicate resource URN '{urn}' conflicting with alias on resource with URN '{self._aliased[urn]}'", urn
            )
        self.claimed.add(urn)
        return urn

    def find_old(self, urn: str, goal: Goal) -> tuple[ResourceState | None, str]:
        """The recorded resource under this URN or, else, under one of its aliases."""
        olds = self._context.olds
        if urn in olds:
            return olds[urn], ""
        for alias in self._alias_urns(goal):
            if alias not in olds:
                continue
            if alias in self.claimed or alias in self._aliased:
                raise self._context.bail(
                    f"Duplicate resource alias '{alias}' applied to resource with URN '{urn}' conflicting with resource with URN "
                    f"'{self._aliased.get(alias, alias)}'",
                    urn,
                )
            self._aliased[alias], self._aliases[urn] = urn, alias
            return olds[alias], alias
        return None, ""

    def _alias_urns(self, goal: Goal) -> list[str]:
        own = [self._alias_urn(goal, alias) for alias in goal.aliases]
        inherited: list[str] = []
        parent_alias = self._aliases.get(goal.parent)
        if parent_alias is not None:
            parent_name = urn_name(goal.parent)
            for type_, name in [(goal.type, goal.name), *((urn_type(u), urn_name(u)) for u in own)]:
                if name.startswith(parent_name):  # children are named after their parent by convention
                    name = urn_name(parent_alias) + name.removeprefix(parent_name)
                inherited.append(make_urn(self._context.stack, self._context.project, parent_alias, type_, name))
        return list(dict.fromkeys([*own, *inherited]))

    def _alias_urn(self, goal: Goal, alias: AliasSpec) -> str:
        if alias.urn:
            return alias.urn
        parent = "" if alias.no_parent else self._aliases.get(alias.parent, alias.parent) or goal.parent
        if parent and urn_qualified_type(parent) == ROOT_STACK_TYPE:
            parent = ""
        return make_urn(
            alias.stack or self._context.stack,
            alias.project or self._context.project,
            parent,
            alias.type or goal.type,
            alias.name or goal.name,
        )
