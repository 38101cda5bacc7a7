"""Plays a vector of tests/contract/client.json: what comes in, and what the machine then says and does."""

from __future__ import annotations

import json
from typing import Any

from runfeed.core import actions
from runfeed.core.actions import Answer, Request
from runfeed.core.machine import Machine

Step = dict[str, Any]


def event(short: str) -> dict[str, Any]:
    """`3`, `3 r2`, `3 r2 workflow_completed`, `3#1` where its seq is another; `- r1` has no id."""
    number, run_id, kind = (short.split(" ") + ["r1", "step"][len(short.split(" ")) - 1 :])[:3]
    number, _, seq = number.partition("#")
    numbers = {} if number == "-" else {"id": int(number), "seq": int(seq or number)}
    return {**numbers, "run_id": run_id, "username": "u", "type": kind}


def described(action: actions.Action) -> str:
    """An action as the vectors write it."""
    name = type(action).__name__.lower()
    if isinstance(action, actions.Connect):
        return f"connect {action.kind}{cursor(action.after, action.epoch)}"
    if isinstance(action, actions.Request):
        runs = f" runs={','.join(action.runs)}" if action.runs is not None else ""
        cause = f" cause={action.cause}" if action.cause else ""
        return f"get {action.run or 'feed'}{runs}{cursor(action.after, action.epoch)}{cause}"
    if isinstance(action, actions.Fail):
        return f"fail {action.error.code} {action.error.status}"
    if isinstance(action, actions.Disconnect | actions.Renew | actions.Authenticate):
        return name
    return f"{'event' if name == 'give' else name} {action.to or 'feed'}{details(action)}"


def details(action: actions.Give | actions.Reset | actions.Loaded | actions.Problem) -> str:
    """What is said of the one whom it is for."""
    if isinstance(action, actions.Give):
        kind = action.event["type"]
        number = action.event.get("id")
        return f" {'-' if number is None else number}" + ("" if kind == "step" else f" {kind}")
    if isinstance(action, actions.Reset):
        return f" epoch={or_null(action.said['epoch'])} head={or_null(action.said['head'])}"
    if isinstance(action, actions.Loaded):
        return f" {action.status}" if action.status else ""
    return f" {action.error.code}"


def or_null(value: object) -> object:
    """As the vectors write what is not there."""
    return "null" if value is None else value


def cursor(after: int | None, epoch: str | None) -> str:
    """A cursor, if there is one."""
    return ("" if after is None else f" after={after}") + (f" epoch={epoch}" if epoch else "")


class Player:
    """A machine whose chance is always a half."""

    def __init__(self) -> None:
        self.machine = Machine(chance=lambda: 0.5)
        self.now = 0.0
        self.asked: list[Request] = []

    def play(self, step: Step) -> list[str]:
        """Plays one step; what came of it, each line with its time when time passed."""
        out: list[str] = []
        late = "pass" in step
        while (due := self.machine.due) is not None and due < step["at"]:
            self.now = max(self.now, due)
            self.machine.tick(self.now)
            lines = [f"@{self.now:g} {line}" for line in self._collect()]
            assert late or not lines, f"before {step['at']}: {lines}"
            out += lines
        self.now = step["at"]
        self._do(step)
        self.machine.tick(self.now)
        return out + [f"@{self.now:g} {line}" if late else line for line in self._collect()]

    def _collect(self) -> list[str]:
        done = self.machine.actions()
        self.asked += [action for action in done if isinstance(action, Request)]
        return [described(action) for action in done]

    def _do(self, step: Step) -> None:
        (verb,) = set(step) - {"at", "out", "after"}
        getattr(self, f"_{verb}")(step[verb], step)

    def _watch(self, key: str, step: Step) -> None:
        self.machine.watch(self.now, key, step.get("after"))

    def _unwatch(self, key: str, _: Step) -> None:
        self.machine.unwatch(self.now, key)

    def _open(self, *_: object) -> None:
        self.machine.opened(self.now)

    def _text(self, said: str, _: Step) -> None:
        self.machine.message(self.now, said)

    def _frame(self, short: str, _: Step) -> None:
        self.machine.message(self.now, json.dumps(event(short)))

    def _frames(self, shorts: list[str], step: Step) -> None:
        for short in shorts:
            self._frame(short, step)

    def _control(self, said: dict[str, Any], _: Step) -> None:
        self.machine.message(self.now, json.dumps({"control": True, **said}))

    def _beat(self, head: int | None, _: Step) -> None:
        self.machine.beat(self.now, head)

    def _close(self, said: tuple[int, str], _: Step) -> None:
        self.machine.closed(self.now, *said)

    def _wake(self, *_: object) -> None:
        self.machine.wake(self.now)

    def _refresh(self, *_: object) -> None:
        self.machine.refresh(self.now)

    def _pass(self, *_: object) -> None:
        pass

    def _answer(self, said: dict[str, Any], _: Step) -> None:
        """Answers the request that waits longest."""
        request = self.asked.pop(0)
        rest = {name: value for name, value in said.items() if name not in ("status", "wait")}
        status = said.get("status", 200)
        body = {"epoch": "E", "next": rest.get("head"), **rest, "events": [event(e) for e in rest.get("events", ())]}
        if "run" in rest:
            body["status"] = rest["run"]
        self.machine.answered(self.now, request.id, Answer(status, body if status else None, said.get("wait", 0)))
