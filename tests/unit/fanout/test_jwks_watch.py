"""fanout/jwks.py: when an issuer is asked for its keys though nobody comes, and what visitors add to that."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

import pytest

from fanout.tokens import KeysAway
from tests.support import eventually
from tests.support.issuers import signer
from tests.unit.fanout.publishers import BEGINNING, World, published

EC = signer("ES256")
HOUR = 3600.0


class Over(Exception):
    """The time that a test watches for."""


async def watched(world: World, seconds: float, meanwhile: Callable[[], Awaitable[None]] | None = None) -> list[float]:
    """When the issuer was asked while the keys were watched for so long. meanwhile: what happens every second."""

    async def passing(pause: float) -> None:
        assert 0 < pause <= 30  # it neither spins nor sleeps through what visitors learn
        end = min(world.now + pause, BEGINNING + seconds)
        world.pauses.append(pause)
        while meanwhile is not None and world.now < end:
            await meanwhile()
            world.now = min(world.now + 1, end)
        world.now = end
        if end == BEGINNING + seconds:
            raise Over

    world.keys._pause = passing
    with pytest.raises(Over):
        await asyncio.wait_for(world.keys.watch(), 5)
    return world.asked


@pytest.mark.parametrize(
    ("away", "asked"),
    [
        ([], [0, 600, 1200, 1800, 2400, 3000]),
        ([(0, 5)], [0, 1, 3, 7, 607, 1207, 1807, 2407, 3007]),
        ([(1800, 1920)], [0, 600, 1200, 1800, 1830, 1860, 1890, 1920, 2520, 3120]),
        ([(0, 200)], [0, 1, 3, 7, 15, 31, 61, 91, 121, 151, 181, 211, 811, 1411, 2011, 2611, 3211]),
    ],
    ids=["healthy", "away at first", "away later", "away for long at first"],
)
async def test_an_hour(away: list[tuple[float, float]], asked: list[float]) -> None:
    """Without a visitor the issuer is asked every ten minutes, and soon again while it is away; then the keys live."""
    world = World(published(k1=EC))
    world.away = away

    assert await watched(world, HOUR) == asked
    assert (world.keys.count, world.keys.state, world.keys.error) == (1, "live", "")
    assert len(world.pauses) <= HOUR / 30 + len(asked)


@pytest.mark.parametrize(
    ("lasts", "asked"),
    [
        (0, [0, 1, 3, 7, 15, 31, 61, 91, 121, 151, 181]),
        (5, [0, 6, 13, 22, 35, 56, 86, 116, 146, 176]),  # a second and more after the end, 30 s after the start at most
    ],
    ids=["at once", "late"],
)
@pytest.mark.parametrize("visited", [False, True], ids=["quiet", "visited"])
async def test_visitors_add_nothing_at_first(lasts: float, asked: list[float], visited: bool) -> None:
    """While no key was ever read the issuer is asked at the same times, with visitors every second or without any."""
    world = World(OSError("down"))
    world.lasts = lasts

    async def visit() -> None:
        with pytest.raises(KeysAway):
            await world.keys.find(f"invented{world.now}")

    assert await watched(world, 200, visit if visited else None) == asked
    assert world.keys.state == "unknown"


async def test_visitors_later() -> None:
    """With keys, visitors with invented names make the issuer be asked every 30 s at most, be it away or not."""
    world = World(published(k1=EC))
    world.away = [(300, 500)]

    async def visit() -> None:
        assert await world.names(f"invented{world.now}") == []
        assert await world.names("k1") == ["k1"]

    asked = await watched(world, 1000, visit)
    assert asked == [30.0 * number for number in range(34)]


async def test_a_visitor_learns_that_the_issuer_is_away() -> None:
    """A fetch for a visitor that fails is made good without another visitor."""
    world = World(published(k1=EC))
    world.away = [(100, 150)]
    states: list[str] = []

    async def visit() -> None:
        if world.now == BEGINNING + 100:
            assert await world.names("k2") == []
        states.append(world.keys.state)

    assert await watched(world, 1000, visit) == [0, 100, 130, 160, 760]
    assert (states.index("old"), states.count("old"), states[-1]) == (100, 60, "live")


async def test_read_at_the_start() -> None:
    """The keys are read before anybody asks, once; visitors who come meanwhile share that reading."""
    world = World(published(k1=EC))
    world.open.clear()
    assert (world.keys.count, world.keys.state) == (0, "unknown")
    watching = asyncio.create_task(watched(world, 20))
    asking = [asyncio.create_task(world.names("k1")) for _ in range(100)]
    await asyncio.sleep(0)  # let them ask
    world.open.set()

    assert await asyncio.gather(*asking) == [["k1"]] * 100
    assert await watching == [0]
    assert (world.keys.count, world.keys.state, world.keys.error) == (1, "live", "")


async def test_each_failure_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Each time that the keys cannot be read the log says what to do."""
    world = World(published(k1=EC))
    world.away = [(0, 5)]
    with caplog.at_level(logging.WARNING):
        await watched(world, 60)

    assert [record.message for record in caplog.records] == ["jwks_away"] * 3
    assert all("AUTH_JWKS_URL" in vars(record)["remedy"] for record in caplog.records)


@pytest.mark.parametrize("during", ["pause", "fetch"])
async def test_cancelled(during: str) -> None:
    """Whoever ends the watch, and the fetch after it, leaves nothing that runs."""
    world = World(published(k1=EC))
    if during == "fetch":
        world.open.clear()
    paused = asyncio.Event()

    async def pause(_: float) -> None:
        paused.set()
        await asyncio.Event().wait()

    world.keys._pause = pause
    watching = asyncio.create_task(world.keys.watch())
    if during == "pause":
        await paused.wait()
    else:
        await eventually(lambda: world.asked)
    watching.cancel()
    await asyncio.wait([watching])
    await world.keys.close()

    assert watching.cancelled()
    assert asyncio.all_tasks() == {asyncio.current_task()}
