"""The stream that brings events: when to open it, which kind, and what its end means."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, Literal

from .protocol import CLOSE_CODES, Cause, Comeback, Stream

START: Final = 500  # ms for the first history, which says where the stream is to begin
FIRST_WAIT: Final = 500  # ms: the ceiling of the first random wait; it doubles
LONGEST_WAIT: Final = 30_000  # ms
DOUBLINGS: Final = 16  # beyond them the ceiling is the longest wait in any case
OPEN_WITHIN: Final = 10_000  # ms for a stream to open; the hub itself gives up on its history after 1 s
HEARTBEAT: Final = 25_000  # ms between two signs of life of the hub
SILENT: Final = 2.5 * HEARTBEAT  # ms without any: the connection is dead, whatever the socket says
STALE: Final = 1.2 * HEARTBEAT  # ms without any: one is overdue
STABLE: Final = 10_000  # ms that a stream must have been open for its end to be nobody's fault
FAILURES: Final = 2  # attempts in a row that never opened, until the other kind is tried

LinkState = Literal["idle", "waiting", "connecting", "open"]
_RETRY: Final = re.compile(r"retry in ([0-9]{1,7}) ms")


def backoff(tries: int, chance: float) -> float:
    """The wait before try n (from 0): anything up to a ceiling that doubles, so that many clients spread out."""
    return chance * min(LONGEST_WAIT, FIRST_WAIT << min(tries, DOUBLINGS))


def retry_in(reason: str) -> int | None:
    """ms that a close's reason asks to wait: `retry in 1234 ms`."""
    match = _RETRY.search(reason)
    return int(match[1]) if match else None


class Link:
    """kinds: what this place can open, the best first; none: only polls.

    Attributes:
        kind: of the stream that is open, or was tried last.
        ever_open: one was, once.
        retry_at: when the next try is, while waiting.
        told: ms that the hub asked to wait, before it closed.
    """

    def __init__(self, kinds: Sequence[Stream]) -> None:
        self.state: LinkState = "idle"
        self.kind: Stream = "websocket"
        self.ever_open = False
        self.retry_at = 0.0
        self.told: float | None = None
        self._kinds = kinds
        self._since = 0.0
        self._heard = 0.0
        self._beats = False  # the hub sends heartbeats
        self._tries = 0
        self._failures = 0

    def __repr__(self) -> str:
        return f"<Link {self.state} {self.kind} {self._tries} tries {self._failures} failures>"

    @property
    def live(self) -> bool:
        """A stream is open, or about to be."""
        return self.state in ("open", "connecting")

    @property
    def due(self) -> float | None:
        """When something is due, or None."""
        if not self._kinds or self.state == "idle":
            return None
        if self.state == "waiting":
            return self.retry_at
        if self.state == "connecting":
            return self._since + OPEN_WITHIN
        return self._heard + SILENT if self._beats else None

    @property
    def cause(self) -> Cause:
        """Why a poll that is due is made."""
        if self.state == "open":
            return "ws_idle"
        return "ws_down" if self.ever_open else "ws_never"

    def want(self, now: float) -> None:
        """A stream is wanted, from this moment on."""
        if self.state == "idle":
            self._wait(now)

    def leave(self) -> None:
        """No stream is wanted any more."""
        self.state = "idle"
        self.ever_open = False

    def connect(self, now: float) -> Stream:
        """A try begins; its kind."""
        self.state = "connecting"
        self._since = now
        self.told = None
        self.kind = self._kinds[self._failures // FAILURES % len(self._kinds)]
        return self.kind

    def opened(self, now: float, beats: bool) -> None:
        """The stream is open: events come. beats: it will show signs of life."""
        self.state = "open"
        self._since = now
        self._beats = beats
        self.ever_open = True
        self._failures = 0
        self.heard(now)

    def heard(self, now: float) -> None:
        """A byte came."""
        self._heard = now

    def is_dead(self, now: float) -> bool:
        """The stream said nothing for so long that it is dead; or did not open in time."""
        return self.live and self.due is not None and now >= self.due

    def is_stale(self, now: float) -> bool:
        """After a machine slept: a heartbeat is overdue, and the stream is not waited for."""
        return self.state == "open" and self._beats and now - self._heard > STALE

    def hurry(self, now: float) -> None:
        """There is a reason to think that a try succeeds now: do not wait."""
        if self.state != "waiting":
            return
        self._tries = self._failures = 0  # the best kind may open again, too
        self._wait(now)

    def lost(self, now: float, code: int, reason: str, chance: float) -> Comeback:
        """The stream ended. What that means; the next try is set, whatever it means."""
        if self.state == "open" and now - self._since >= STABLE:
            self._tries = 0
        asked = self.told if self.told is not None else retry_in(reason)
        if self.state == "connecting" and asked is None:
            self._failures += 1  # who asks us to wait was reached
        self._wait(now + (backoff(self._tries, chance) if asked is None else asked))
        self._tries += asked != 0  # else it was to be opened anew, and nothing failed
        return CLOSE_CODES.get(code, "resume")

    def expired(self, now: float, chance: float) -> None:
        """Its token ran out, which is no failure: the same kind is tried at once, unless this happens repeatedly."""
        stable = now - self._since >= STABLE
        if stable:
            self._tries = 0
        self._wait(now + (backoff(self._tries - 1, chance) if self._tries else 0))
        self._tries += 0 if stable else 1
        self._failures = FAILURES * self._kinds.index(self.kind)

    def _wait(self, until: float) -> None:
        self.state = "waiting"
        self.retry_at = until
