"""`runfeed flush`: sends what workers of this machine left behind when they died."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import deque
from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING

from ..api import Api
from ..config import base_url, given, read_url
from ..courier import Courier, Lane
from ..journal import Journal
from ..key import Key
from ..store import leftovers, paths
from ..verdict import What, jittered, window
from . import add_url

if TYPE_CHECKING:
    from . import Subparsers

AT_ONCE = 100  # journals: each is an open file
TIMEOUT_SECONDS = 60.0  # 256 MiB, which is the most that one worker leaves, take about that


def add(subparsers: Subparsers) -> None:
    """The command's arguments."""
    parser = subparsers.add_parser("flush", help="send what dead workers left", description=__doc__)
    parser.add_argument("--spill", help="the journals' directory (RUNFEED_SPILL, or this user's own)")
    parser.add_argument(
        "--timeout", type=float, default=TIMEOUT_SECONDS, metavar="SECONDS", help="when to give up (60)"
    )
    add_url(parser)
    parser.set_defaults(call=call)


def call(said: argparse.Namespace) -> int:
    """0 when nothing is left, but for what living workers send themselves; else 1."""
    environ = os.environ
    only = None if said.url is None else base_url(said.url)
    directory, _ = given(said.spill, "spill", environ, "RUNFEED_SPILL")
    flush = Flush(read_url(said.url, environ), Key(None, environ))
    deadline = time.monotonic() + said.timeout
    left, full = 0, True
    try:
        while full and not left:
            found = list(islice(leftovers(directory, lambda run, age: only in (None, run.url)), AT_ONCE))
            full = len(found) == AT_ONCE
            left = flush.send(found, deadline)
    finally:
        flush.close()
    living = len(paths(directory)) - left
    if living > 0:
        print(f"{living} journals are left alone: their workers live, or they are for another URL")
    return 1 if left else 0


class Flush:
    """Sends journals, over one connection to each URL.

    The key goes to the URL that it is for alone: a journal may name another.
    """

    def __init__(self, url: str, key: Key) -> None:
        self._url = url
        self._key = key
        self._couriers: dict[str, Courier] = {}
        self._why: dict[str, str] = {}  # by run_id: why it was not sent, the last time

    def send(self, journals: Iterable[Journal], deadline: float) -> int:
        """How many are left when nothing more can be sent, or at time.monotonic() `deadline`; stderr says why."""
        runs: dict[tuple[str, str], deque[Journal]] = {}
        for one in journals:
            runs.setdefault((one.run.url, one.run.run_id), deque()).append(one)
        waiting = list(runs.values())
        tries = 0
        while waiting:
            waiting = [queue for queue in waiting if self._drain(queue, deadline) is What.AGAIN]
            tries += 1
            pause = jittered(window(tries))
            if waiting and time.monotonic() + pause > deadline:
                break
            time.sleep(pause if waiting else 0)
        for (url, run_id), queue in runs.items():
            if queue:
                sys.stderr.write(f"runfeed: run {run_id} of {url} is not sent: {self._why[run_id]}\n")
        return sum(map(len, runs.values()))

    def close(self) -> None:
        """Closes the connections."""
        for courier in self._couriers.values():
            courier.close()

    def _drain(self, queue: deque[Journal], deadline: float) -> What:
        """Sends a run's journals in order; how that ended."""
        while queue:
            one = queue[0]
            lane = Lane(one.run, one)
            while lane.load():
                verdict = self._courier(one.run.url).step(lane)
                self._why[one.run.run_id] = verdict.why or "there was no time for all of it"
                if verdict.what in (What.AGAIN, What.LATER):
                    return verdict.what
                if time.monotonic() > deadline:
                    return What.AGAIN
            queue.popleft().remove()
            print(f"run {one.run.run_id}: sent {lane.sent} events")
        return What.STORED

    def _courier(self, url: str) -> Courier:
        if url not in self._couriers:
            self._couriers[url] = Courier(Api(url, self._key if url == self._url else None))
        return self._couriers[url]
