"""What the machine asks for, and what it is answered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from .protocol import Cause, RunEvent, RunfeedError, Status, Stream, text, whole


@dataclass(slots=True)
class Connect:
    """Open a stream, with this cursor if it is not None."""

    kind: Stream
    after: int | None
    epoch: str | None


@dataclass(slots=True)
class Disconnect:
    """Close the stream; what it still says is of no interest."""


@dataclass(slots=True)
class Request:
    """Ask the API for a page of history.

    Fields:
        run: this run's history; None: the feed's.
        after: None: only where the feed is.
        limit: events in a page.
        runs: of the feed: these runs only.
        cause: set on a poll; what has none is a history that was never read.
    """

    id: int
    run: str | None
    after: int | None
    epoch: str | None
    limit: int
    runs: tuple[str, ...] | None = None
    cause: Cause | None = None

    def is_last(self, body: dict[str, Any]) -> bool:
        """Whether nothing is left behind this page of a history."""
        if self.run is None:
            return (whole(body.get("next")) or 0) >= (whole(body.get("head")) or 0)
        events = events_of(body)
        return len(events) < self.limit or events[-1].get("seq") == body.get("last_seq")


@dataclass(slots=True)
class Give:
    """Hand an event to the watchers of `to`: a run's id, or "" for those of the whole feed."""

    to: str
    event: RunEvent


@dataclass(slots=True)
class Reset:
    """What they were given is void: the numbering is another. `said` is the control frame that says it."""

    to: str
    said: dict[str, Any]


@dataclass(slots=True)
class Loaded:
    """They have the history, and are given what comes as it comes. status: what the server says of the run."""

    to: str
    status: Status | None


@dataclass(slots=True)
class Problem:
    """Something is wrong with this one: it may mend itself."""

    to: str
    error: RunfeedError


@dataclass(slots=True)
class Renew:
    """The token was refused, or runs out: bring another with the next request."""


@dataclass(slots=True)
class Authenticate:
    """Send the token on the stream that is open, once it is there; if none comes, nothing."""


@dataclass(slots=True)
class Fail:
    """All is over: the same would be refused again."""

    error: RunfeedError


Action = Connect | Disconnect | Request | Give | Reset | Loaded | Problem | Renew | Authenticate | Fail


@dataclass(slots=True)
class Answer:
    """What a request came to. status: 0 when no answer came. wait: `Retry-After`, in ms."""

    status: int
    body: dict[str, Any] | None
    wait: float = 0

    @property
    def error(self) -> RunfeedError:
        """What it says, when it is not what was asked for."""
        said = self.body or {}
        code = text(said.get("code")) or ("http" if self.status else "unreachable")
        detail = text(said.get("detail")) or (f"HTTP {self.status}" if self.status else "no answer")
        return RunfeedError(code, detail, self.status)


def events_of(body: dict[str, Any]) -> list[RunEvent]:
    """The events of a page."""
    events = body.get("events")
    return events if isinstance(events, list) else []


def status_of(body: dict[str, Any]) -> Status | None:
    """The run's status, where a history says it."""
    return cast("Status | None", text(body.get("status")))
