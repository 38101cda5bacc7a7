"""What one run's or the whole feed's watchers have been given, and what waits for them."""

from __future__ import annotations

from typing import Final

from .protocol import TERMINAL, RunEvent, whole

WAITING: Final = 5_000  # events kept while a history is read; beyond that it is read again
FEED: Final = ""  # the key of the subscription to all of the user's runs; others are a run's id


class Subscription:
    """One of them.

    Attributes:
        position: it has been given everything up to this id; None: it begins with whatever comes next.
        loaded: it has its history, and gets events as they come.
        needs: up to this id a history must go, before what comes live follows on it.
        loading: the request that reads its history now.
        due, failures: when its history may be asked for, ms; and how often that failed.
        ended: it had its terminal event: nothing is polled for it.
        untold: its numbering is another, and that is told once it is known where it goes on.
        missing: its history was not to be had: it may have none yet, or none that the token of then showed.
    """

    def __init__(self, key: str, position: int | None, needs: int, due: float) -> None:
        self.key = key
        self.position = self._start = position
        self.loaded = False
        self.needs = needs
        self.loading: int | None = None
        self.due = due
        self.failures = 0
        self.ended = False
        self.untold = False
        self.missing = False
        self._waiting: list[RunEvent] = []

    def __repr__(self) -> str:
        state = "loaded" if self.loaded else f"needs {self.needs}"
        return f"<Subscription {self.key or 'feed'} {self.position} {state} {len(self._waiting)} waiting>"

    def wants(self, event: RunEvent) -> bool:
        """Whether it is one of ours."""
        return self.key in (FEED, event["run_id"])

    def take(self, event: RunEvent) -> bool:
        """An event of ours. Whether it is to be handed on now: not one that was, and not before its history."""
        self._look(event)
        number = whole(event.get("id"))
        if number is None:
            return True
        if event.get("seq") == 1:
            self.missing = False
        else:
            self.again(number)  # there is a history before it
        if self.position is not None and number <= self.position:
            return False
        if not self.loaded:
            self._wait(event, number)
            return False
        self.position = number
        return True

    def read(self, event: RunEvent) -> bool:
        """An event of its history. Whether it is new."""
        self._look(event)
        number = whole(event.get("id")) or 0
        if self.position is not None and number <= self.position:
            return False
        self.position = number
        return True

    def complete(self, head: int) -> list[RunEvent] | None:
        """Its history has been read up to an id. The events that waited for it, if now they follow on it; else None."""
        self.position = max(self.position or 0, head)
        if self.position < self.needs:
            return None
        self.loaded = True
        waiting, self._waiting = self._waiting, []
        return [event for event in waiting if self.take(event)]

    def reload(self, needs: int, due: float) -> None:
        """Its history has to be read on, to this id at least, from this moment on."""
        self.needs = max(self.needs, needs)
        self.loaded = False
        self.due = due

    def again(self, needs: int) -> None:
        """What was missing is to be read from where it begins, to this id at least: it may be there by now."""
        if self.missing:
            self.missing = False
            self.position = self._start
            self.reload(needs, self.due)

    def reset(self, head: int | None, now: float) -> None:
        """Everything it was given is void. It begins anew: a run at its beginning, the feed behind the head."""
        self.position = self._start = head if self.key == FEED else 0
        self.missing = False
        self.untold = self.position is None
        self.loaded = self.key == FEED and head is not None
        self.needs = head or 0
        self.loading = None
        self.ended = False
        self.due = now
        self.failures = 0
        self._waiting = []

    def _look(self, event: RunEvent) -> None:
        if event["type"] in TERMINAL and self.key != FEED:
            self.ended = True

    def _wait(self, event: RunEvent, number: int) -> None:
        if len(self._waiting) < WAITING:
            self._waiting.append(event)
            return
        self._waiting = []
        self.needs = number  # what was forgotten is in the history
