"""Rows that break PostgreSQL."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg

from tests.fault.checker import Acknowledged
from tests.fault.stack import launching
from tests.fault.world import World, row
from tests.support.pages import frames_of
from tests.support.waiting import eventually


@asynccontextmanager
async def session(w: World) -> AsyncIterator[asyncpg.Connection]:
    """A session of a stranger's, past the proxies."""
    connection = await asyncpg.connect(w.stack.postgres.url(), timeout=10)
    try:
        yield connection
    finally:
        with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            await connection.close(timeout=5)


def refusals(w: World) -> None:
    """Whoever was refused was told when to come back."""
    refused = {key: count for key, count in w.load.answers.items() if key[0] == 503}
    w.note(f"{sum(refused.values())} appends were answered 503")
    w.expect(all(retry for _, retry in refused), "503 without Retry-After")


@row("19", "PostgreSQL is killed", bound=4.0, why="back within 1 s of its return, then the audit's 3.5 s at most")
async def killed(w: World) -> None:
    began = time.time()
    await launching(w.stack.postgres.kill)
    await w.let(w.times.short)
    await launching(w.stack.postgres.start)
    w.over()
    refusals(w)
    w.expect(w.closes(began) == 0, f"{w.closes(began)} sockets were closed")


@row("20", "every session of PostgreSQL's is terminated; then it restarts at once", bound=4.0, why="as row 19")
async def terminated(w: World) -> None:
    for _ in range(3):
        async with session(w) as stranger:
            await stranger.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
            )
        await w.let(w.times.short / 4)
    process = w.stack.postgres.running
    process.send_signal(signal.SIGQUIT)  # "immediate": no checkpoint, recovery at the next start
    await launching(process.wait)
    w.stack.postgres.process = None
    await launching(w.stack.postgres.start)
    w.over()
    refusals(w)


@row("21", "the answer to COMMIT is cut off", bound=4.0, why="keyed appends are run again within 5 s")
async def outcome_unknown(w: World) -> None:
    cuts = 0
    for _ in range(6):
        for proxy in w.stack.api_postgres:  # every event has a note of that letter: an append was sent
            proxy.cut_reply_when(lambda asked, reply: b"xxxxxxxx" in asked)
        await w.let(w.times.short / 6)
    w.over()
    for proxy in w.stack.api_postgres:
        proxy.cut_reply_when(None)
        cuts += proxy.cuts
    w.note(f"{cuts} answers were cut off")
    w.expect(cuts >= 6, f"only {cuts} answers were cut off")


@row(
    "23", "PostgreSQL's disk is full", bound=5.0, why="writes are refused; then as before by itself, 3.5 s by the audit"
)
async def disk_full(w: World) -> None:
    """Its WAL lies on a small file system of its own, which somebody else fills."""
    wal = w.stack.postgres.data / "pg_wal"
    place = w.stack.directory.path / "small"
    await launching(w.stack.postgres.stop)
    mounted = await launching(lambda: move_to_small_disk(wal, place))
    await launching(w.stack.postgres.start)
    w.expect(mounted, "a small file system cannot be mounted here: needs root")
    if not mounted:
        return
    try:
        await w.let(2.0)
        acknowledged = len(w.load.acknowledged)
        await launching(lambda: fill(place))
        await w.let(w.times.short)
        w.note(f"{len(w.load.acknowledged) - acknowledged} appends were stored meanwhile")
        (place / "filler").unlink()
        if w.stack.postgres.running.poll() is not None:
            w.stack.postgres.process = None
            await launching(w.stack.postgres.start)
            w.note("PostgreSQL ended, as it does when its log cannot be written, and was started again")
        refusals(w)
        w.over()
        await w.let(2.0)
    finally:
        await launching(w.stack.postgres.stop)
        await launching(lambda: move_back(wal, place))
        await launching(w.stack.postgres.start)
    w.over()


def move_to_small_disk(wal: Path, place: Path) -> bool:
    """Moves a directory to a new file system of 256 MiB and leaves a link."""
    place.mkdir(mode=0o711)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256m", "none", place], check=False).returncode:
        return False
    subprocess.run(["cp", "-a", wal, place / "wal"], check=True)
    owner = wal.stat()
    wal.rename(wal.with_name("pg_wal.old"))
    wal.symlink_to(place / "wal")
    os.chown(wal, owner.st_uid, owner.st_gid, follow_symlinks=False)
    place.chmod(0o755)
    return True


def fill(place: Path) -> None:
    """Leaves nothing free."""
    subprocess.run(["dd", "if=/dev/zero", f"of={place / 'filler'}", "bs=64k"], check=False, capture_output=True)


def move_back(wal: Path, place: Path) -> None:
    """As it was."""
    wal.unlink()
    subprocess.run(["cp", "-a", place / "wal", wal], check=True)
    subprocess.run(["rm", "-rf", wal.with_name("pg_wal.old")], check=True)
    subprocess.run(["umount", place], check=True)
    place.rmdir()


@row("24", "PostgreSQL is read-only", bound=4.0, why="as row 19")
async def read_only(w: World) -> None:
    async with session(w) as stranger:
        await stranger.execute("ALTER SYSTEM SET default_transaction_read_only = on")
        await stranger.execute("SELECT pg_reload_conf()")
        await w.let(w.times.short)
        await stranger.execute("SET default_transaction_read_only = off")
        await stranger.execute("ALTER SYSTEM RESET default_transaction_read_only")
        await stranger.execute("SELECT pg_reload_conf()")
    w.over()
    refusals(w)
    refused = sum(count for (status, _), count in w.load.answers.items() if status == 503)
    w.expect(refused > 0, "nothing was refused")


