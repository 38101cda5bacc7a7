"""A world for the machine of runfeed: one feed, a stream that does harm, requests that fail, all of chance."""

from __future__ import annotations

import json
import random
from collections import deque
from typing import Any

from runfeed.core import actions
from runfeed.core.actions import Answer, Request
from runfeed.core.machine import Machine
from runfeed.core.subscription import FEED

END = "workflow_completed"
STEP = 40.0  # ms between two moments of this world


class World:
    """seed: of all chance. speaks: the hub says control frames, and resumes; else it is a plain one without history.

    shown: so many of the runs are shown by the token, until `widen`; None: all. The streams of such a token say so,
    unless their hub is too old for it, and harm nothing but by breaking.
    """

    def __init__(self, seed: int, runs: int, speaks: bool, shown: int | None = None) -> None:
        self.chance = random.Random(seed)
        self.speaks = speaks
        self.machine = Machine(poll_interval=500, chance=self.chance.random)
        self.log: list[dict[str, Any]] = []
        self.names = [f"r{number}" for number in range(runs)]
        self.open: list[str] = list(self.names)
        self.shown = set(self.names[:shown])
        self.streams = self.shown  # what the stream shows that is open
        self.now = 0.0
        self.harm = 0.3
        self.wire: deque[dict[str, Any]] | None = None  # what the stream has to bring; None: there is none
        self.given: dict[str, list[int]] = {}
        self.began: dict[str, int] = {}
        self.asked: list[tuple[float, Request]] = []
        self.spins = 0
        self.loaded = 10**9  # where the feed was, when whoever begins with what comes next was told that it has begun

    def watch(self, key: str, after: int | None) -> None:
        """Watches it, if it is not watched."""
        if key in self.given:
            return
        self.given[key] = []
        self.loaded = 10**9 if key == FEED else self.loaded
        head = len(self.log)
        self.began[key] = -1 if after is None else min(after, head)
        self.machine.watch(self.now, key, None if after is None else min(after, head))
        self._obey()

    def leave(self, key: str) -> None:
        """Watches it no more."""
        if key in self.given:
            del self.given[key]
            self.machine.unwatch(self.now, key)
            self._obey()

    def append(self) -> None:
        """One more event, of a run that has not ended."""
        if self.open:
            self._append(self.chance.choice(self.open), END if self.chance.random() < 0.02 else "step")

    def widen(self) -> None:
        """The token shows all runs from now on. The stream that is open does not; a hub that knows of it says so.

        What the feed's watcher was not shown is not shown later: only runs have a beginning.
        """
        self.leave(FEED)
        self.shown = set(self.names)
        if self.wire is not None and self.partial and self.speaks:
            self.wire.append({"control": True, "type": "authenticated", "expires_at": 0, "wider": True})

    def finish(self) -> None:
        """Ends all runs."""
        for name in self.open[:]:
            self._append(name, END)

    def _append(self, name: str, kind: str) -> None:
        number = len(self.log) + 1
        self.log.append({"id": number, "seq": number, "run_id": name, "username": "u", "type": kind})
        if kind == END:
            self.open.remove(name)
        if self.partial:
            self._bring(self.log[-1])
        elif self.wire is not None and self.chance.random() >= self.harm:
            self.wire.append(self.log[-1])
            if self.chance.random() < self.harm:
                self.chance.shuffle(self.wire)
            if self.chance.random() < self.harm:
                self.wire.append(self.log[-1])

    @property
    def partial(self) -> bool:
        """The stream that is open leaves out runs."""
        return len(self.streams) < len(self.names)

    def _bring(self, event: dict[str, Any]) -> None:
        """What a stream that leaves out runs has to bring of this event; now and then it says how far it has come."""
        if self.wire is None:
            return
        if event["run_id"] in self.streams:
            self.wire.append(event)
        if self.speaks and self.chance.random() < 0.2:
            self.wire.append({"control": True, "type": "heartbeat", "head": event["id"], "epoch": "E"})

    def turn(self) -> None:
        """A moment passes: the stream brings something or breaks, answers come or do not."""
        self.now += STEP
        if self.wire is not None and self.chance.random() < self.harm / 10:
            self.wire = None
            self.machine.closed(self.now, 1006, "")
        while self.wire and self.chance.random() < 0.8:
            self.machine.message(self.now, json.dumps(self.wire.popleft()))
        for due, request in self.asked[:]:
            if due <= self.now:
                self.asked.remove((due, request))
                self.machine.answered(self.now, request.id, self._answer(request))
        self.machine.tick(self.now)
        self._obey()
        self.spins += self.machine.due is not None and self.machine.due <= self.now

    def _obey(self) -> None:
        for action in self.machine.actions():
            if isinstance(action, actions.Give):
                self.given[action.to].append(action.event["id"])
            elif isinstance(action, actions.Loaded) and action.to == FEED and self.began[FEED] == -1:
                self.loaded = min(self.loaded, len(self.log))
            elif isinstance(action, Request):
                self.asked.append((self.now + self.chance.uniform(0, 400), action))
            elif isinstance(action, actions.Connect):
                self._connect(action)
            elif isinstance(action, actions.Disconnect):
                self.wire = None

    def _connect(self, action: actions.Connect) -> None:
        if self.chance.random() < self.harm:
            self.machine.closed(self.now, 1006, "")
            self._obey()
            return
        after = len(self.log) if action.after is None or not self.speaks else action.after
        self.wire, self.streams = deque(), set(self.shown)
        if self.partial:
            for each in self.log[after:]:
                self._bring(each)
        else:
            self.wire.extend(self.log[after:])
        if self.speaks:
            connected = {"control": True, "type": "connected", "head": after, "epoch": "E"}
            new = self.partial and self.chance.random() < 0.8
            self.machine.message(self.now, json.dumps({**connected, "partial": True} if new else connected))
        else:
            self.machine.opened(self.now)
        self._obey()

    def _answer(self, request: Request) -> Answer:
        if self.chance.random() < self.harm:
            return Answer(self.chance.choice([0, 503]), None)
        after, head = request.after or 0, len(self.log)
        if request.run is not None:
            events = [each for each in self.log[after:] if each["run_id"] == request.run]
            known = [each for each in self.log if each["run_id"] == request.run and request.run in self.shown]
            if not known:
                return Answer(404, {"code": "run_unknown"})
            status = "running" if request.run in self.open else "completed"
            body = {"epoch": "E", "head": head, "events": events, "status": status, "last_seq": known[-1]["seq"]}
            return Answer(200, body)
        asked = self.shown if request.runs is None else self.shown.intersection(request.runs)
        events = [each for each in self.log[after:] if each["run_id"] in asked]
        reached = head if len(events) <= 7 else events[6]["id"]  # small pages: many of them
        events = events[:7]
        return Answer(200, {"epoch": "E", "events": events, "next": reached, "head": head})
