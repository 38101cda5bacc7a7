"""fanout.pings: deadlines in turns."""

import asyncio
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanout.pings import NOWHERE, Expiries, Wheel, turn


class Member:
    """Something with a deadline."""

    def __init__(self) -> None:
        self.slot = NOWHERE
        self.reached = 0

    def deadline_reached(self) -> None:
        """Count."""
        self.reached += 1


def turns_until_due(wheel: Wheel[Member], member: Member) -> int:
    """After how many turns `member` comes off; 1,000 at most."""
    return next(count for count in range(1, 1000) if member in wheel.turn())


@pytest.mark.parametrize("delay", [0.0, 0.1, 0.25, 0.3, 1.0, 10.0, 25.0])
@pytest.mark.parametrize("before", [0, 7, 103])
def test_never_early(delay: float, before: int) -> None:
    """A deadline comes after its delay and within two ticks of it, wherever the wheel stands."""
    wheel: Wheel[Member] = Wheel(tick=0.25, longest=25)
    for _ in range(before):
        wheel.turn()
    wheel.put(member := Member(), delay)
    # The first turn may come at once: only the ones after it are worth a whole tick.
    certain = (turns_until_due(wheel, member) - 1) * wheel.tick

    assert delay <= certain <= delay + wheel.tick
    assert member.slot == NOWHERE


def test_one_deadline_each() -> None:
    """put moves a deadline; the old one does not come."""
    wheel: Wheel[Member] = Wheel(tick=1, longest=10)
    member = Member()
    wheel.put(member, 2)
    wheel.put(member, 5)

    assert len(wheel) == 1
    assert turns_until_due(wheel, member) == 6
    assert len(wheel) == 0


def test_drop() -> None:
    """drop takes a deadline off, once or twice."""
    wheel: Wheel[Member] = Wheel(tick=1, longest=10)
    member = Member()
    wheel.put(member, 2)
    wheel.drop(member)
    wheel.drop(member)

    assert len(wheel) == 0
    assert not any(wheel.turn() for _ in range(20))


def test_put_while_due() -> None:
    """A member that is due may be put again at once."""
    wheel: Wheel[Member] = Wheel(tick=1, longest=3)
    wheel.put(member := Member(), 3)
    for _ in range(50):
        if member in wheel.turn():
            member.reached += 1
            wheel.put(member, 3)

    assert member.reached == 12


async def test_turn_survives_a_member(monkeypatch: pytest.MonkeyPatch) -> None:
    """One member's exception does not keep the others from their deadlines."""
    wheel: Wheel[Member] = Wheel(tick=0.001, longest=1)
    bad, good = Member(), Member()
    done = asyncio.Event()
    monkeypatch.setattr(bad, "deadline_reached", lambda: 1 / 0)
    monkeypatch.setattr(good, "deadline_reached", done.set)
    wheel.put(bad, 0)
    wheel.put(good, 0.01)
    late: list[float] = []
    turning = asyncio.create_task(turn(wheel, late.append, lambda: None))
    async with asyncio.timeout(5):
        await done.wait()
    turning.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await turning

    assert late
    assert min(late) >= 0


@given(st.lists(st.floats(0, 100), max_size=20), st.lists(st.floats(0, 30), min_size=1, max_size=20))
def test_expiries(ends: list[float], steps: list[float]) -> None:
    """Each end is found once, when it has passed and at most a tick later than the look after it."""
    now = 1_000.0
    expiries: Expiries[int] = Expiries(0.25, now)
    for number, end in enumerate(ends):
        expiries.put(number, now + end)
    found: dict[int, float] = {}
    for step in steps:
        now += step
        for number in expiries.due(now):
            assert number not in found
            assert now >= 1_000.0 + ends[number]
            found[number] = now
    missed = [end for number, end in enumerate(ends) if number not in found]

    assert all(1_000.0 + end > now - 0.5 for end in missed)
    assert len(expiries) == len(missed)


def test_expiries_and_clocks() -> None:
    """A clock that is set back makes nobody immortal, and one that leaps by years costs nothing."""
    expiries: Expiries[str] = Expiries(0.25, 1_000.0)
    assert expiries.due(2_000.0) == []
    expiries.put("early", 1_500.0)
    expiries.put("late", 9e9)
    assert expiries.due(2_000.5) == ["early"]
    assert expiries.due(1e11) == ["late"]
    assert len(expiries) == 0


def test_expiry_dropped() -> None:
    """What was dropped does not come; dropping it twice, or what is not there, is nothing."""
    expiries: Expiries[str] = Expiries(0.25, 0.0)
    slot = expiries.put("a", 1.0)
    expiries.put("b", 1.0)
    expiries.drop("a", slot)
    expiries.drop("a", slot)
    expiries.drop("c", 77)

    assert expiries.due(2.0) == ["b"]
