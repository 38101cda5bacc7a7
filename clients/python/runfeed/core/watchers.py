"""Everybody who watches: whom an event is for, and whose history is to be read next."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet

from .actions import Action, Give, Loaded, Reset
from .protocol import CLOSED, RunEvent, Status
from .subscription import FEED, Subscription


class Watchers:
    """act: takes what is to be handed to the application, in order."""

    def __init__(self, act: Callable[[Action], None]) -> None:
        self._all: dict[str, Subscription] = {}
        self._act = act

    def __len__(self) -> int:
        return len(self._all)

    def __contains__(self, key: str) -> bool:
        return key in self._all

    def __iter__(self) -> Iterator[Subscription]:
        return iter(self._all.values())

    def add(self, subscription: Subscription) -> None:
        """One more."""
        self._all[subscription.key] = subscription

    def remove(self, key: str) -> Subscription | None:
        """One less; it, if it was there."""
        return self._all.pop(key, None)

    def active(self) -> list[Subscription]:
        """Those to whom something may still happen."""
        return [each for each in self if not each.ended]

    def unread(self) -> list[Subscription]:
        """Those whose history is to be read and is not on its way."""
        return [each for each in self if not each.loaded and each.loading is None]

    def spread(self, event: RunEvent) -> None:
        """An event came: to everybody whom it is for and who has not had it."""
        for each in self:
            if each.wants(event) and each.take(event):
                self.give(each, event)

    def give(self, to: Subscription, event: RunEvent) -> None:
        """Hands it on."""
        self._act(Give(to.key, event))

    def complete(self, to: Subscription, head: int, status: Status | None) -> None:
        """A history was read up to an id: what waited for it follows, or it has to be read on."""
        to.ended = to.ended or status in CLOSED
        waited = to.complete(head)
        if waited is None:
            return
        for event in waited:
            self.give(to, event)
        self._act(Loaded(to.key, status))

    def missing(self, to: Subscription, due: float) -> None:
        """There is no history, or none for us: what there will be comes by the stream and the polls.

        due: when it is asked for again, if something has come already.
        """
        to.missing = to.key != FEED
        to.due = due
        self.complete(to, to.needs, None)
        if to.missing:
            to.due = 0  # else at once

    def again(self, now: float, needs: int) -> None:
        """A stream is opened, with a token that may show more than the one before: what was missing may be there."""
        for each in self:
            if each.missing:
                each.due = now
            each.again(needs)

    def anchor(self, now: float, head: int, epoch: str | None) -> None:
        """This is where the feed is; everything behind it is for histories to bring."""
        for each in self:
            if each.position is None:
                if each.untold:
                    self._tell_reset(each, head, epoch)
                self.complete(each, head, None)
            elif not each.loaded:
                each.reload(head, each.due if each.failures > 0 else now)

    def reload(self, now: float, needs: int, other_than: AbstractSet[Subscription]) -> None:
        """What everybody but these was given may lack something up to this id."""
        for each in self:
            if each not in other_than and not each.ended:
                each.reload(needs, now)

    def reset(self, now: float, head: int | None, epoch: str | None) -> None:
        """Everything is void, for all. A feed whose head nobody knows is told later.

        Whoever is told reads anew what it wants, and then must miss nothing: what is stored between that moment and
        the one in which the head is heard would be before the head, and behind what was read.
        """
        for each in self:
            each.reset(head, now)
            if not each.untold:
                self._tell_reset(each, head, epoch)
            if each.key == FEED and each.loaded:
                self._act(Loaded(FEED, None))

    def _tell_reset(self, each: Subscription, head: int | None, epoch: str | None) -> None:
        self._act(Reset(each.key, {"control": True, "type": "reset", "epoch": epoch, "head": head}))
