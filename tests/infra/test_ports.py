"""Port allocation: ranges, wishes, exceptions, and that it depends on nothing but the names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.spec import InvalidArgsError
from infra.ports import EXCEPTIONS, Allocation, PortRange, PortRequest, allocate

MCP, API = PortRange.MCP_SERVER, PortRange.API


def ports(*requests: tuple[str, int | None]) -> Allocation:
    return allocate(PortRequest(name, MCP, wish) for name, wish in requests)


def test_a_wish_is_granted() -> None:
    assert ports(("slack", 9042)) == Allocation({"slack": 9042}, ())


@pytest.mark.parametrize(("name", "port"), [("ai-memory", 9001), ("github", 9003), ("linear", 9004), ("code-analysis", 3008)])
def test_known_services_are_where_they_are_known_to_be(name: str, port: int) -> None:
    assert ports((name, None)).ports == {name: port}


def test_two_servers_asking_for_one_port_get_two() -> None:
    allocation = ports(("b", 9010), ("a", 9010))
    assert allocation.ports["a"] == 9010
    assert allocation.ports["b"] in MCP.ports and allocation.ports["b"] != 9010
    assert allocation.notices == (f"b: port 9010 belongs to a; b got {allocation.ports['b']} instead.",)


def test_a_wish_in_the_settings_goes_before_a_well_known_port() -> None:
    allocation = ports(("ai-memory", None), ("zeta", 9001))
    assert allocation.ports["zeta"] == 9001
    assert allocation.notices[0].startswith("ai-memory: port 9001 belongs to zeta; ai-memory got ")


def test_an_exceptions_port_is_kept_free_even_where_its_service_is_not_deployed() -> None:
    allocation = ports(("slack", EXCEPTIONS["prometheus"]))
    assert allocation.ports["slack"] != 9090
    assert allocation.notices == (f"slack: port 9090 belongs to prometheus; slack got {allocation.ports['slack']} instead.",)


@pytest.mark.parametrize(
    ("kind", "wish", "line"),
    [
        (
            MCP,
            8500,
            "x.port: 8500 is outside 9000-9100 (MCP servers). Leave it out to have one allocated, or list it under ports.exceptions.",
        ),
        (MCP, 8999, "x.port: 8999 is outside 9000-9100 (MCP servers)."),
        (MCP, 9101, "x.port: 9101 is outside 9000-9100 (MCP servers)."),
        (API, 8101, "x.port: 8101 is outside 8000-8100 (API services)."),
        (PortRange.MONITORING, 9301, "x.port: 9301 is outside 9200-9300 (monitoring)."),
        (PortRange.DATABASE, 5431, "x.port: 5431 is outside 5432-5532 (databases)."),
    ],
)
def test_a_wish_outside_its_range_is_refused(kind: PortRange, wish: int, line: str) -> None:
    with pytest.raises(InvalidArgsError) as caught:
        allocate([PortRequest("x", kind, wish)])
    assert str(caught.value).startswith(line)


@pytest.mark.parametrize(("kind", "wish"), [(kind, edge) for kind in PortRange for edge in (kind.ports[0], kind.ports[-1])])
def test_both_ends_of_a_range_belong_to_it(kind: PortRange, wish: int) -> None:
    assert allocate([PortRequest("x", kind, wish)]).ports == {"x": wish}


def test_an_exception_may_be_anywhere() -> None:
    assert allocate([PortRequest("x", MCP, 8500)], {"x": 8500}).ports == {"x": 8500}
    assert allocate([PortRequest("x", MCP)], {"x": 8500}).ports == {"x": 8500}


def test_one_exception_for_two_is_refused() -> None:
    with pytest.raises(InvalidArgsError, match=r"b\.port: 3000 is already the exception of a"):
        allocate([], {"a": 3000, "b": 3000})


def test_one_name_for_two_services_is_refused() -> None:
    with pytest.raises(InvalidArgsError, match=r"postgres\.port: the name is used by two services"):
        allocate([PortRequest("postgres", MCP), PortRequest("postgres", PortRange.DATABASE)])


def test_a_full_range_is_an_error_that_says_so() -> None:
    """9000-9100 has 101 ports, of which Prometheus' 9090 is kept."""
    assert len(ports(*((f"s{n}", None) for n in range(100))).ports) == 100
    with pytest.raises(InvalidArgsError, match=r"no port is left in 9000-9100 \(MCP servers\): all 101 are taken"):
        ports(*((f"s{n}", None) for n in range(101)))


NAMES = st.from_regex(r"[a-z]{1,4}", fullmatch=True) | st.sampled_from(["ai-memory", "github", "code-analysis"])
FLEETS = st.dictionaries(NAMES, st.none() | st.sampled_from(list(MCP.ports)), max_size=60)


@given(fleet=FLEETS, data=st.data())
def test_everybody_gets_a_port_of_its_own_and_the_order_does_not_matter(fleet: dict[str, int | None], data: st.DataObject) -> None:
    allocation = ports(*fleet.items())
    assert set(allocation.ports) == set(fleet)
    assert len(set(allocation.ports.values())) == len(fleet)
    for name, port in allocation.ports.items():
        assert port == EXCEPTIONS[name] if name in EXCEPTIONS else port in MCP.ports
    assert ports(*data.draw(st.permutations(list(fleet.items())))) == allocation


@given(fleet=FLEETS)
def test_every_lost_wish_is_reported_and_nothing_else_is(fleet: dict[str, int | None]) -> None:
    allocation = ports(*fleet.items())
    lost = {name for name, wish in fleet.items() if wish and name not in EXCEPTIONS and allocation.ports[name] != wish}
    reported = {notice.partition(":")[0] for notice in allocation.notices}
    assert lost <= reported <= lost | {"ai-memory", "github"}


@given(fleet=FLEETS, newcomer=st.from_regex(r"[a-z]{5}", fullmatch=True))
def test_a_newcomer_without_a_wish_moves_nobody_who_has_one(fleet: dict[str, int | None], newcomer: str) -> None:
    before, after = ports(*fleet.items()), ports(*fleet.items(), (newcomer, None))
    kept = {name for name, wish in fleet.items() if before.ports[name] == wish}
    assert {name: after.ports[name] for name in kept} == {name: before.ports[name] for name in kept}