@row("25", "PostgreSQL is slow, and a stranger holds a feed", bound=4.0, why="others do not wait for the lock")
async def slow_and_locked(w: World) -> None:
    for proxy in w.stack.api_postgres:
        proxy.slow(0.2, "up")
    async with session(w) as stranger:
        transaction = stranger.transaction()
        await transaction.start()
        await stranger.execute("SELECT FROM feeds WHERE username = $1 FOR UPDATE", w.names[0])
        await w.let(w.times.short)
        others = [run for run in w.load.runs if run.username != w.names[0]]
        behind = max(len(run.waiting) for run in others)
        await transaction.rollback()
    for proxy in w.stack.api_postgres:
        proxy.heal()
    w.over()
    w.note(f"the longest queue of another feed had {behind} events")
    w.expect(behind < 200, f"another feed has {behind} events waiting")


@row("27", "a stranger commits between number and commit", bound=2.0, why="nobody waits for more than the stranger")
async def commit_race(w: World) -> None:
    """Another writer, which keeps the rules, is slow between its INSERT and its COMMIT."""
    run = w.run_of(0)
    watching = asyncio.create_task(pages_are_whole(w, run.username))
    async with session(w) as stranger:
        for n in range(4):
            async with stranger.transaction():
                await numbered_insert(w, stranger, run.username, run.run_id, n)
                await w.let(w.times.short / 5)
    w.over()
    watching.cancel()
    problems, looks = await watching
    w.note(f"{looks} pages were read meanwhile")
    w.expect(not problems, f"a reader saw a hole: {problems[:3]}")


async def numbered_insert(w: World, stranger: asyncpg.Connection, username: str, run_id: str, n: int) -> None:
    """What append_events does for one event, by hand."""
    await stranger.execute("SELECT FROM feeds WHERE username = $1 FOR NO KEY UPDATE", username)
    await stranger.execute("SELECT FROM runs WHERE run_id = $1 FOR NO KEY UPDATE", run_id)
    event_id = await stranger.fetchval(
        "UPDATE feeds SET last_id = last_id + 1 WHERE username = $1 RETURNING last_id", username
    )
    seq = await stranger.fetchval(
        "UPDATE runs SET last_seq = last_seq + 1 WHERE run_id = $1 RETURNING last_seq", run_id
    )
    key = f"stranger.{run_id}.{n}"
    tail = (
        f'"run_id":"{run_id}","username":"{username}","type":"step","timestamp":1,"recorded_at":{time.time()},'
        f'"event_id":"{key}"}}'
    )
    await stranger.execute("INSERT INTO events VALUES ($1, $2, $3, $4, $5)", username, event_id, run_id, seq, tail)
    w.load.acknowledged.append(Acknowledged(username, run_id, key, event_id, seq, time.time()))


async def pages_are_whole(w: World, username: str) -> tuple[list[str], int]:
    """Reads a feed again and again until cancelled; what was wrong, and how often it looked."""
    problems: list[str] = []
    looks, head = 0, 0
    url = f"http://127.0.0.1:{w.stack.api_ports[1]}/api/v1/feeds/{username}/events?limit=5000"
    try:
        while True:
            async with w.stack.session.get(url) as response:
                body = await response.read()
                page: Any = await response.json()
            looks += 1
            ids = [event["id"] for event in page["events"]]
            if ids != list(range(1, len(ids) + 1)) or page["head"] < head:
                problems.append(f"head {head}, then {page['head']}, ids {ids[-5:]}")
            frames_of(body, len(ids))
            head = page["head"]
    except asyncio.CancelledError:
        return problems, looks


@row(
    "old-snapshot",
    "an old snapshot and a long transaction are held",
    bound=1.0,
    why="no reader waits for either",
    patience=2.0,
)
async def old_snapshot(w: World) -> None:
    async with session(w) as reader, session(w) as writer:
        async with reader.transaction(isolation="repeatable_read", readonly=True), writer.transaction():
            await reader.fetchval("SELECT count(*) FROM events")
            await writer.execute("CREATE TEMP TABLE unrelated (n int)")
            await w.let(w.times.short)
    w.over()


@row("promotion", "PostgreSQL is promoted: another epoch", bound=6.0, why="noticed by a beacon or the audit's 3.5 s")
async def promotion(w: World) -> None:
    """A standby that has all of it is promoted: here the same data, started as one, because nothing is to be lost."""
    before = await epoch(w)
    await launching(w.stack.postgres.stop)
    signal_file = w.stack.postgres.data / "standby.signal"
    signal_file.touch()
    owner = w.stack.postgres.data.stat()
    os.chown(signal_file, owner.st_uid, owner.st_gid)
    starting = asyncio.create_task(launching(w.stack.postgres.start))  # which waits until it is no standby any more
    await eventually(lambda: promoting(w), within=10)
    await starting
    w.over()
    await w.let(w.row.bound)
    w.expect(await epoch(w) != before, "the epoch is what it was")
    told = sum(any(segment.fresh for segment in stream.segments) for stream in w.crowd.streams())
    sockets = sum(client.reads for client in w.crowd.clients)
    w.note(f"{told} of {sockets} sockets were told")
    w.expect(told == sockets, f"{sockets - told} sockets were not told that the epoch is another")


async def promoting(w: World) -> bool:
    """Asks a standby to be promoted; whether it took the question."""
    try:
        async with session(w) as stranger:
            await stranger.execute("SELECT pg_promote()")
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return False
    return True


async def epoch(w: World) -> str:
    """Read past the APIs."""
    async with session(w) as stranger:
        return str(await stranger.fetchval("SELECT epoch()"))
