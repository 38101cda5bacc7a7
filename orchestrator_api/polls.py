"""Polls as a leak detector: whether a client's poll brought what a socket should have brought before.

Pure: the time is an argument. docs/protocol.md, Polls, has it in words.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from orchestrator_api.errors import BadRequest

CAUSES = ("ws_never", "ws_gap", "ws_idle", "ws_down", "forced")
OUTCOMES = ("empty", "fresh", "revealed", "refused")
REVEALED_S = 1.0  # seconds: a frame takes milliseconds to its socket, so one that is older did not take that way

# An answer with events, as far as the first one's recorded_at. What stands before that is of our own making and holds
# no quotation mark but those of names and values, so its first `"recorded_at":` is the frame's own. Events are in the
# order of their ids: the first is the oldest, and the others need not be looked at.
FIRST = re.compile(rb'"events":\[\{.*?"recorded_at":([0-9.e+-]+)')


def cause(value: str) -> str:
    """Returns the cause that a client named. Raises BadRequest (400)."""
    if value not in CAUSES:
        raise BadRequest("cause", f"must be one of {', '.join(CAUSES)}", status=400)
    return value


def outcome(answer: bytes, asked_at: float) -> str:
    """Returns what a poll came to. answer: its body, or how that begins. asked_at: unix seconds, of the request."""
    first = FIRST.search(answer)
    if first is None:
        return "empty"
    return "revealed" if asked_at - float(first[1]) >= REVEALED_S else "fresh"


@dataclass(frozen=True, slots=True)
class Poll:
    """A request that said why it was made. count: takes the cause and the outcome, once."""

    cause: str
    asked_at: float
    count: Callable[[str, str], None]

    def brought(self, answer: bytes) -> None:
        """It was answered. answer: the body, or how that begins; nothing when it is a 304."""
        self.count(self.cause, outcome(answer, self.asked_at))

    def refused(self) -> None:
        """It is answered 4xx or 5xx."""
        self.count(self.cause, "refused")
