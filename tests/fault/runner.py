"""One row, from its first event to its verdict."""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass, field

import aiohttp

from tests.fault import checker
from tests.fault.checker import Stored, Verdict
from tests.fault.clients import Client
from tests.fault.crowd import Crowd
from tests.fault.load import Load, history
from tests.fault.stack import Stack
from tests.fault.times import Times
from tests.fault.world import MIX, QUIET, Row, World, look_alikes
from tests.support.pacing import passing
from tests.support.waiting import eventually

OPEN_SECONDS = 5.0  # for 50 clients to be answered at the start of a row
FINISH_SECONDS = 15.0  # for what is in flight to be acknowledged when nothing is broken any more
SETTLE_SECONDS = 4.0  # beyond the row's bound, for a stream to show the last of it
LATE = 0.5  # seconds after its recording an event that is shown is late; 0.01 when all is well
LEFTOVERS = ("fanout_holes_open", "fanout_joins_waiting", "fanout_replays", "fanout_held_bytes")
REST_SECONDS = 3.0  # after the last event was shown
_tags = itertools.count(1)


@dataclass
class Result:
    """What a row came to. again: the time of a second run, when only the first one's was beyond the bound."""

    row: Row
    verdict: Verdict = field(default_factory=Verdict)
    failed: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    took: float = 0.0
    seconds: float = 0.0
    again: float | None = None

    @property
    def correct(self) -> bool:
        """Nothing lost, repeated, out of order, foreign or otherwise wrong."""
        return self.verdict.clean and not self.failed

    @property
    def in_time(self) -> bool:
        """Within its bound, at the second try at the latest."""
        return min(self.took, self.took if self.again is None else self.again) <= self.row.bound

    @property
    def passed(self) -> bool:
        """All of it."""
        return self.correct and self.in_time


async def play(stack: Stack, row: Row, times: Times, kinds: tuple[str, ...] = MIX) -> Result:
    """Runs a row on a sound stack, and leaves a sound stack."""
    began = time.monotonic()
    tag = f"{row.number}.{next(_tags)}"
    users = {name: [f"{tag}:{n}-0", f"{tag}:{n}-1"] for n, name in enumerate(look_alikes(tag))}
    quiet = {f"quiet{n}.{tag}": [f"{tag}:quiet{n}"] for n in range(QUIET)}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        world = World(row, stack, times, users, Load(stack.api_ports, session, users, quiet), Crowd())
        try:
            stored = await _act_and_settle(world, session, kinds)
        finally:
            await world.load.close()
            await world.crowd.close()
            world.failed += await stack.repair()
    result = judged(world, stored)
    result.seconds = time.monotonic() - began
    return result


async def _act_and_settle(world: World, session: aiohttp.ClientSession, kinds: tuple[str, ...]) -> list[Stored]:
    await world.load.create()
    world.populate(kinds)
    await _all_open(world)
    world.load.start(world.times.rate)
    await passing(world.times.before)
    try:
        await world.row.act(world)
    except AssertionError as problem:  # the row's own: what it did is judged all the same
        world.expect(False, str(problem))
    world.since = world.since or time.time()
    await passing(world.times.after)
    done = await world.load.finish(FINISH_SECONDS)
    world.expect(done, f"{world.load.open} events were not acknowledged {FINISH_SECONDS:.0f} s after the fault")
    await _settle(world)
    await _nothing_left(world)
    quiet = [run.username for run in world.load.quiet]
    return await history(session, world.stack.api_ports[1], [*world.names, *quiet])


async def _all_open(world: World) -> None:
    try:
        await eventually(lambda: all(client.opened for client in world.crowd.clients), within=OPEN_SECONDS)
    except AssertionError:
        missing = [repr(client) for client in world.crowd.clients if not client.opened]
        world.expect(False, f"{len(missing)} clients were not answered: {missing[0]}")


async def _settle(world: World) -> None:
    """Until every client has shown the last event that it asked for; the checker says what is missing if not."""
    ends: dict[tuple[str, str], int] = {}
    for told in world.load.acknowledged:
        for run_id in ("", told.run_id):
            key = told.username, run_id
            ends[key] = max(ends.get(key, 0), told.id)

    def end(client: Client) -> int:
        return max(ends.get((client.stream.username, run_id), 0) for run_id in client.stream.runs or {""})

    waiting = [(client, end(client)) for client in world.crowd.clients if client.opened]
    try:
        await eventually(
            lambda: all(client.last >= last for client, last in waiting), within=world.row.bound + SETTLE_SECONDS
        )
    except AssertionError:
        behind = [(client, last) for client, last in waiting if client.last < last]
        world.note(f"{len(behind)} never caught up: {behind[:1]}")


async def _nothing_left(world: World) -> None:
    """The hubs are at rest: no feed heals for ever, nobody waits for an answer, nothing is kept."""
    for name in LEFTOVERS:
        try:
            await eventually(lambda name=name: at_rest(world, name), within=REST_SECONDS)  # type: ignore[misc]
        except AssertionError:
            world.expect(False, f"{name} is {await world.both(name):g} when all is over")


async def at_rest(world: World, name: str) -> bool:
    """Whether a gauge of both hubs is 0."""
    return await world.both(name) == 0


def judged(world: World, stored: list[Stored]) -> Result:
    """The verdict on all that was recorded."""
    streams = world.crowd.streams()
    patience = world.row.patience
    verdict = checker.check(world.load.acknowledged, stored, streams, patience=patience)
    since = world.since or 0.0
    if world.row.measure == "delay":
        took = checker.slowest(streams)
    else:
        took = checker.caught_up(streams, since, late=LATE)
    failed = [*world.failed, *world.load.surprises[:3], *world.load.died(), *world.crowd.died()]
    if silent := checker.silent(streams, world.names):
        failed.append(f"no socket of {', '.join(sorted(silent))} saw anything: that nothing was foreign proves nothing")
    return Result(world.row, verdict, failed, world.notes, took)
