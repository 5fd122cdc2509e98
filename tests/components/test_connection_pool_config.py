"""Pools: sizes, the fleet's budget, and where the password goes."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components import ConnectionPoolConfig
from components.connection_pool_config import ConnectionPoolConfigSpec, binding
from components.pool_budget import PoolUser, needed, over_budget
from components.spec import problems_of
from tests.components.recording import PASSWORD, deploy
from tests.components.samples import POOLS, pools


def consumers(*replicas: int) -> list[dict[str, Any]]:
    return [{"name": f"s{n}", "pools": ["postgres"], "max_replicas": r} for n, r in enumerate(replicas)]


@pytest.mark.parametrize(
    ("replicas", "pool_max", "fits"),
    [([8], 10, True), ([9], 10, False), ([4, 3], 10, True), ([4, 4], 10, False), ([89], 1, True), ([90], 1, False), ([], 1000, True)],
    ids=str,
)
def test_the_fleet_at_its_maximum_must_fit_the_server(replicas: list[int], pool_max: int, fits: bool) -> None:
    """Postgres' own 100 connections, 10 reserved, one more replica of each server during an update."""
    args = {"namespace": "x", "postgres": {"host": "h", "min": 0, "max": pool_max}, "consumers": consumers(*replicas)}
    assert (problems_of(ConnectionPoolConfigSpec, args) == ()) is fits


def test_a_fleet_that_does_not_fit_is_told_by_how_much_and_what_would() -> None:
    args = {"namespace": "x", "postgres": {"host": "h"}, "consumers": consumers(10, 2)}
    (problem,) = problems_of(ConnectionPoolConfigSpec, args)
    assert problem.line() == (
        "postgres.max: 10 lets the fleet open 140 connections (s0 (10+1)x10 + s1 (2+1)x10; replicas at most, plus one more "
        "during an update), but the server leaves 90 (max_connections 100 minus 10 reserved). Lower max to 6, lower the "
        "replicas, or raise max_connections to 150."
    )


users = st.lists(st.builds(PoolUser, st.text(max_size=3), st.integers(0, 50), st.integers(0, 2)), min_size=1, max_size=6)


@given(users=users, pool_max=st.integers(1, 50), limit=st.integers(5, 500))
def test_the_proposed_fixes_do_fix_it(users: list[PoolUser], pool_max: int, limit: int) -> None:
    reason = over_budget(users, pool_max, limit, 3)
    assert (reason is None) == (needed(users, pool_max) <= limit - 3)
    if reason is not None:
        smaller = int(reason.split("Lower max to ")[1].split(",")[0])
        larger = int(reason.split("raise max_connections to ")[1].rstrip("."))
        assert over_budget(users, pool_max, larger, 3) is None
        assert smaller == 1 or over_budget(users, smaller, limit, 3) is None


@pytest.mark.parametrize(
    ("postgres", "line"),
    [
        ({"min": 11}, "postgres.min: 11 is above max 10. Lower min or raise max."),
        (
            {"max": 0},
            "postgres.max: 0 is below the minimum of 1. 1-1000 connections a replica; the sum over the fleet must fit the server.",
        ),
        ({"maximum": 5}, "postgres.maximum: is not a known key. Did you mean max?"),
    ],
    ids=str,
)
def test_pool_sizes_are_checked(postgres: dict[str, Any], line: str) -> None:
    args = {"namespace": "x", "postgres": {"host": "h", **postgres}}
    assert [problem.line() for problem in problems_of(ConnectionPoolConfigSpec, args)] == [line]


def test_a_pool_nobody_declared_cannot_be_used() -> None:
    args = {"namespace": "x", "consumers": [{"name": "github", "pools": ["redis"], "max_replicas": 1}]}
    (problem,) = problems_of(ConnectionPoolConfigSpec, args)
    assert problem.line() == "consumers.0.pools: github uses 'redis', which is not declared. Declared: none."


def test_the_password_is_in_the_secret_and_nowhere_else() -> None:
    recorded = deploy(lambda: ConnectionPoolConfig("connection-pools", pools(PASSWORD)))  # type: ignore[arg-type]
    data = recorded.one("Secret", "connection-pools")["data"]
    assert base64.b64decode(data["postgres-password"]).decode() == PASSWORD
    assert PASSWORD not in json.dumps(recorded.one("ConfigMap", "connection-pools"))
    assert PASSWORD not in json.dumps(binding("connection-pools", ConnectionPoolConfigSpec.parse(POOLS), ["postgres"]))


def test_a_pool_outside_the_cluster_opens_its_address() -> None:
    spec = ConnectionPoolConfigSpec.parse({"namespace": "x", "postgres": {"host": "db", "cidr": "203.0.113.0/28", "port": 6432}})
    assert binding("pools", spec, ["postgres"])["edges"] == [{"cidr": "203.0.113.0/28", "port": 6432}]
