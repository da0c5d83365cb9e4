"""Moments of the clock, of which one timer takes care, whatever the clock does."""

import pytest

from dps_simulator.common.clock import ManualClock
from dps_simulator.hub.api.expiries import LOOK_AGAIN, Expiries

DAY = 86_400


class World:
    """Expiries whose timer runs when the test says so."""

    def __init__(self):
        self.clock = ManualClock()
        self.timers = []
        self.called = []
        self.expiries = Expiries(self.clock, self.call_later)

    def call_later(self, delay, callback):
        assert not self.timers, "one timer is enough"
        self.timers.append((delay, callback))
        return self

    def cancel(self):
        self.timers.clear()

    def add(self, name, seconds):
        self.expiries.add(name, self.clock.now().timestamp() + seconds, lambda: self.called.append(name))

    def tick(self, advance=0.0):
        """The timer runs, when the clock has moved on by its delay and by a jump."""
        delay, callback = self.timers.pop()
        self.clock.advance(delay + advance)
        callback()
        return delay


@pytest.fixture
def world():
    return World()


def test_each_is_called_at_its_moment(world):
    world.add("late", 2.5)
    world.add("early", 0.5)
    world.add("middle", 2.25)
    assert [world.tick() for _ in range(4)] == [0.5, 1, 0.75, 0.25]
    assert world.called == ["early", "middle", "late"]
    assert not world.timers


@pytest.mark.parametrize(("jump", "gone"), [(DAY, ["one", "two"]), (-3_600, []), (3_600, ["one"])])
def test_a_jump_is_noticed_at_the_next_look(world, jump, gone):
    world.add("one", 3_000)
    world.add("two", 80_000)
    assert world.tick(jump) <= LOOK_AGAIN
    assert world.called == gone
    assert len(world.timers) == (len(gone) < 2)


def test_after_a_clock_was_set_back_nothing_comes_early_or_never(world):
    world.add("one", 10)
    world.tick(-3_600)
    looks = 1
    while world.timers:
        world.tick()
        looks += 1
    assert (world.called, looks) == (["one"], 3_610)


def test_while_nobody_waits_there_is_no_timer(world):
    world.add("one", 10)
    world.add("two", 20)
    world.expiries.remove("one")
    world.expiries.remove("one")
    assert world.timers
    world.expiries.remove("two")
    assert not world.timers
    assert world.called == []


def test_what_is_over_already_is_called_soon(world):
    world.add("one", -5)
    assert world.called == []
    assert world.tick() == 0
    assert world.called == ["one"]


def test_whoever_left_is_not_called_and_holds_nobody_up(world):
    world.add("one", 0.25)
    world.add("two", 0.5)
    world.expiries.remove("one")
    assert [world.tick(), world.tick()] == [0.25, 0.25]
    assert world.called == ["two"]


def test_one_that_fails_leaves_the_others(world, caplog):
    def fail():
        raise ValueError

    world.expiries.add("bad", world.clock.now().timestamp(), fail)
    world.add("good", 0)
    world.tick()
    assert world.called == ["good"]
    assert "ValueError" in caplog.text


def test_one_that_is_due_may_add_another(world):
    world.expiries.add("one", world.clock.now().timestamp(), lambda: world.add("two", 0.5))
    world.tick()
    world.tick()
    assert world.called == ["two"]
