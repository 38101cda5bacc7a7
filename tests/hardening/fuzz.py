"""Hostile bytes for everything that reads a stranger's.

    python -m tests.hardening.fuzz --seconds 60                 as in CI: the same inputs in the same order every time
    python -m tests.hardening.fuzz --seconds 3600 --seed random other inputs; the seed is printed
    python -m tests.hardening.fuzz --seconds 60 --only request  one target

The seconds are shared among the targets. What is found is printed with the smallest input that shows it; it belongs
into a test, and the code under test into order.
"""

from __future__ import annotations

import argparse
import logging
import secrets
import sys
import time
import traceback
from collections.abc import MutableMapping
from typing import Any

import structlog
from hypothesis import HealthCheck, given, seed, settings

from tests.hardening.targets import Target, every

BATCH = 200  # inputs between two looks at the clock
SETTINGS = settings(database=None, deadline=None, suppress_health_check=list(HealthCheck), print_blob=False)


def loud(logger: Any, method: str, event: MutableMapping[str, Any]) -> str:
    """What a service logs as an error is a finding: an exception that somebody caught, and nobody expected."""
    assert method not in ("error", "exception", "critical"), f"logged: {event}"
    raise structlog.DropEvent


class Loud(logging.Handler):
    """The same for what a library logs."""

    def emit(self, record: logging.LogRecord) -> None:
        """Kept until the input is done: a raise in a handler ends in the library."""
        self.found.append(record.getMessage())

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []


def batch(target: Target, number: int, logged: Loud, inputs: int = BATCH) -> None:
    """One batch of inputs; raises what was found."""

    @seed(number)
    @settings(SETTINGS, max_examples=inputs)
    @given(target.inputs)
    def run(value: Any) -> None:
        logged.found.clear()
        target.check(value)
        assert not logged.found, f"logged: {logged.found}"

    run()


def fuzz(targets: list[Target], seconds: float, start: int) -> list[str]:
    """Every target for its share of the time; the names of those in which something was found."""
    logged = Loud()
    logging.getLogger().addHandler(logged)
    structlog.configure(processors=[loud])
    failed = []
    share = seconds / sum(target.share for target in targets)
    for target in targets:
        until = time.monotonic() + share * target.share
        number = 0
        try:
            while number == 0 or time.monotonic() < until:
                batch(target, start + number, logged)
                number += 1
        except Exception:  # noqa: BLE001 - whatever it is, it is what we look for
            failed.append(target.name)
            say(f"{target.name}: FOUND with --seed {start + number} --only '{target.name}'\n{traceback.format_exc()}")
        else:
            say(f"{target.name:<20} {number * BATCH:7d} inputs, nothing found")
    return failed


def main(arguments: argparse.Namespace) -> int:
    """0 when nothing was found."""
    start = secrets.randbits(32) if arguments.seed == "random" else int(arguments.seed)
    targets = [target for target in every() if arguments.only in (None, target.name)]
    say(f"seed {start}, {arguments.seconds:g} s for {len(targets)} targets")
    began = time.monotonic()
    failed = fuzz(targets, arguments.seconds, start)
    say(
        f"fuzzed for {time.monotonic() - began:.0f} s: "
        + (f"FOUND in {', '.join(failed)}" if failed else "nothing found")
    )
    return 1 if failed or not targets else 0


def say(text: str) -> None:
    """A line for whoever waits."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", default="0", help="a number, or random")
    parser.add_argument("--only", help="a target's name")
    sys.exit(main(parser.parse_args()))
