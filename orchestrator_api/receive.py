"""Stage 1: take. What a worker reports is read, refused by name or made ready to store."""

import asyncio
import re
import secrets
import time
from typing import Any

import orjson

from orchestrator_api import crash, events
from orchestrator_api.caller import Caller
from orchestrator_api.errors import BadRequest, Forbidden, Problem, run_unknown
from orchestrator_api.groups import Append, Create
from orchestrator_api.history import run_body
from orchestrator_api.record import Recorder
from orchestrator_api.store import Reader
from orchestrator_api.transaction import Stored
from orchestrator_api.web import Answer, Request, json_response, path_name, read_body

BATCH_EVENTS = 1000
METADATA_BYTES = 64 * 1024
WORKFLOW_CHARACTERS = 256
OWNERS = 100_000  # runs whose owner is kept, some 20 MiB: the others cost a look-up

CREATE_FIELDS = {"username", "run_id", "workflow", "metadata", "events"}


class Receiver:
    """The calls that write."""

    def __init__(self, recorder: Recorder, reader: Reader) -> None:
        self._recorder = recorder
        self._reader = reader
        self._owners: dict[str, str] = {}
        self._loop = asyncio.get_running_loop()

    async def create_run(self, request: Request) -> Answer:
        """POST /runs: 201 with the run; 200 when the same was said before."""
        key = _key(request)
        said = events.an_object(events.parse(await read_body(request)), "body")
        append = _create(said, key, self._loop.create_future())
        request.caller.check_user(append.username)
        if not request.caller.covers(append.username, append.run_id):
            raise Forbidden("run_id", "must be in this key's scope: without one it is made of the workflow's name")
        stored = await self._store(append)
        self._remember(stored.run_id, append.username)
        (run,) = await self._reader.fetch("runs", [stored.run_id])
        location = {"Location": f"/api/v1/runs/{stored.run_id}"}
        return json_response(run_body(run), status=201 if stored.new else 200, headers=location)

    async def append_events(self, request: Request) -> Answer:
        """POST /runs/{run_id}/events: 201 with the numbers of the events, in the order sent, after their commit."""
        run_id = path_name(request, "run_id", events.RUN_ID)
        key = _key(request)
        body = await read_body(request)
        said = events.parse(body)
        username = await self._owner(run_id, request.caller)
        now = round(time.time(), 6)
        if isinstance(said, dict) and "events" in said and "type" not in said:
            for field in said.keys() - {"events"}:
                raise BadRequest(field, "does not belong beside events")
            taken = _batch(said, run_id, username, now)
        else:
            taken = [events.event(said, run_id, username, now)]
        append = Append(run_id, username, taken, self._loop.create_future())
        _add_key(append, key, "run:" + run_id, said)
        crash.point("receive.before_record")
        stored = await self._store(append)
        crash.point("receive.before_response")
        return json_response(_numbers(stored), status=201 if stored.new else 200)

    async def _store(self, append: Append) -> Stored:
        try:
            return await self._recorder.append(append)
        except Problem as problem:
            if problem.code == "run_unknown":
                self._owners.pop(append.run_id, None)
            raise

    async def _owner(self, run_id: str, caller: Caller) -> str:
        """Whose run it is: that never changes. Raises Problem (404), for one that is not the caller's as well."""
        username = self._owners.get(run_id)
        if username is None or not caller.covers(username, run_id):  # then asked too: it must not be answered sooner
            row = await self._reader.one("owner", run_id)
            if row is None or not caller.covers(row["username"], run_id):
                raise run_unknown(run_id)
            username = row["username"]
            self._remember(run_id, username)
        return username

    def _remember(self, run_id: str, username: str) -> None:
        if len(self._owners) >= OWNERS:
            del self._owners[next(iter(self._owners))]
        self._owners[run_id] = username


def _key(request: Request) -> str | None:
    values = request.headers.getall("Idempotency-Key", [])
    if len(values) > 1:
        raise BadRequest("Idempotency-Key", "must be given once", status=400)
    return events.name(events.KEY, values[0], "Idempotency-Key") if values else None


def _create(said: dict[str, Any], key: str | None, answer: asyncio.Future[Any]) -> Append:
    for field in said.keys() - CREATE_FIELDS:
        raise BadRequest(field, f"is not one of {', '.join(sorted(CREATE_FIELDS))}")
    username = events.name(events.USERNAME, said.get("username"), "username")
    workflow = said.get("workflow")
    if workflow is not None:
        workflow = _text(workflow, "workflow")
    metadata = _metadata(said.get("metadata"))
    if said.get("run_id") is None:
        run_id, scope = _new_run_id(workflow), "user:" + username
    else:
        run_id = events.name(events.RUN_ID, said["run_id"], "run_id")
        scope = "run:" + run_id
    taken = _batch(said, run_id, username, round(time.time(), 6)) if "events" in said else []
    digest = events.content_digest(said)
    append = Append(run_id, username, taken, answer)
    append.create = Create(workflow, metadata, digest)
    _add_key(append, key, scope, said)
    return append


def _text(value: Any, field: str) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= WORKFLOW_CHARACTERS:
        raise BadRequest(field, f"must be text of 1 to {WORKFLOW_CHARACTERS} characters")
    events.keepable(value, field, METADATA_BYTES, f"must be text of 1 to {WORKFLOW_CHARACTERS} characters")
    return value


def _metadata(value: Any) -> str | None:
    if value is None:
        return None
    said = events.an_object(value, "metadata")
    return events.keepable(said, "metadata", METADATA_BYTES, f"must not exceed {METADATA_BYTES} bytes").decode()


def _new_run_id(workflow: str | None) -> str:
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", workflow or "").strip("-._")[:100]
    return f"{name or 'run'}:{secrets.token_hex(8)}"


def _batch(said: Any, run_id: str, username: str, now: float) -> list[events.Event]:
    """Returns all events of a batch. Raises BadRequest for the first bad one, by its index."""
    items = events.an_object(said, "body")["events"]
    if not isinstance(items, list) or not 0 < len(items) <= BATCH_EVENTS:
        raise BadRequest("events", f"must be a list of 1 to {BATCH_EVENTS} events")
    taken: list[events.Event] = []
    keys: set[str] = set()
    for index, item in enumerate(items):
        field = f"events[{index}]"
        if taken and taken[-1].terminal:
            raise BadRequest(field, "nothing may follow a terminal event")
        event = events.event(item, run_id, username, now, field)
        if event.key is not None:
            if event.key in keys:
                raise BadRequest(f"{field}.event_id", "stands twice in the batch")
            keys.add(event.key)
        taken.append(event)
    return taken


def _add_key(append: Append, key: str | None, scope: str, said: Any) -> None:
    if key is None:
        return
    if any(event.key is not None for event in append.events):
        raise BadRequest("Idempotency-Key", "names a whole request: not together with event_id")
    append.key, append.scope, append.digest = key, scope, events.content_digest(said)


def _numbers(stored: Stored) -> bytes:
    numbers = ",".join([f'{{"id":{event_id},"seq":{seq}}}' for event_id, seq in stored.numbers])
    head = orjson.dumps({"run_id": stored.run_id, "status": stored.status})
    return b'%b,"events":[%b]}' % (head[:-1], numbers.encode())
