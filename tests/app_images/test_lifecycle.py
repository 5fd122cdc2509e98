"""Order of starting and stopping, roll-back, and what is refused."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from app_images.runtime.lifecycle import Health, LifecycleError, Registry, Service, StartupError, Status, start_order


class Part(Service):
    """A part that records what happens to it."""

    def __init__(self, name, depends_on=(), journal=None, fails=None, seconds=0.0, health=None):
        self.name, self.depends_on = name, tuple(depends_on)
        self.journal = journal if journal is not None else []
        self.fails, self.seconds, self.answer = fails, seconds, health

    async def initialize(self):
        self.journal.append(f"begin {self.name}")
        await asyncio.sleep(self.seconds)
        if self.fails:
            raise self.fails
        self.journal.append(f"up {self.name}")

    async def health(self):
        if isinstance(self.answer, Exception):
            raise self.answer
        if self.answer == "hang":
            await asyncio.sleep(3600)
        return self.answer or Health(Status.UP)

    async def shutdown(self):
        self.journal.append(f"stop {self.name}")


@st.composite
def graphs(draw):
    """Parts that depend only on parts before them, listed in any order."""
    names = [f"p{index}" for index in range(draw(st.integers(0, 8)))]
    edges = {name: draw(st.sets(st.sampled_from(names[:index]))) if index else set() for index, name in enumerate(names)}
    return {name: edges[name] for name in draw(st.permutations(names))}


@given(graphs())
def test_every_part_comes_after_what_it_depends_on(graph):
    order = start_order(graph)
    assert sorted(order) == sorted(graph)
    for name, dependencies in graph.items():
        assert all(order.index(dependency) < order.index(name) for dependency in dependencies)


@given(graphs())
def test_parts_start_after_and_stop_before_what_they_depend_on(graph):
    journal: list[str] = []

    async def run():
        registry = Registry("test", [Part(name, edges, journal) for name, edges in graph.items()])
        await registry.start()
        await registry.stop()

    asyncio.run(run())
    for name, dependencies in graph.items():
        for dependency in dependencies:
            assert journal.index(f"up {dependency}") < journal.index(f"begin {name}")
            assert journal.index(f"stop {name}") < journal.index(f"stop {dependency}")


@given(graphs(), st.data())
def test_a_failed_start_stops_everything_that_was_begun_and_begins_nothing_above_it(graph, data):
    if not graph:
        return
    broken, journal = data.draw(st.sampled_from(sorted(graph))), []

    async def run():
        parts = [Part(n, e, journal, RuntimeError("no") if n == broken else None) for n, e in graph.items()]
        with pytest.raises(StartupError, match=f"{broken} did not start: no"):
            await Registry("test", parts).start()

    asyncio.run(run())
    begun = [line.split()[1] for line in journal if line.startswith("begin")]
    stopped = [line.split()[1] for line in journal if line.startswith("stop")]
    assert stopped == begun[::-1]
    assert not any(broken in graph[name] for name in begun)


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        ({"a": ["a"]}, "a -> a is a cycle"),
        ({"a": ["b"], "b": ["c"], "c": ["a"]}, "a -> b -> c -> a is a cycle"),
        ({"x": ["a"], "a": ["b"], "b": ["a"]}, "a -> b -> a is a cycle"),
        ({"a": ["b"], "b": ["postgers"]}, "a -> b -> postgers: 'postgers' is not registered"),
    ],
)
def test_parts_that_no_order_suits_are_refused_with_the_whole_path(graph, message):
    with pytest.raises(LifecycleError, match=message):
        Registry("test", [Part(name, edges) for name, edges in graph.items()])


def test_one_name_for_two_parts_is_refused():
    with pytest.raises(LifecycleError, match="'a' is registered twice"):
        Registry("test", [Part("a"), Part("a")])


def test_independent_parts_start_at_the_same_time():
    journal: list[str] = []

    async def run():
        await Registry("test", [Part("a", (), journal, seconds=0.05), Part("b", (), journal, seconds=0.05)]).start()

    asyncio.run(run())
    assert journal[:2] == ["begin a", "begin b"]


def test_a_slow_part_does_not_hold_up_one_that_does_not_need_it():
    journal: list[str] = []

    async def run():
        parts = [Part("slow", (), journal, seconds=0.2), Part("fast", (), journal), Part("top", ["fast"], journal)]
        await Registry("test", parts).start()

    asyncio.run(run())
    assert journal.index("up top") < journal.index("up slow")


def test_a_cancelled_start_is_rolled_back():
    journal: list[str] = []

    async def run():
        registry = Registry("test", [Part("a", (), journal), Part("b", ["a"], journal, seconds=3600)])
        task = asyncio.create_task(registry.start())
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
    assert journal == ["begin a", "up a", "begin b", "stop b", "stop a"]


def test_a_part_that_does_not_stop_keeps_no_other_from_stopping():
    class Stubborn(Part):
        async def shutdown(self):
            if self.name == "hangs":
                await asyncio.sleep(3600)
            raise RuntimeError("no")

    journal: list[str] = []

    async def run():
        registry = Registry("test", [Part("a", (), journal), Stubborn("hangs", ["a"], journal), Stubborn("raises", ["hangs"], journal)])
        await registry.start()
        await registry.stop(timeout_seconds=0.05)

    asyncio.run(run())
    assert journal[-1] == "stop a"


def test_health_asks_every_part_and_survives_those_that_do_not_answer():
    async def run():
        parts = [
            Part("well"),
            Part("ill", health=Health(Status.DEGRADED, "the cause")),
            Part("broken", health=RuntimeError("boom")),
            Part("mute", health="hang"),
        ]
        return await Registry("test", parts).health(timeout_seconds=0.05)

    answers = asyncio.run(run())
    assert {name: answer.status.value for name, answer in answers.items()} == {
        "well": "up",
        "ill": "degraded",
        "broken": "degraded",
        "mute": "degraded",
    }
    assert answers["ill"].detail == "the cause"
    assert "RuntimeError" in answers["broken"].detail


def test_starts_and_failures_are_counted():
    def value(name, **labels):
        return REGISTRY.get_sample_value(name, labels) or 0.0

    async def run():
        await Registry("counted", [Part("good")]).start()
        with pytest.raises(StartupError):
            await Registry("counted", [Part("bad", fails=KeyError("x"))]).start()

    asyncio.run(run())
    assert value("service_startup_duration_seconds_count", service_name="counted") == 1
    assert value("service_startup_duration_seconds_count", service_name="counted.good") == 1
    assert value("service_startup_failures_total", service_name="counted", error_type="KeyError") == 1
    assert value("service_startup_failures_total", service_name="counted.bad", error_type="KeyError") == 1
