"""Which service listens on which port: a pure function of the services' names and wishes.

The same names give the same ports on every machine, with nothing to remember in between.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import NamedTuple

from components.spec import InvalidArgsError, Problem


class PortRange(Enum):
    """The ranges of requirement R04; the value is the component label that the policies judge by."""

    MCP_SERVER = "mcp-server"
    API = "api"
    MONITORING = "monitoring"
    DATABASE = "database"

    @property
    def ports(self) -> range:
        """All ports of the range."""
        return _RANGES[self][0]

    @property
    def title(self) -> str:
        """What a message calls it, for example "9000-9100 (MCP servers)"."""
        ports, what = _RANGES[self]
        return f"{ports[0]}-{ports[-1]} ({what})"


_RANGES = {
    PortRange.MCP_SERVER: (range(9000, 9101), "MCP servers"),
    PortRange.API: (range(8000, 8101), "API services"),
    PortRange.MONITORING: (range(9200, 9301), "monitoring"),
    PortRange.DATABASE: (range(5432, 5533), "databases"),
}

# Known by their number in the world outside, or to their first users (R04).
EXCEPTIONS: Mapping[str, int] = {"prometheus": 9090, "code-analysis": 3008}

# Ports under which first-party services are known (R18); kept unless the settings give the port to somebody else.
WELL_KNOWN: Mapping[str, int] = {"ai-memory": 9001, "github": 9003, "linear": 9004, "postgres": 5432}


class PortRequest(NamedTuple):
    """A service that needs a port."""

    name: str
    range: PortRange
    preferred: int | None = None
    """The port the settings ask for; None leaves the choice to us."""


class Allocation(NamedTuple):
    """The outcome."""

    ports: dict[str, int]
    """Port of each service, sorted by name."""
    notices: tuple[str, ...]
    """What a person should know: wishes that could not be met, and what was given instead."""


def allocate(requests: Iterable[PortRequest], exceptions: Mapping[str, int] = EXCEPTIONS) -> Allocation:
    """Gives every service a port of its own.

    A named exception keeps its port, and nobody else gets it, whether the service is deployed or not. Then come the
    wishes in the settings, then well-known ports, each in order of the names; a port that is gone by then is replaced,
    with a notice. All others start at a place that their name decides and take the next free port. Adding a service
    moves another one only if neither has a wish and both names lead to the same place, or if it wishes for that
    place; who must never move gets its port written into the settings.

    Raises `InvalidArgsError` for a wish outside its range, a name or an exception given twice, and a range that is full.
    """
    ordered = sorted(requests, key=lambda request: (request.name, request.range.value, request.preferred or 0))
    problems = [*_duplicates(ordered), *_shared_exceptions(exceptions), *_outside(ordered, exceptions)]
    if problems:
        raise InvalidArgsError(problems)
    taken = {port: name for name, port in exceptions.items()}
    ports = {request.name: exceptions[request.name] for request in ordered if request.name in exceptions}
    lost: list[tuple[PortRequest, int]] = []
    for request, wish in _wishes(ordered, exceptions):
        if wish in taken:
            lost.append((request, wish))
        else:
            taken[wish] = request.name
            ports[request.name] = wish
    for request in ordered:
        if request.name not in ports:
            ports[request.name] = port = _free(request, taken)
            taken[port] = request.name
    notices = tuple(
        f"{request.name}: port {wish} belongs to {taken[wish]}; {request.name} got {ports[request.name]} instead." for request, wish in lost
    )
    return Allocation(dict(sorted(ports.items())), notices)


def _wishes(ordered: list[PortRequest], exceptions: Mapping[str, int]) -> list[tuple[PortRequest, int]]:
    free = [request for request in ordered if request.name not in exceptions]
    explicit = [(request, request.preferred) for request in free if request.preferred is not None]
    known = [
        (request, WELL_KNOWN[request.name])
        for request in free
        if request.preferred is None and WELL_KNOWN.get(request.name, 0) in request.range.ports
    ]
    return explicit + known


def _free(request: PortRequest, taken: Mapping[int, str]) -> int:
    ports = request.range.ports
    start = int.from_bytes(hashlib.sha256(request.name.encode()).digest()[:8], "big") % len(ports)
    for step in range(len(ports)):
        port = ports[(start + step) % len(ports)]
        if port not in taken:
            return port
    raise InvalidArgsError(
        [
            Problem(
                (request.name, "port"),
                f"no port is left in {request.range.title}: all {len(ports)} are taken. "
                "Remove a service, or list this one under ports.exceptions with a port outside the range.",
            )
        ]
    )


def _duplicates(ordered: list[PortRequest]) -> list[Problem]:
    names = [request.name for request in ordered]
    return [Problem((name, "port"), "the name is used by two services.") for name in sorted({n for n in names if names.count(n) > 1})]


def _shared_exceptions(exceptions: Mapping[str, int]) -> list[Problem]:
    owner: dict[int, str] = {}
    problems = []
    for name, port in sorted(exceptions.items()):
        if port in owner:
            problems.append(Problem((name, "port"), f"{port} is already the exception of {owner[port]}. Give each its own."))
        owner.setdefault(port, name)
    return problems


def _outside(ordered: list[PortRequest], exceptions: Mapping[str, int]) -> list[Problem]:
    return [
        Problem(
            (request.name, "port"),
            f"{request.preferred} is outside {request.range.title}. Leave it out to have one allocated, or list it under ports.exceptions.",
        )
        for request in ordered
        if request.preferred is not None
        and request.preferred not in request.range.ports
        and exceptions.get(request.name) != request.preferred
    ]
