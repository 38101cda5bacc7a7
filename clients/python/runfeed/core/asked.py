"""The requests that are on their way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final

from .actions import Action, Request
from .protocol import Cause, may_filter
from .subscription import Subscription

LOADS: Final = 4  # histories read at a time
LOAD_EVENTS: Final = 2_000  # events in a page of history: some 500 KB, read without a pause that shows
POLL_EVENTS: Final = 1_000
NOBODY: Final[frozenset[Subscription]] = frozenset()


@dataclass(slots=True)
class Asked:
    """One of them.

    Fields:
        subscription: whose history it reads; None: a poll.
        scope: whom a poll asks for.
    """

    request: Request
    subscription: Subscription | None
    scope: AbstractSet[Subscription]


class Requests:
    """All of them. act: takes what is to be asked."""

    def __init__(self, act: Callable[[Action], None]) -> None:
        self._asked: dict[int, Asked] = {}
        self._act = act
        self._last = 0

    @property
    def loads(self) -> int:
        """Histories that are being read."""
        return len(self._asked) - (1 if self.polling else 0)

    @property
    def next(self) -> int:
        """The id of the next request."""
        return self._last + 1

    @property
    def polling(self) -> bool:
        """There is one poll at a time."""
        return any(asked.subscription is None for asked in self._asked.values())

    def load(self, subscription: Subscription, epoch: str | None) -> None:
        """Asks for the next page of its history."""
        position = subscription.position
        limit = 1 if position is None else LOAD_EVENTS
        self._ask(Request(0, subscription.key or None, position, epoch if position else None, limit), subscription)

    def poll(self, scope: Sequence[Subscription], after: int | None, epoch: str | None, cause: Cause) -> None:
        """Asks for what those in scope may lack."""
        runs = tuple(each.key for each in scope)
        only = runs if may_filter(runs) else None
        self._ask(Request(0, None, after, epoch, POLL_EVENTS, only, cause), None, frozenset(scope))

    def answered(self, number: int) -> Asked | None:
        """An answer came; what it answers, or None when nobody waits for it any more."""
        asked = self._asked.pop(number, None)
        if asked is not None and asked.subscription is not None:
            asked.subscription.loading = None
        return asked

    def forget(self, subscription: Subscription | None = None) -> None:
        """Whatever is answered to this one is of no interest any more; None: to all."""
        self._asked = {
            number: asked
            for number, asked in self._asked.items()
            if subscription is not None and asked.subscription is not subscription
        }

    def forget_poll(self) -> None:
        """The same of the poll."""
        self._asked = {number: asked for number, asked in self._asked.items() if asked.subscription is not None}

    def _ask(
        self, request: Request, subscription: Subscription | None, scope: AbstractSet[Subscription] = NOBODY
    ) -> None:
        self._last += 1
        request.id = self._last
        if subscription is not None:
            subscription.loading = request.id
        self._asked[request.id] = Asked(request, subscription, scope)
        self._act(request)
