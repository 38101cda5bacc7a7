"""A client of one user's feed: what it knows, and what it does next. It opens, asks and waits for nothing itself.

One cursor goes through everything. A stream brings events from the cursor on; a poll brings what is behind it; each
subscription reads its history once, up to where the stream is, and is then given every event once and in order.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

from .actions import Action, Answer, Connect, Disconnect, Fail, Problem, Request, events_of, status_of
from .asked import LOADS, Asked, Requests
from .link import START, Link, backoff
from .order import HOLE, Order
from .pace import Pace
from .protocol import Cause, RunEvent, RunfeedError, Stream, Transport, parse_object, text, whole
from .renewal import Renewal
from .subscription import FEED, Subscription
from .watchers import Watchers


class Machine:
    """poll_interval: ms of silence before a poll. kinds: what can be opened here, the best first. chance: 0 to 1.

    Attributes:
        epoch: of the numbering that all is in; None: nobody has said.
        failed: why all is over.
        polls: those that were answered.
    """

    def __init__(
        self,
        poll_interval: float = 4_000,
        kinds: Sequence[Stream] = ("websocket", "sse"),
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.link = Link(kinds)
        self.epoch: str | None = None
        self.failed: RunfeedError | None = None
        self.polls = 0
        self._order = Order()
        self._pace = Pace(poll_interval)
        self._chance = chance
        self._actions: list[Action] = []
        self._watchers = Watchers(self._act)
        self._requests = Requests(self._act)
        self._renewal = Renewal(self._requests, self._act)
        self._start_by = 0.0  # until when the first history is waited for
        self._resumes = True  # this hub has a history
        self._wider = False  # more may be shown by now than the stream shows: somebody came, or the hub said so
        self._anywhere = False  # the stream was opened without a cursor
        self._poll_brought = False  # an earlier page of this poll had events

    def __repr__(self) -> str:
        return f"<Machine {self.cursor} {self.link!r} {len(self._watchers)} watched>"

    def actions(self) -> list[Action]:
        """What is to be done since this was last asked, in order."""
        actions, self._actions = self._actions, []
        return actions

    @property
    def cursor(self) -> int | None:
        """Everything of the feed up to this id has come; None: nobody knows yet where the feed is."""
        return self._order.cursor

    @property
    def transport(self) -> Transport:
        """How events come."""
        if self.link.state == "open":
            return self.link.kind
        return "poll" if self.polls and self.failed is None else "none"

    @property
    def due(self) -> float | None:
        """When `tick` is to be called next, or None."""
        if self.failed is not None:
            return None
        waits = self.link.state == "waiting" and self.link.due is not None
        times = [self._connect_at() if waits else self.link.due]
        if self._may_poll():
            times += [self._pace.due, self._order.hole_at]
        if self._requests.loads < LOADS:
            times += [each.due for each in self._watchers.unread()]
        return min((time for time in times if time is not None), default=None)

    # What the application wants.

    def watch(self, now: float, key: str, after: int | None) -> None:
        """after: begin behind this id; None: a run from its beginning, the feed with what comes next."""
        if self.failed is not None or key in self._watchers:
            return
        self._start_by = self._start_by if len(self._watchers) else now + START
        position = after if key == FEED else after or 0
        subscription = Subscription(key, position, self.cursor or 0, now)
        self._watchers.add(subscription)
        if position is None and self.cursor is not None:
            self._watchers.complete(subscription, self.cursor, None)
        self.link.want(now)
        self._wider = self.link.live
        self._pace.heard(now)
        self.tick(now)

    def unwatch(self, now: float, key: str) -> None:
        """It is of no interest any more."""
        subscription = self._watchers.remove(key)
        if subscription is not None:
            self._requests.forget(subscription)
        if len(self._watchers):
            return self.tick(now)
        self._leave()
        self._order.begin(None)

    def refresh(self, now: float) -> None:
        """Ask now whether anything is missing."""
        self._poll("forced")
        self.tick(now)

    def wake(self, now: float) -> None:
        """The machine slept, or there is a network again."""
        if self.link.is_stale(now):
            self._lost(now, 4410, "")
        self.link.hurry(now)
        self.tick(now)

    # What the stream says.

    def opened(self, now: float) -> None:
        """It is open, and nothing will be said about that: no control frames are spoken here."""
        if self.link.state == "connecting":
            self._open(now, None, self.link.kind == "sse")
        self.tick(now)

    def message(self, now: float, frame: str) -> None:
        """A text that came: an event or a control frame. Anything else is ignored, as the contract has it."""
        said = parse_object(frame)
        if said is None or not self.link.live:
            return
        self.link.heard(now)
        if said.get("control") is True and "username" not in said:
            self._control(now, said)
        elif isinstance(said.get("run_id"), str) and isinstance(said.get("type"), str):
            self._pace.news(now)
            self._arrive(now, said)
        self.tick(now)

    def beat(self, now: float, head: int | None) -> None:
        """A comment of the stream's: it lives, and has been given all up to `head`."""
        if not self.link.live:
            return
        self.link.heard(now)
        self._pace.heard(now)
        if head is not None:
            self._head(now, head)
        self.tick(now)

    def closed(self, now: float, code: int, reason: str) -> None:
        """The stream ended."""
        if self.link.live:
            self._lost(now, code, reason, disconnect=False)
            self.tick(now)

    def _control(self, now: float, said: dict[str, Any]) -> None:
        if said.get("type") == "closing":
            self.link.told = whole(said.get("retry_in_ms"))
            self._resumes = self._resumes and said.get("reason") != "no_history"
            return
        if said.get("type") == "auth_expiring":
            return self._renewal.expiring()
        if said.get("type") == "authenticated":
            self._wider = said.get("wider") is True
            return self._renewal.authenticated()
        if said.get("type") == "token_expired":
            return self._expired(now)
        head, epoch, told = whole(said.get("head")), text(said.get("epoch")), said.get("type") == "reset"
        if told or self._is_foreign(epoch):
            head = head if told or self._anywhere else None  # a replay's may be one of the numbering before
            self._reset(now, epoch, head, stays=head is not None)
        self.epoch = epoch or self.epoch
        if said.get("type") == "connected" and self.link.live:  # that reset may have closed it
            self._open(now, head, True)
        self._pace.heard(now)
        if head is not None:
            self._head(now, head)
            # Where it begins beyond what has come, a poll has to bring what is between: it is heard like any other.
            self._order.partial |= said.get("partial") is True and head <= (self.cursor or 0)

    def _expired(self, now: float) -> None:
        """A stream on which nothing can be sent ends with its token."""
        self._act(Disconnect())
        self._renewal.over()
        self.link.expired(now, self._chance())

    def _open(self, now: float, head: int | None, beats: bool) -> None:
        again = self.link.ever_open
        self.link.opened(now, beats)
        self._renewal.opened()
        self._pace.heard(now)
        if not self._anywhere or self.cursor is None:
            return
        # It began where it is, and we were somewhere already. What is between a poll brings; the first time, that is
        # a history that nobody has read yet, and no loss.
        if again and head is None:
            self._poll("ws_gap")
        elif not again and (head is None or head > self.cursor):
            self._order.begin(head)
            for each in self._watchers:
                each.reload(head or 0, now)

    def _anchor(self, now: float, head: int) -> None:
        """This is where the feed is; everything behind it is for histories to bring."""
        self._order.begin(head)
        self._watchers.anchor(now, head, self.epoch)

    def _head(self, now: float, head: int) -> None:
        """The hub says how far this stream has come: further than we are means that something was lost on the way."""
        if self.cursor is None:
            return self._anchor(now, head)
        self._order.told(head)
        self._order.watch(now + HOLE)

    def _arrive(self, now: float, event: RunEvent) -> None:
        number = whole(event.get("id"))
        if number is None:
            return self._watchers.spread(event)
        if self.cursor is None:
            self._anchor(now, number - 1)
        for each in self._order.arrive(number, event):
            self._watchers.spread(each)
        self._order.watch(now + HOLE)

    # What requests come to.

    def answered(self, now: float, number: int, answer: Answer) -> None:
        """A request's answer came, or none."""
        asked = self._requests.answered(number)
        if asked is None:
            return
        if answer.status == 200 and answer.body is not None:
            self._good(now, asked, answer.body)
        else:
            self._bad(now, asked, answer)
        self.tick(now)

    def _good(self, now: float, asked: Asked, body: dict[str, Any]) -> None:
        epoch = text(body.get("epoch"))
        if self._is_foreign(epoch):
            return self._reset(now, epoch, whole(body.get("head")))
        self.epoch = epoch or self.epoch
        self._renewal.answered(asked.request.id)
        if asked.subscription is None:
            return self._polled(now, asked, body)
        self._loaded(now, asked.subscription, asked.request, body)

    def _loaded(self, now: float, to: Subscription, request: Request, body: dict[str, Any]) -> None:
        to.failures = 0
        self._pace.heard(now)
        events, head = events_of(body), whole(body.get("head")) or 0
        if request.after is not None:
            for event in events:
                if to.read(event):
                    self._watchers.give(to, event)
            if not request.is_last(body):
                return  # the next page is due at once
        if self.cursor is None:
            self._anchor(now, head)
        if not to.loaded and request.after is not None:  # an answer without a history only says where the feed is
            self._watchers.complete(to, head, status_of(body))
            to.due = now if events else now + HOLE  # not even what the stream told of is there yet

    def _polled(self, now: float, asked: Asked, body: dict[str, Any]) -> None:
        self.polls += 1
        cursor = self.cursor or 0
        reached, head = whole(body.get("next")) or 0, whole(body.get("head")) or 0
        if reached > cursor:  # before its events are spread: whom it did not ask for has to read what is between them
            self._watchers.reload(now, reached, asked.scope)
        for event in events_of(body):
            if (whole(event.get("id")) or 0) > cursor:
                self._poll_brought = True
                self._watchers.spread(event)
        for each in self._order.advance(reached):
            self._watchers.spread(each)
        if reached < head:
            return self._poll(asked.request.cause or "ws_gap")
        (self._pace.news if self._poll_brought else self._pace.nothing)(now)
        self._poll_brought = False
        self._order.watch_later(self._pace.due)

    def _bad(self, now: float, asked: Asked, answer: Answer) -> None:
        status, said = answer.status, answer.body or {}
        if status == 410:
            return self._reset(now, text(said.get("epoch")), whole(said.get("head")))
        refused = status == 401 and self._renewal.refused(asked.request.id)
        if not refused and status not in (0, 404, 408, 429) and status < 500:
            return self._fail(answer.error)
        self._start_by = now  # no history to wait for
        if asked.subscription is None:
            self._pace.nothing(now, answer.wait)
            self._order.watch_later(self._pace.due)
        elif not refused:
            self._not_loaded(now, asked.subscription, answer)

    def _not_loaded(self, now: float, to: Subscription, answer: Answer) -> None:
        self._act(Problem(to.key, answer.error))
        if answer.status == 404 and self.cursor is not None:
            return self._watchers.missing(to, self._pace.due)
        after = self._pace.due - now if answer.status == 404 else backoff(1 + to.failures, self._chance())
        to.failures += answer.status != 404
        to.due = now + max(after, answer.wait, 1)

    # What time brings.

    def tick(self, now: float) -> None:
        """Does what is due."""
        if self.failed is not None:
            return
        if self.link.is_dead(now):
            self._lost(now, 4410, "")
        if self._order.partial and self._wider:
            self._requests.forget_poll()  # it knows less
            self._lost(now, 1001, "retry in 0 ms")  # for one that shows all there is
        if self.link.state == "waiting" and self.link.due is not None and now >= self._connect_at():
            self._connect(now)
        if self._may_poll():
            if self._order.hole_at is not None and now >= self._order.hole_at:
                self._poll("ws_gap")
            elif now >= self._pace.due:
                self._poll(self.link.cause)
        for each in self._watchers.unread():
            if now >= each.due and self._requests.loads < LOADS:
                self._requests.load(each, self.epoch)

    def _connect_at(self) -> float:
        return max(self.link.retry_at, self._start_by) if self.cursor is None else self.link.retry_at

    def _connect(self, now: float) -> None:
        after = self.cursor if self._resumes else None
        self._renewal.connects()
        self._watchers.again(now, self.cursor or 0)
        self._anywhere, self._wider, self._order.partial = after is None, False, False
        self._act(Connect(self.link.connect(now), after, None if after is None else self.epoch))

    def _may_poll(self) -> bool:
        return self.cursor is not None and not self._requests.polling and bool(self._watchers.active())

    def _poll(self, cause: Cause) -> None:
        if not self._may_poll() or self.failed is not None:
            return
        self._order.hole_at = None
        self._requests.poll(self._watchers.active(), self.cursor, self.epoch, cause)

    # Ends.

    def _is_foreign(self, epoch: str | None) -> bool:
        return epoch is not None and self.epoch is not None and epoch != self.epoch

    def _reset(self, now: float, epoch: str | None, head: int | None, *, stays: bool = False) -> None:
        """What was shown is void. head: all goes on behind it, this stream too if it stays; None: yet to be heard."""
        self.epoch = epoch
        self._order.begin(head)
        self._forget()
        self._pace.heard(now)
        self._watchers.reset(now, head, epoch)
        if head is None:
            self._start_by, self.link.ever_open = now + START, False
        if self.link.live and not stays:
            self._lost(now, 1001, "retry in 0 ms")

    def _lost(self, now: float, code: int, reason: str, *, disconnect: bool = True) -> None:
        if disconnect:
            self._act(Disconnect())
        comeback = self.link.lost(now, code, reason, self._chance())
        if code == 4401 and self._renewal.over():
            return
        if comeback == "never":
            self._fail(RunfeedError("refused", reason or f"the hub closed with {code}", code))
        elif comeback == "without_cursor":
            self._reset(now, None, None)

    def _fail(self, error: RunfeedError) -> None:
        self._leave()
        self.failed = error
        self._act(Fail(error))

    def _leave(self) -> None:
        if self.link.live:
            self._act(Disconnect())
        self.link.leave()
        self._forget()

    def _forget(self) -> None:
        """Whatever is answered now is of no interest any more."""
        self._requests.forget()
        self._poll_brought = False
        self._order.hole_at = None

    def _act(self, action: Action) -> None:
        self._actions.append(action)
