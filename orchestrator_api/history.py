"""What happened: runs, their events, feeds and heads. Stored text is joined, never parsed.

Everything is read from the primary: a replica may not know yet what a caller has seen already.
"""

import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import orjson
import structlog
from aiohttp import web

from orchestrator_api import crash, events, polls, tokens
from orchestrator_api.errors import BadRequest, Conflict, run_unknown
from orchestrator_api.metrics import Metrics
from orchestrator_api.polls import Poll
from orchestrator_api.store import Reader
from orchestrator_api.together import Grouped, Shared
from orchestrator_api.web import (
    COMMON,
    Answer,
    Request,
    json_response,
    of_pattern,
    path_name,
    query_count,
    query_name,
    query_one,
    read_body,
)

log = structlog.get_logger("orchestrator_api")

PAGE_EVENTS = 500  # events in one statement, and in a feed's page by default
PAGE_BYTES = 2**20  # bytes of tails in one statement: what one request holds in memory
FEED_EVENTS = 5000  # the most events in a feed's page
RUN_FILTERS = tokens.MOST_RUNS  # whoever may see some runs asks for them
FEEDS = 1000  # feeds in one request for many
PAGES_EVENTS = 20_000  # events in it at most: what a statement reads in some 100 ms
FEED_LEAST = 20  # events of each of its feeds, however many they are
MAX_ID = 2**53 - 1
HEADS = 10_000  # usernames in one request for heads
RUNS = (50, 500)  # runs in a list: by default, at most

RUN_FIELDS = (
    "run_id", "username", "workflow", "status", "progress", "current_step", "last_seq",
    "created_at", "started_at", "finished_at", "updated_at",
)  # fmt: skip
NO_CACHE = {"Cache-Control": "private, no-cache"}


def run_body(row: Any) -> bytes:
    """Returns a run as the JSON that GET /runs/{run_id} answers. Times are unix seconds."""
    body = orjson.dumps({name: row[name] for name in RUN_FIELDS})
    return b'%b,"metadata":%b}' % (body[:-1], (row["metadata"] or "null").encode())


def etag(epoch: str, last_seq: int, status: str) -> str:
    """Returns the strong validator of a run's history: the same for every `after` and `limit`."""
    return f'"{epoch[-8:]}-{last_seq}-{status}"'


def matches(if_none_match: str | None, tag: str) -> bool:
    """True when the header, a list, names the tag; compared weakly, as RFC 9110 has it for If-None-Match."""
    if if_none_match is None:
        return False
    return if_none_match.strip() == "*" or tag in re.findall(r'"[^"]*"', if_none_match)


def check_cursor(after: int, epoch: str | None, row: Any) -> None:
    """Raises Conflict (410) for a cursor that this feed cannot have given. row: `head`, `first`, `epoch`."""
    gone = 0 < after < row["first"] - 1
    if gone or after > row["head"] or (epoch is not None and epoch != row["epoch"]):
        detail = "the cursor is not of this feed's numbers: begin again without it"
        raise Conflict(
            410, "cursor_unknown", detail, field="after", epoch=row["epoch"], first=row["first"], head=row["head"]
        )


def page_frames(rows: list[Any]) -> bytes:
    """Returns the rows' frames, joined by commas."""
    return ",".join([f'{{"id":{row["id"]},"seq":{row["seq"]},{row["tail"]}' for row in rows]).encode()


@dataclass(slots=True)
class Page:
    """Some of a run's events. after: where the next page begins; left: events still wanted, 0 for all; last: of all."""

    frames: bytes
    after: int
    left: int
    last: bool


def _cursor(request: Request) -> tuple[int, str | None]:
    after = query_name(request, "after", events.CURSOR)
    return int(after or 0), query_one(request, "epoch")


