"""./dev fault: every row of the matrix against real processes, and a table.

--ci          shorter times, on one stack: 8 minutes in all
--row N       this row only, repeatable
--kinds A,B   clients of these kinds only: to find out who suffers
--readme      put the table into the README
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
import traceback
from contextlib import suppress

import uvloop

from deploy.local.errors import LocalError
from deploy.local.place import CHECKOUT, DataDirectory
from tests.fault import report
from tests.fault.crowd import KINDS
from tests.fault.rows import ROWS, missing
from tests.fault.runner import Result, play
from tests.fault.stack import Stack, running
from tests.fault.times import CI, FULL, Times
from tests.fault.world import MIX, Row
from tests.support import secrets

ROW_SECONDS = 180.0  # for one row, whatever happens
CI_ROW_SECONDS = 60.0


class Directories:
    """Data directories of this process' own, removed at the end; what earlier runs have left is removed first."""

    def __init__(self) -> None:
        for old in (CHECKOUT / ".data").glob("fault-*"):
            left = DataDirectory(old)
            with suppress(LocalError, OSError):  # in use
                left.lock()
                for server in old.glob("*/"):
                    DataDirectory(server).remove()
                left.remove()
        self._top = DataDirectory(CHECKOUT / ".data" / f"fault-{os.getpid()}")
        self._top.create()
        self._top.lock()
        self._made: list[DataDirectory] = []

    def __call__(self, name: str) -> DataDirectory:
        self._made.append(DataDirectory(self._top.path / name))
        return self._made[-1]

    def remove(self) -> None:
        """All of them."""
        for made in (*self._made, self._top):
            made.remove()
        self._top.unlock()


def say(text: str) -> None:
    """A line for whoever waits."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


async def one(stack: Stack, row: Row, times: Times, kinds: tuple[str, ...]) -> Result:
    """A row, once more when nothing is wrong but its time."""
    seconds = CI_ROW_SECONDS if times is CI else ROW_SECONDS
    result = await limited(stack, row, times, kinds, seconds)
    if result.correct and not result.in_time:
        second = await limited(stack, row, times, kinds, seconds)
        if not second.correct:
            return second
        result.again = second.took
    return result


async def limited(stack: Stack, row: Row, times: Times, kinds: tuple[str, ...], seconds: float) -> Result:
    """A row that breaks the suite itself is a failed row, and the others are still run."""
    try:
        async with asyncio.timeout(seconds):
            return await play(stack, row, times, kinds)
    except (Exception, asyncio.CancelledError) as error:
        task = asyncio.current_task()
        if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
            raise
        where = traceback.format_exception(error)[-4:]
        return Result(row, failed=[f"{type(error).__name__}: {error}", *where])


async def main(arguments: argparse.Namespace) -> int:
    """0 when every row that was asked for is there and passed."""
    times = CI if arguments.ci else FULL
    rows = [ROWS[number] for number in arguments.row or ROWS]
    kinds = tuple(arguments.kinds.split(",")) if arguments.kinds else MIX
    directories = Directories()
    began = time.monotonic()
    results: list[Result] = []
    say(report.line(report.HEAD))
    try:
        async with running(directories, times) as stack:
            servers = f"PostgreSQL {stack.postgres.version}, {stack.redis.name} {stack.redis.version}"
            for row in rows:
                if time.monotonic() - began > times.total:
                    results.append(Result(row, failed=[f"not played: {times.total:.0f} s were over"]))
                else:
                    results.append(await one(stack, row, times, kinds))
                say(report.shown(results[-1]))
    finally:
        if all(result.passed for result in results) or not arguments.keep:
            directories.remove()
    lacking = [] if arguments.row else missing()
    failed = [result.row.number for result in results if not result.passed]
    say(f"\n{len(results)} rows in {time.monotonic() - began:.0f} s on {report.machine()}, {servers}")
    if lacking:
        say(f"MISSING ROWS, not there yet: {', '.join(lacking)}")
    for result in results:
        if not result.passed:  # once more at the end: a log that is cut keeps the end
            say(report.shown(result))
    shown = secrets.found()
    for text in shown:
        say(f"SECRET SHOWN: {text}")
    say(f"FAILED: {', '.join(failed)}" if failed else "all passed" if not shown else "passed, but for the secrets")
    if arguments.readme:
        report.write(results, servers, lacking)
    return 1 if failed or lacking or shown else 0


def parsed(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser("./dev fault", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--ci", action="store_true")
    parser.add_argument("--row", action="append", choices=list(ROWS))
    parser.add_argument("--kinds", help=", ".join(KINDS))
    parser.add_argument("--readme", action="store_true")
    parser.add_argument("--keep", action="store_true", help="keep logs and data when something failed")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    try:
        sys.exit(uvloop.run(main(parsed(sys.argv[1:]))))
    except LocalError as error:
        sys.exit(f"dev: {error}")
