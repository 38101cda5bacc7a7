"""Callers of an HTTP server, each with one request at a time on a connection of its own.

    python -m tests.bench.call < PLAN

The plan is one line of JSON; see `Plan`. One line of JSON says what was answered.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import uvloop

from tests.bench.watch import percentile, say
from tests.support.pacing import passing


@dataclass
class Plan:
    """What to ask.

    Fields:
        port: on 127.0.0.1.
        requests: whole requests, head and body; caller n sends number n, n + callers, ... and begins again.
        callers: how many ask at the same time.
        seconds: for how long.
        warm: seconds before that whose answers do not count.
        rate: requests a second of all callers together; 0: each asks again as soon as it was answered.
    """

    port: int
    requests: list[str]
    callers: int = 1
    seconds: float = 3.0
    warm: float = 0.5
    rate: float = 0.0


@dataclass
class Tally:
    """What was answered while it counted."""

    statuses: Counter[int] = field(default_factory=Counter)
    bytes: int = 0
    latencies: list[int] = field(default_factory=list)


class Caller(asyncio.Protocol):
    """One connection."""

    def __init__(self, plan: Plan, number: int, raw: list[bytes], tally: Tally, counts: tuple[float, float]) -> None:
        self._plan, self._next, self._raw, self._tally = plan, number, raw, tally
        self._from, self._until = counts
        self._due = time.monotonic()
        self._data = bytearray()
        self._need = -1  # bytes of the whole answer; -1: not known yet, -2: chunked
        self._sent = 0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        """Asks at once."""
        self._transport = transport
        self._ask()

    def connection_lost(self, exc: Exception | None) -> None:
        """An answer that is owed is an error: status 0."""
        if not self.done.done():
            self._tally.statuses[0] += 1
            self.done.set_result(None)

    def data_received(self, data: bytes) -> None:
        """A part of an answer."""
        whole = self._data
        whole += data
        if self._need == -1 and (end := whole.find(b"\r\n\r\n")) >= 0:
            self._need = self._length(bytes(whole[:end]).lower(), end + 4)
        if self._need >= 0:
            if len(whole) >= self._need:
                self._answered()
        elif self._need == -2 and whole.endswith(b"0\r\n\r\n"):
            self._answered()

    @staticmethod
    def _length(head: bytes, start: int) -> int:
        at = head.find(b"content-length:")
        if at >= 0:
            return start + int(head[at + 15 :].split(b"\r\n", 1)[0])
        return -2 if b"chunked" in head else start

    def _answered(self) -> None:
        now = time.monotonic()
        if now >= self._from:
            self._tally.statuses[int(self._data[9:12])] += 1
            self._tally.bytes += len(self._data)
            self._tally.latencies.append(time.monotonic_ns() - self._sent)
        self._data.clear()
        self._need = -1
        if now >= self._until:
            self.done.set_result(None)
            self._transport.close()
        elif self._plan.rate:
            self._due += self._plan.callers / self._plan.rate
            asyncio.get_running_loop().call_later(max(0.0, self._due - now), self._ask)
        else:
            self._ask()

    def _ask(self) -> None:
        self._sent = time.monotonic_ns()
        self._transport.write(self._raw[self._next])
        self._next = (self._next + self._plan.callers) % len(self._raw)


async def call(plan: Plan) -> Tally:
    """All callers, until the time is over."""
    tally = Tally()
    begin = time.monotonic() + plan.warm
    raw = [request.encode() for request in plan.requests]
    loop = asyncio.get_running_loop()
    callers = []
    for number in range(plan.callers):
        first = number % len(raw)
        counts = (begin, begin + plan.seconds)
        if plan.rate:  # spread over the first turn of all
            await passing(1 / plan.rate)
        _, caller = await loop.create_connection(
            lambda first=first, counts=counts: Caller(plan, first, raw, tally, counts),  # type: ignore[misc]
            "127.0.0.1",
            plan.port,
        )
        callers.append(caller)
    await asyncio.gather(*(caller.done for caller in callers))
    return tally


def post(path: str, body: object) -> str:
    """A whole POST of JSON."""
    text = json.dumps(body, separators=(",", ":"))
    head = (f"POST {path} HTTP/1.1", "Host: bench", "Content-Type: application/json", f"Content-Length: {len(text)}")
    return "\r\n".join((*head, "", text))


def get(path: str, *headers: str) -> str:
    """A whole GET."""
    return "\r\n".join((f"GET {path} HTTP/1.1", "Host: bench", *headers, "", ""))


def main() -> None:
    """One plan."""
    plan = Plan(**json.loads(sys.stdin.readline()))
    tally = uvloop.run(call(plan))
    answered = sum(tally.statuses.values())
    good = sum(count for status, count in tally.statuses.items() if 200 <= status < 400)
    say({
        "answered": answered, "failed": answered - good, "a_second": round(good / plan.seconds, 1),
        "p50_ms": percentile(tally.latencies, 0.5), "p99_ms": percentile(tally.latencies, 0.99),
        "bytes": tally.bytes,
    })  # fmt: skip


if __name__ == "__main__":
    main()
