"""runfeed.core.machine: whatever the stream and the server do, everybody is given every event once and in order."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from runfeed.core.subscription import FEED
from tests.property.worlds import World

CALM = 3_000  # moments of 40 ms after the last harm: two minutes, four times the longest wait
DOES = ["append"] * 6 + ["turn"] * 6 + ["watch", "watch", "leave", "feed", "feed_after"]


@given(st.integers(0, 2**32), st.integers(1, 4), st.booleans(), st.integers(1, 600))
@settings(deadline=None, max_examples=400)
def test_once_and_in_order(seed: int, runs: int, speaks: bool, moves: int) -> None:
    """Frames are lost, doubled and shuffled, streams break, requests fail and are late: no hole, no repeat."""
    world = World(seed, runs, speaks)
    for _ in range(moves):
        move(world, world.chance.choice(DOES))
    calm_down(world)

    assert world.given == {key: expected(world, key) for key in world.given}
    assert world.spins == 0


@given(st.integers(0, 2**32), st.integers(2, 4), st.booleans(), st.integers(1, 600))
@settings(deadline=None, max_examples=400)
def test_once_and_in_order_of_what_is_shown(seed: int, runs: int, widens: bool, moves: int) -> None:
    """The same for a token that shows some of the runs, and later perhaps all: streams leave the others' ids out."""
    world = World(seed, runs, speaks=True, shown=runs // 2)
    for number in range(moves):
        if widens and number == moves // 2:
            world.widen()
        move(world, world.chance.choice(DOES))
    calm_down(world)

    assert world.given == {key: expected(world, key) for key in world.given}
    assert world.spins == 0


def calm_down(world: World) -> None:
    """No more harm, and the end of all runs; time for everybody to be given what is missing."""
    world.harm = 0.0
    world.finish()
    for _ in range(CALM):
        world.turn()
        if all(ids == expected(world, key) for key, ids in world.given.items()):
            break


def move(world: World, what: str) -> None:
    """Something happens."""
    name = world.chance.choice(world.names)
    if what == "append":
        world.append()
    elif what == "turn":
        world.turn()
    elif what == "watch":
        world.watch(name, world.chance.choice([0, 0, 3]))
    elif what == "leave":
        world.leave(world.chance.choice([FEED, name]))
    else:
        world.watch(FEED, None if what == "feed" else 2)


def expected(world: World, key: str) -> list[int]:
    """What whoever watches this must have been given."""
    began = world.began[key]
    if began < 0:  # it began somewhere, and not later than it said
        began = min([number - 1 for number in world.given[key][:1]] + [world.loaded])
    keys = world.shown if key == FEED else world.shown & {key}
    return [each["id"] for each in world.log if each["id"] > began and each["run_id"] in keys]