class History:
    """The calls that read. proven: callers are told apart."""

    def __init__(self, reader: Reader, metrics: Metrics, proven: bool) -> None:
        self._reader = reader
        self._metrics = metrics
        self._query = "runs_alike" if proven else "runs"
        self._runs = Grouped(self._find_runs)
        self._first_pages = Shared()

    async def run(self, request: Request) -> Answer:
        """GET /runs/{run_id}"""
        return json_response(run_body(await self._run(request)), headers=NO_CACHE)

    async def runs(self, request: Request) -> Answer:
        """GET /runs?username=&status=&limit=&cursor=: a user's runs, newest first."""
        username = query_name(request, "username", events.USERNAME)
        if username is None:
            username = request.caller.username
        if username is None:
            raise BadRequest("username", "is required", status=400)
        request.caller.check_whole(username)
        status = query_one(request, "status")
        if status is not None and status not in events.STATUSES:
            raise BadRequest("status", f"must be one of {', '.join(events.STATUSES)}", status=400)
        limit = query_count(request, "limit", *RUNS)
        position = _runs_position(query_one(request, "cursor"))
        rows = await self._reader.fetch("runs_of", username, status, *position, limit + 1)
        more = f"{rows[limit - 1]['created_at']!r}/{rows[limit - 1]['run_id']}" if len(rows) > limit else None
        runs = b",".join([run_body(row) for row in rows[:limit]])
        return json_response(b'{"runs":[%b],"cursor":%b}' % (runs, orjson.dumps(more)), headers=NO_CACHE)

    async def run_events(self, request: Request, poll: Poll | None = None) -> Answer | web.StreamResponse:
        """GET /runs/{run_id}/events: the whole history, or what is after an id; it ends exactly at last_seq."""
        after, epoch, limit, owner = 0, None, 0, None
        if request.query_string:
            if poll is None and "cause" in request.query:
                return await self._polled(request, self.run_events)
            after, epoch = _cursor(request)
            limit = query_count(request, "limit", 0, 10**8)
            owner = query_name(request, "username", events.USERNAME)
        run = await self._run(request, owner)
        check_cursor(after, epoch, run)
        tag = etag(run["epoch"], run["last_seq"], run["status"])
        headers = {**NO_CACHE, "ETag": tag}
        if matches(request.headers.get("If-None-Match"), tag):
            return Answer(status=304, headers=headers)
        shown = {name: run[name] for name in ("run_id", "status", "last_seq", "head", "epoch")}
        head = orjson.dumps(shown)[:-1] + b',"events":['
        # What a run had at a last_seq never changes: who asks for the same may have the same page.
        first: Page = await self._first_pages.get((head, after, limit), lambda: self._page(run, after, limit))
        second = first if first.last else await self._page(run, first.after, first.left)
        if first.last or not second.frames:
            return json_response(head + first.frames + b"]}", headers=headers)
        return await self._stream(request, headers, head + first.frames, run, second, poll)

    async def feed_events(self, request: Request, poll: Poll | None = None) -> Answer | web.StreamResponse:
        """GET /feeds/{username}/events: a page of all of a user's events, with its cursor for the next."""
        if poll is None and "cause" in request.query:
            return await self._polled(request, self.feed_events)
        username = path_name(request, "username", events.USERNAME)
        after, epoch = _cursor(request)
        limit = query_count(request, "limit", PAGE_EVENTS, FEED_EVENTS)
        runs = request.query.getall("run_id", [])
        if len(runs) > RUN_FILTERS:
            raise BadRequest("run_id", f"must not be given more than {RUN_FILTERS} times", status=400)
        for run_id in runs:
            of_pattern(events.RUN_ID, run_id, "run_id")
        request.caller.check_user(username)
        runs = request.caller.runs_within(runs)
        rows = await self._reader.fetch("feed_page", username, after, runs or None, limit, PAGE_BYTES)
        check_cursor(after, epoch, rows[0])
        found = [row for row in rows if row["id"] is not None]
        head: int = rows[0]["head"]
        complete = len(found) < limit and sum(len(row["tail"].encode()) for row in found) < PAGE_BYTES
        after_page = head if complete else found[-1]["id"]
        tail = orjson.dumps({"next": after_page, "head": head})
        body = b'{"epoch":%b,"events":[%b],%b' % (orjson.dumps(rows[0]["epoch"]), page_frames(found), tail[1:])
        return json_response(body, headers=NO_CACHE)

    async def feeds_events(self, request: Request) -> Answer:
        """POST /feeds/events: the next events of many feeds, each after its own id, of one snapshot."""
        said = events.an_object(events.parse(await read_body(request)), "body")
        asked = events.an_object(said.get("after"), "after")
        if not 0 < len(asked) <= FEEDS:
            status, code = (413, "too_big") if asked else (422, "invalid")
            raise BadRequest("after", f"must name 1 to {FEEDS} feeds", status=status, code=code)
        for username, after in asked.items():
            events.name(events.USERNAME, username, "after")
            if type(after) is not int or not 0 <= after <= MAX_ID:
                raise BadRequest(f"after.{username}", "must be an event's id, a number")
        most = max(FEED_LEAST, PAGES_EVENTS // len(asked))
        rows = await self._reader.fetch("feeds_pages", list(asked), list(asked.values()), most, PAGE_BYTES)
        pages = {username: list(page) for username, page in groupby(rows, key=lambda row: row["username"])}
        feeds = b",".join([b"%b:%b" % (orjson.dumps(name), _feed_page(page, most)) for name, page in pages.items()])
        body = b'{"epoch":%b,"feeds":{%b}}' % (orjson.dumps(rows[0]["epoch"]), feeds)
        return json_response(body, headers=NO_CACHE)

    async def heads(self, request: Request) -> Answer:
        """POST /feeds/heads: the head of each feed; 0 for one that nobody knows."""
        said = events.an_object(events.parse(await read_body(request)), "body")
        usernames = said.get("usernames")
        if not isinstance(usernames, list):
            raise BadRequest("usernames", "must be a list of usernames")
        if len(usernames) > HEADS:
            raise BadRequest("usernames", f"must not be more than {HEADS}", status=413, code="too_big")
        for index, username in enumerate(usernames):
            events.name(events.USERNAME, username, f"usernames[{index}]")
        row = await self._reader.one("heads", usernames)
        heads = dict.fromkeys(usernames, 0) | dict(zip(row["usernames"] or (), row["heads"] or (), strict=True))
        return json_response({"epoch": row["epoch"], "heads": heads}, headers=NO_CACHE)

    async def _polled(
        self, request: Request, call: Callable[[Request, Poll], Awaitable[Answer | web.StreamResponse]]
    ) -> Answer | web.StreamResponse:
        """Answers a request that says why it was made: the same call, and what it came to is counted."""
        poll = Poll(polls.cause(query_one(request, "cause") or ""), time.time(), self._metrics.polled)
        try:
            answer = await call(request, poll)
        except ConnectionError:  # nobody is there any more: it is not answered
            raise
        except Exception:
            poll.refused()
            raise
        if isinstance(answer, Answer):  # a streamed one was counted when it began
            poll.brought(answer.body)
        return answer

    async def _run(self, request: Request, owner: str | None = None) -> Any:
        """Returns the run in the path. Raises Problem (404) when there is none, it is not this owner's or the caller's.

        Nothing that depends on the run may be looked at before: the three are one answer.
        """
        run_id = path_name(request, "run_id", events.RUN_ID)
        run = await self._runs.get(run_id)
        if (
            run is None
            or (owner is not None and owner != run["username"])
            or not request.caller.covers(run["username"], run_id)
        ):
            raise run_unknown(run_id)
        return run

    async def _find_runs(self, run_ids: list[str]) -> dict[str, Any]:
        return {row["run_id"]: row for row in await self._reader.fetch(self._query, run_ids)}

    async def _page(self, run: Any, after: int, left: int) -> Page:
        """Returns the run's next events after an id, up to its last_seq: a short statement. left 0: all."""
        last_seq: int = run["last_seq"]
        most = min(PAGE_EVENTS, left) if left else PAGE_EVENTS
        rows = []
        if last_seq:
            rows = await self._reader.fetch("run_page", run["run_id"], after, last_seq, most, PAGE_BYTES)
        if not rows:
            return Page(b"", after, left, last=True)
        last = rows[-1]["seq"] >= last_seq or len(rows) == left
        return Page(page_frames(rows), rows[-1]["id"], left and left - len(rows), last)

    async def _stream(
        self, request: Request, headers: dict[str, str], start: bytes, run: Any, page: Page, poll: Poll | None
    ) -> web.StreamResponse:
        """Sends a long history as it is read. An error cuts the connection: JSON that ends neatly would be a lie."""
        headers = {**headers, **COMMON, **request.cors, "Content-Type": "application/json"}
        response = web.StreamResponse(headers=headers)
        await response.prepare(request)
        if poll is not None:  # now: its end may be minutes away, and its client gone by then
            poll.brought(start)
        if request.method == "HEAD":
            # A body here would be read as the answer to the next request: behind a proxy, somebody else's.
            await response.write_eof()
            return response
        try:
            await response.write(start + b"," + page.frames)
            while not page.last:
                page = await self._page(run, page.after, page.left)
                crash.point("history.in_the_middle")
                if page.frames:
                    await response.write(b"," + page.frames)
            await response.write(b"]}")
            await response.write_eof()
        except Exception as error:  # noqa: BLE001 - whatever it is, a second answer must not follow the half one
            log.warning("orchestrator.body_cut", error=f"{type(error).__name__}: {error}")
            if request.transport is not None:
                request.transport.abort()
        return response


def _feed_page(rows: list[Any], most: int) -> bytes:
    """Returns one feed's part of an answer for many. rows: of the query feeds_pages. most: events asked for."""
    head, first, after = rows[0]["head"] or 0, rows[0]["first"] or 1, rows[0]["after"]
    if after > head or 0 < after < first - 1:
        return orjson.dumps({"events": [], "next": after, "head": head, "first": first, "error": "cursor_unknown"})
    fitting = [row for row in rows if row["tail"] is not None]
    waiting = len([row for row in rows if row["id"] is not None])
    complete = len(fitting) == waiting < most
    after_page = head if complete else fitting[-1]["id"] if fitting else after
    return b'{"events":[%b],"next":%d,"head":%d}' % (page_frames(fitting), after_page, head)


def _runs_position(cursor: str | None) -> tuple[float | None, str | None]:
    if cursor is None:
        return None, None
    match = re.fullmatch(r"(\d{1,12}(?:\.\d{1,9})?)/(.+)", cursor, re.ASCII)
    if match is None or not events.RUN_ID.fullmatch(match[2]):
        raise BadRequest("cursor", "must be one that this list has given", status=400)
    return float(match[1]), match[2]
