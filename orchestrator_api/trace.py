"""What became of an event on its way out: a bounded memory of this process, to answer "why did nobody see it?"."""

from collections import deque
from dataclasses import dataclass
from typing import Any

import orjson

from orchestrator_api import events
from orchestrator_api.errors import BadRequest, Problem
from orchestrator_api.store import Reader
from orchestrator_api.web import Answer, Request, json_response, path_name, query_name

REMEMBERED = 10_000  # frames, some 3 MiB: minutes at the rates at which somebody looks


@dataclass(slots=True)
class Passage:
    """A frame on its way, and how far it came. state: waiting, handed, acknowledged, dropped. receivers: by Redis."""

    username: str  # empty: a beacon's, which nobody asks for
    event_id: int
    size: int  # bytes of its command
    since: float  # monotonic seconds: of its coming, then of its being handed over
    state: str
    at: float  # unix seconds of that state
    reason: str | None = None
    receivers: int | None = None

    def note(self, state: str, at: float, reason: str | None = None, receivers: int | None = None) -> None:
        """It came so far."""
        self.state, self.at, self.reason, self.receivers = state, at, reason, receivers

    def body(self) -> dict[str, Any]:
        """Returns what is known of how far it came."""
        known = {"state": self.state, "at": round(self.at, 6), "reason": self.reason, "receivers": self.receivers}
        return {name: value for name, value in known.items() if value is not None}


class Trace:
    """The passages of the last REMEMBERED frames. To look one up takes a millisecond, to remember one nothing."""

    def __init__(self) -> None:
        self._passages: deque[Passage] = deque(maxlen=REMEMBERED)

    def begin(self, passage: Passage) -> None:
        """A frame sets out; whoever brings it on notes it in its passage."""
        self._passages.append(passage)

    def find(self, username: str, event_id: int) -> Passage | None:
        """Returns how far it came, or None: another process published it, or it is forgotten."""
        for passage in reversed(self._passages):
            if passage.event_id == event_id and passage.username == username:
                return passage
        return None


class Tracer:
    """The call that tells. api: this process' name in its beacons."""

    def __init__(self, reader: Reader, trace: Trace, api: str) -> None:
        self._reader = reader
        self._trace = trace
        self._api = api

    async def event(self, request: Request) -> Answer:
        """GET /runs/{run_id}/trace?seq=N: when the event was stored, and how far this process brought it."""
        run_id = path_name(request, "run_id", events.RUN_ID)
        seq = query_name(request, "seq", events.CURSOR)
        if seq is None:
            raise BadRequest("seq", "is required: the event's number in its run", status=400)
        row = await self._reader.one("event", run_id, int(seq))
        if row is None or not request.caller.covers(row["username"], run_id):  # of a run that is not theirs, too
            raise Problem(404, "event_unknown", f"run {run_id} has no event with seq {seq}", field="seq")
        passage = self._trace.find(row["username"], row["id"])
        published: dict[str, Any] = {"api": self._api}
        if passage is None:
            published |= {"state": "unknown", "reason": "another process published it, or this one has forgotten"}
        else:
            published |= passage.body()
        stored = orjson.loads("{" + row["tail"])["recorded_at"]
        body = {"run_id": run_id, "seq": int(seq), "id": row["id"], "username": row["username"]}
        return json_response(body | {"recorded_at": stored, "published": published})
