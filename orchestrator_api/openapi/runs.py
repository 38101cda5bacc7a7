"""The document's calls for runs, feeds and what became of an event."""

from typing import Any

from orchestrator_api import history
from orchestrator_api.openapi.parts import (
    ASKS,
    CACHED,
    KEYS,
    POLLS,
    READS,
    TAGGED,
    UNCHANGED,
    WRITES,
    answer,
    body,
    call,
    header,
    limit,
    parameter,
)
from orchestrator_api.openapi.schemas import EPOCH, Schema, ref

RUN: dict[str, Any] = {
    "run_id": "hello",
    "username": "alice",
    "workflow": None,
    "status": "queued",
    "progress": None,
    "current_step": None,
    "last_seq": 0,
    "created_at": 1795310965.822696,
    "started_at": None,
    "finished_at": None,
    "updated_at": 1795310965.822696,
    "metadata": None,
}
EVENT: dict[str, Any] = {
    "id": 1,
    "seq": 1,
    "run_id": "hello",
    "username": "alice",
    "type": "node_completed",
    "timestamp": 1795310965.859311,
    "recorded_at": 1795310965.85945,
    "node_id": "first",
}
APPENDED = {"run_id": "hello", "status": "running", "events": [{"id": 1, "seq": 1}]}
HISTORY = {"run_id": "hello", "status": "running", "last_seq": 1, "head": 1, "epoch": EPOCH, "events": [EVENT]}
PAGE = {"epoch": EPOCH, "events": [EVENT], "next": 1, "head": 1}
PAGES = {"epoch": EPOCH, "feeds": {"alice": {"events": [EVENT], "next": 1, "head": 1}}}
HEADS = {"epoch": EPOCH, "heads": {"alice": 1, "nobody": 0}}
STEP = {"type": "node_completed", "node_id": "first"}
PASSAGE: dict[str, Any] = {
    "run_id": "hello",
    "seq": 1,
    "id": 1,
    "username": "alice",
    "recorded_at": 1795310965.85945,
    "published": {"api": "ac38776fa3c3", "state": "acknowledged", "at": 1795310965.861202, "receivers": 1},
}

RUNS: dict[str, Schema] = {
    "/runs": {
        "post": call(
            "createRun",
            "Make a run",
            {
                201: answer("The run, made.", ref("Run"), {"Location": header("Location")}, example=RUN),
                200: answer("The same was said before.", ref("Run"), {"Location": header("Location")}, example=RUN),
            },
            (*WRITES, "RunExists"),
            parameter("key"),
            description="A run that names its `run_id` needs no key: it is its own. Needs an API key with `write`.",
            requestBody=body(
                ref("NewRun"),
                named={"username": "alice", "run_id": "hello"},
                unnamed={"username": "alice", "events": [STEP]},
            ),
            security=KEYS,
        ),
        "get": call(
            "listRuns",
            "A user's runs, newest first",
            {200: answer("A page.", ref("Runs"), CACHED, example={"runs": [RUN], "cursor": None})},
            READS,
            {
                "name": "username",
                "in": "query",
                "schema": ref("Username"),
                "description": "Whose runs. With a token it may be left out: the token's user is meant.",
            },
            {"name": "status", "in": "query", "schema": ref("Status")},
            limit(*history.RUNS),
            {
                "name": "cursor",
                "in": "query",
                "schema": {"type": "string"},
                "description": "The last page's `cursor`, as it was given.",
            },
        ),
    },
    "/runs/{run_id}": {
        "get": call(
            "getRun",
            "A run",
            {200: answer("The run.", ref("Run"), CACHED, example=RUN)},
            (*READS, "RunUnknown"),
            parameter("run_id"),
        )
    },
    "/runs/{run_id}/events": {
        "get": call(
            "getRunEvents",
            "A run's history",
            {
                200: answer(
                    "The events, in order. A long history is streamed; what breaks in the middle is cut off.",
                    ref("RunHistory"),
                    TAGGED,
                    example=HISTORY,
                ),
                304: UNCHANGED,
            },
            (*POLLS, "RunUnknown", "CursorUnknown"),
            parameter("run_id"),
            parameter("after"),
            parameter("epoch"),
            limit(None, 10**8),
            parameter("owner"),
            parameter("cause"),
            parameter("if_none_match"),
            description="The whole of it, or what is after an id. The `ETag` says how far the run has come, whatever"
            " `after` and `limit` are.",
        ),
        "post": call(
            "appendEvents",
            "Append events",
            {
                201: answer("Stored and committed.", ref("Appended"), example=APPENDED),
                200: answer("It was stored before, with these numbers.", ref("Appended"), example=APPENDED),
            },
            (*WRITES, "RunFinished"),
            parameter("run_id"),
            parameter("key"),
            description="One event, or a batch that is stored whole or not at all. The answer comes after the commit."
            " Needs an API key with `write`.",
            requestBody=body({"oneOf": [ref("NewEvent"), ref("Batch")]}, event=STEP, batch={"events": [STEP, STEP]}),
            security=KEYS,
        ),
    },
}

TRACE: dict[str, Schema] = {
    "/runs/{run_id}/trace": {
        "get": call(
            "traceEvent",
            "What became of an event",
            {200: answer("When it was stored, and how far this process brought it.", ref("Passage"), example=PASSAGE)},
            (*READS, "EventUnknown"),
            parameter("run_id"),
            {
                "name": "seq",
                "in": "query",
                "required": True,
                "schema": ref("Cursor"),
                "description": "Its number in the run.",
            },
        )
    },
}

FEEDS: dict[str, Schema] = {
    "/feeds/{username}/events": {
        "get": call(
            "getFeedEvents",
            "A user's history",
            {
                200: answer(
                    "A page of all of a user's events, and where the next begins.",
                    ref("FeedPage"),
                    CACHED,
                    example=PAGE,
                )
            },
            (*READS, "CursorUnknown"),
            parameter("username"),
            parameter("after"),
            parameter("epoch"),
            limit(history.PAGE_EVENTS, history.FEED_EVENTS),
            parameter("run_ids"),
            parameter("cause"),
            description=f"A page ends early with the event that brings it to {history.PAGE_BYTES} bytes. A user whom"
            " nobody knows has an empty feed.",
        )
    },
    "/feeds/heads": {
        "post": call(
            "getHeads",
            "How far feeds have come",
            {200: answer("Each feed's head; 0 for one that nobody knows.", ref("Heads"), CACHED, example=HEADS)},
            ASKS,
            description="Needs an API key with `hub`.",
            requestBody=body(ref("HeadsWanted"), two={"usernames": ["alice", "nobody"]}),
            security=KEYS,
        )
    },
    "/feeds/events": {
        "post": call(
            "getFeedsEvents",
            "What many feeds have after an id each",
            {200: answer("One snapshot, and a MiB of events in all.", ref("FeedsPages"), CACHED, example=PAGES)},
            ASKS,
            description="How a hub catches up. What did not fit comes without events and with `next` where it was."
            " Needs an API key with `hub`.",
            requestBody=body(ref("FeedsWanted"), two={"after": {"alice": 0, "nobody": 0}}),
            security=KEYS,
        )
    },
}
