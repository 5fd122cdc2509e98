"""The circuit breaker against a model of it, and the guard around calls."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from app_images.runtime.breaker import CircuitBreaker, CircuitOpenError, State

FAILURES, RECOVERY = 3, 60


class BreakerMachine(RuleBasedStateMachine):
    """Calls one after the other, with pauses; the model knows only failures in a row and the time of opening."""

    def __init__(self):
        super().__init__()
        self.now = 0.0
        self.breaker = CircuitBreaker("x", FAILURES, RECOVERY, clock=lambda: self.now)
        self.in_a_row = 0
        self.opened: float | None = None

    def expected(self) -> State:
        if self.opened is None:
            return State.CLOSED
        return State.OPEN if self.now - self.opened < RECOVERY else State.HALF_OPEN

    @rule(seconds=st.floats(0, 100))
    def time_passes(self, seconds):
        self.now += seconds

    @rule(works=st.booleans())
    def call(self, works):
        before = self.expected()
        if before is State.OPEN:
            with pytest.raises(CircuitOpenError) as refused:
                self.breaker.admit()
            assert 0 < refused.value.retry_after <= RECOVERY
            return
        self.breaker.admit()
        if works:
            self.breaker.succeeded()
            self.in_a_row, self.opened = 0, None
        else:
            self.breaker.failed()
            self.in_a_row += 1
            if before is State.HALF_OPEN or self.in_a_row >= FAILURES:
                self.opened = self.now

    @rule()
    def backend_is_known_to_answer(self):
        self.breaker.reset()
        self.in_a_row, self.opened = 0, None

    @rule()
    def late_reports_while_open_change_nothing(self):
        if self.expected() is State.OPEN:
            self.breaker.failed()
            self.breaker.succeeded()

    @invariant()
    def states_agree(self):
        assert self.breaker.state is self.expected()


BreakerMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestTheBreakerFollowsItsModel = BreakerMachine.TestCase


def opened(now: list[float]) -> CircuitBreaker:
    breaker = CircuitBreaker("x", 1, RECOVERY, clock=lambda: now[0])
    breaker.admit()
    breaker.failed()
    return breaker


def test_half_open_lets_one_call_through_at_a_time():
    now = [0.0]
    breaker = opened(now)
    now[0] = RECOVERY
    breaker.admit()
    with pytest.raises(CircuitOpenError):
        breaker.admit()
    breaker.succeeded()
    breaker.admit()
    breaker.admit()


def test_a_trial_that_was_cancelled_leaves_room_for_the_next():
    now = [0.0]
    breaker = opened(now)
    now[0] = RECOVERY

    async def run():
        async def call():
            async with breaker.guard(lambda _: True):
                await asyncio.sleep(3600)

        task = asyncio.create_task(call())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
    assert breaker.state is State.HALF_OPEN
    breaker.admit()


@pytest.mark.parametrize(("error", "state"), [(OSError("down"), State.OPEN), (ValueError("my mistake"), State.CLOSED)])
def test_only_failures_of_the_backend_count(error, state):
    breaker = CircuitBreaker("x", 1, RECOVERY)

    async def run():
        with pytest.raises(type(error)):
            async with breaker.guard(lambda e: isinstance(e, OSError)):
                raise error

    asyncio.run(run())
    assert breaker.state is state
