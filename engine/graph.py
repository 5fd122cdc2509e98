"""The dependency graph of recorded resources: who has to go before whom."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence

from engine.model import ResourceState, split_provider_ref


def dependencies_of(state: ResourceState, *, parent: bool = True) -> set[str]:
    """URNs that a resource refers to: dependencies, property dependencies, provider, deletedWith and (if asked) parent."""
    urns = {*state.dependencies, *(u for urns in state.property_dependencies.values() for u in urns)}
    if state.provider:
        urns.add(split_provider_ref(state.provider)[0])
    if state.deleted_with:
        urns.add(state.deleted_with)
    if parent and state.parent:
        urns.add(state.parent)
    return urns


Successor = Callable[[str], str]
"""The name under which a URN goes on: recorded resources may refer to a renamed one by either."""


def depending_on(
    resources: Sequence[ResourceState], root: ResourceState, ignore: Collection[str], successor: Successor = lambda urn: urn
) -> list[ResourceState]:
    """Everything that depends, directly or not, on `root`, in dependency order; parents do not count.

    The list order of a state is a topological order, so one pass over what comes after root is enough.
    """
    condemned = {successor(root.urn)}
    found: list[ResourceState] = []
    after = False
    for state in resources:
        if state is root:
            after = True
        elif after and state.urn not in ignore and condemned.intersection(map(successor, dependencies_of(state, parent=False))):
            condemned.add(successor(state.urn))
            found.append(state)
    return found


def deletion_waves(
    resources: Iterable[ResourceState], condemned: Sequence[ResourceState], successor: Successor = lambda urn: urn
) -> list[list[ResourceState]]:
    """Groups deletions so that within one all may go at once and nothing goes before what depends on it.

    A URN can occur several times (old halves of replacements): an edge to a URN is an edge to every condemned state of it
    that is recorded earlier, and to a later one only where there is no earlier.
    """
    order = {id(state): index for index, state in enumerate(resources)}
    by_urn: dict[str, list[ResourceState]] = {}
    for state in condemned:
        by_urn.setdefault(successor(state.urn), []).append(state)
    depth: dict[int, int] = {}
    waves: dict[int, list[ResourceState]] = {}
    for state in sorted(condemned, key=lambda s: order.get(id(s), -1)):
        before = [
            depth[id(target)]
            for urn in dependencies_of(state)
            for target in by_urn.get(successor(urn), ())
            if id(target) in depth and target is not state
        ]
        depth[id(state)] = level = max(before, default=-1) + 1
        waves.setdefault(level, []).append(state)
    return [waves[level] for level in sorted(waves, reverse=True)]


def rename_references(state: ResourceState, old: str, new: str) -> bool:
    """Points a recorded resource to the new URN of something that was renamed. Returns whether it referred to it."""

    def renamed(urn: str) -> str:
        return new if urn == old else urn

    if old not in dependencies_of(state):
        return False
    state.parent, state.deleted_with = renamed(state.parent), renamed(state.deleted_with)
    state.dependencies = [renamed(u) for u in state.dependencies]
    state.property_dependencies = {k: [renamed(u) for u in urns] for k, urns in state.property_dependencies.items()}
    if state.provider.startswith(f"{old}::"):
        state.provider = new + state.provider.removeprefix(old)
    return True
