"""Connections a fleet may open against what one server allows: arithmetic without Pulumi."""

from collections.abc import Sequence
from typing import NamedTuple


class PoolUser(NamedTuple):
    """One workload that opens a pool in each of its replicas."""

    name: str
    max_replicas: int
    """Replicas at the autoscaler's maximum."""
    surge: int
    """Replicas a rolling update adds on top."""

    def connections(self, pool_max: int) -> int:
        """Connections when all replicas run, an update is under way and every pool is full."""
        return (self.max_replicas + self.surge) * pool_max


def needed(users: Sequence[PoolUser], pool_max: int) -> int:
    """Connections of all users in their worst minute."""
    return sum(user.connections(pool_max) for user in users)


def over_budget(users: Sequence[PoolUser], pool_max: int, max_connections: int, reserved: int) -> str | None:
    """Why the fleet would run out of connections and what to change; None when it fits."""
    total, allowed = needed(users, pool_max), max_connections - reserved
    if total <= allowed:
        return None
    shares = " + ".join(f"{u.name} ({u.max_replicas}+{u.surge})x{pool_max}" for u in sorted(users))
    return (
        f"{pool_max} lets the fleet open {total} connections ({shares}; replicas at most, plus one more during an "
        f"update), but the server leaves {allowed} (max_connections {max_connections} minus {reserved} reserved). "
        f"Lower max to {_largest_pool(users, allowed)}, lower the replicas, or raise max_connections to {total + reserved}."
    )


def _largest_pool(users: Sequence[PoolUser], allowed: int) -> int:
    return max(1, allowed // sum(user.max_replicas + user.surge for user in users))
