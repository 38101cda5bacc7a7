"""The Autobahn|Testsuite's cases against the hub's own protocol class, with an echo behind it.

    python -m tests.hardening.autobahn --fast    all cases but the long ones
    python -m tests.hardening.autobahn --full    all 517: minutes
    python -m tests.hardening.autobahn 6.4 7.1.5 those only

A verdict that is not OK must be one that `autobahn_accepted.json` names, with its reason. Needs `autobahntestsuite`
(requirements-autobahn.lock); see `cases` for how much of it is run.
"""

from __future__ import annotations

import argparse
import asyncio
import fnmatch
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.local.place import CHECKOUT
from tests.hardening.cases import suite
from tests.hardening.peer import Outcome, carry_out

ACCEPTED = Path(__file__).with_name("autobahn_accepted.json")
AT_A_TIME = 8  # most cases wait for a second
CASE_SECONDS = 600.0  # what takes longer is cut; a case has bounds of its own, of up to 480 s
LIMIT = 64 << 20  # bytes of a message, for cases that are about long ones
# Of the last number of an id in 12.* and 13.*: a thousand messages of up to 1 KiB, and of 8 KiB in fragments.
FAST = {"1", "3", "4", "11"}
PROMISED = 517


@dataclass(frozen=True)
class Accepted:
    """A deviation that is known. cases: patterns of ids; behavior, close: verdicts, besides OK."""

    cases: list[str]
    behavior: list[str]
    close: list[str]
    reason: str

    def covers(self, outcome: Outcome) -> bool:
        """Whether this verdict is that deviation."""
        return (
            any(fnmatch.fnmatchcase(outcome.id, pattern) for pattern in self.cases)
            and outcome.behavior in (*self.behavior, "OK")
            and outcome.close in (*self.close, "OK")
        )


def accepted() -> list[Accepted]:
    """The list."""
    return [Accepted(**entry) for entry in json.loads(ACCEPTED.read_text())]


def good(outcome: Outcome) -> bool:
    """What the Testsuite calls a pass."""
    return outcome.behavior == outcome.close == "OK"


def unexpected(outcomes: Sequence[Outcome], known: Sequence[Accepted]) -> list[Outcome]:
    """Verdicts that are neither a pass nor on the list."""
    return [each for each in outcomes if not good(each) and not any(entry.covers(each) for entry in known)]


def chosen(name: str, arguments: argparse.Namespace) -> bool:
    """Whether a case is run."""
    if arguments.cases:
        return any(name == each or name.startswith(f"{each}.") for each in arguments.cases)
    category, *_, last = name.split(".")
    if arguments.full or category not in ("12", "13"):
        return True
    return last in FAST


def server_of(name: str) -> tuple[str, ...]:
    """The arguments of the echo that a case is run against: as the hub is by default, where the case allows it."""
    category = name.split(".")[0]
    if category in ("12", "13"):
        return "--compression", "--limit", str(LIMIT)
    long = category in ("9", "10") or name in {f"1.{kind}.{n}" for kind in (1, 2) for n in (6, 7, 8)}
    return ("--limit", str(LIMIT)) if long else ()


@contextmanager
def echo(arguments: Sequence[str]) -> Iterator[int]:
    """A running echo; its port."""
    command = [sys.executable, "-m", "tests.hardening.echo", *arguments]
    with subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
            assert process.poll() is None, "the echo ended"
        finally:
            process.kill()


async def run(cases: Sequence[tuple[str, type[Any]]], port: int) -> list[Outcome]:
    """Cases against the server on `port`, some at a time."""
    turns = asyncio.Semaphore(AT_A_TIME)

    async def one(name: str, case: type[Any]) -> Outcome:
        async with turns:
            return await carry_out(name, case, port, CASE_SECONDS)

    return await asyncio.gather(*(one(name, case) for name, case in cases))


def table(outcomes: Sequence[Outcome]) -> str:
    """A line for each category: how many of each verdict."""
    lines = []
    for category in sorted({each.id.split(".")[0] for each in outcomes}, key=int):
        mine = [each for each in outcomes if each.id.split(".")[0] == category]
        counts = Counter("OK" if good(each) else f"{each.behavior} ({each.close})" for each in mine)
        seconds = sum(each.seconds for each in mine)
        told = ", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items(), key=lambda c: -c[1]))
        lines.append(f"{category:>3}.*  {len(mine):3d} cases in {seconds:6.1f} s: {told}")
    return "\n".join(lines)


def main(arguments: argparse.Namespace) -> int:
    """0 when there was no verdict but those that are accepted."""
    began = time.monotonic()
    every = list(suite().classes())
    assert len(every) == PROMISED, f"{len(every)} cases, not {PROMISED}: another Testsuite"
    wanted = [(name, case) for name, case in every if chosen(name, arguments)]
    outcomes: list[Outcome] = []
    for options in dict.fromkeys(server_of(name) for name, _ in wanted):
        with echo(options) as port:
            outcomes += asyncio.run(run([pair for pair in wanted if server_of(pair[0]) == options], port))
    outcomes.sort(key=lambda each: [int(part) for part in each.id.split(".")])
    say(table(outcomes))
    for entry in accepted():
        covered = [each.id for each in outcomes if not good(each) and entry.covers(each)]
        if covered:
            say(f"accepted: {', '.join(covered)}: {entry.reason}")
    failed = unexpected(outcomes, accepted())
    for each in failed:
        say(f"NOT ACCEPTED: {each.id}: {each.behavior} ({each.close}) {each.result}")
    say(f"{len(outcomes)} cases in {time.monotonic() - began:.0f} s: {len(failed)} that are neither OK nor accepted")
    return 1 if failed or not outcomes else 0


def say(text: str) -> None:
    """A line for whoever waits."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fast", action="store_true")
    parser.add_argument("--full", action="store_true")
    parser.add_argument("cases", nargs="*")
    sys.exit(main(parser.parse_args()))
