"""The document's schemas: what bodies and parameters are, in JSON Schema 2020-12.

Objects are open, as clients must ignore what they do not know. The tests hold answers to them closed: a field that is
not here may not come.
"""

import re
from typing import Any

from orchestrator_api import events, history, receive

Schema = dict[str, Any]

EPOCH = "e689e2f2-8911-4499-a817-8a1e465f835e-0deb4dde"  # in examples


def ref(name: str) -> Schema:
    """Returns a reference to one of SCHEMAS."""
    return {"$ref": f"#/components/schemas/{name}"}


def text(pattern: re.Pattern[str], description: str) -> Schema:
    """Returns the schema of text that one of our patterns matches as a whole."""
    whole = f"({pattern.pattern})" if "|" in re.sub(r"\[[^]]*]", "", pattern.pattern) else pattern.pattern
    return {"type": "string", "pattern": f"^{whole}$", "description": description}


def whole(least: int, most: int, description: str) -> Schema:
    """Returns the schema of a whole number."""
    return {"type": "integer", "minimum": least, "maximum": most, "description": description}


def listed(of: Schema, least: int, most: int, description: str = "") -> Schema:
    """Returns the schema of a list."""
    found: Schema = {"type": "array", "items": of, "minItems": least, "maxItems": most}
    return found | ({"description": description} if description else {})


def fields(required: Schema, optional: Schema | None = None, **more: Any) -> Schema:
    """Returns the schema of an object. more: further keywords."""
    return {"type": "object", "required": list(required), "properties": required | (optional or {}), **more}


def or_null(schema: Schema) -> Schema:
    """Returns the schema for the same, or null."""
    return {**schema, "type": [schema["type"], "null"]} if "type" in schema else {"anyOf": [schema, {"type": "null"}]}


def by_username(of: Schema, **more: Any) -> Schema:
    """Returns the schema of an object that has a field for each username."""
    return {"type": "object", "propertyNames": ref("Username"), "additionalProperties": of, **more}


TIME: Schema = {"type": "number", "minimum": 0, "description": "Unix seconds."}
PROGRESS: Schema = {"type": "number", "minimum": 0, "maximum": 100}
WORKFLOW: Schema = {"type": "string", "minLength": 1, "maxLength": receive.WORKFLOW_CHARACTERS}
RESERVED: Schema = dict.fromkeys(events.RESERVED, False)
HEAD: Schema = whole(0, history.MAX_ID, "The highest id of the user's feed at that moment; 0: no event yet.")
NEXT: Schema = whole(0, history.MAX_ID, "The `after` of the next page. Equal to `head`: there is no more.")

NAMES: dict[str, Schema] = {
    "RunId": text(events.RUN_ID, "Names one run for ever, across all users."),
    "Username": text(events.USERNAME, "Compared byte for byte: `Alice` is not `alice`."),
    "EventType": text(events.TYPE, "What happened."),
    "Key": text(events.KEY, "A key of the caller's choice: visible ASCII characters."),
    "Cursor": text(events.CURSOR, "An event's id, as it stands in a query; 0 is the beginning."),
    "Id": whole(1, history.MAX_ID, "The event's number in its user's feed: 1..n, no hole."),
    "Seq": whole(1, history.MAX_ID, "The event's number in its run: 1..n, no hole."),
    "Epoch": {
        "type": "string",
        "pattern": "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}-[0-9a-f]{8}$",
        "description": "Names the life of the database's numbering. A cursor of another epoch is unknown.",
    },
    "Status": {
        "type": "string",
        "enum": list(events.STATUSES),
        "description": "`queued` without an event; `running` from the first; `rendering` after `steps_completed`; the"
        " others by the terminal event.",
    },
}

RUNS: dict[str, Schema] = {
    "NewEvent": fields(
        {"type": ref("EventType")},
        {
            "timestamp": {
                "type": "number",
                "minimum": 0,
                "maximum": events.TIMESTAMP,
                "description": "When it happened: unix seconds, not milliseconds. Left out: the server's time.",
            },
            "event_id": ref("Key"),
            "run_id": ref("RunId"),
            "username": ref("Username"),
            **RESERVED,
        },
        additionalProperties=True,
        description="What a worker reports. Every field beside these is the producer's own and is kept as it is."
        " `run_id` and `username` may be given, and must then be the run's own. `workflow_completed`,"
        " `workflow_failed` and `workflow_cancelled` end the run. At most"
        f" {events.FRAME_BYTES} bytes as a frame, {events.DEPTH} levels deep, integers within 64 bits.",
    ),
    "Batch": fields(
        {"events": listed(ref("NewEvent"), 1, receive.BATCH_EVENTS)},
        additionalProperties=False,
        description="Several events, stored whole or not at all.",
    ),
    "NewRun": fields(
        {"username": ref("Username")},
        {
            "run_id": or_null(ref("RunId")),
            "workflow": or_null(WORKFLOW),
            "metadata": {
                "type": ["object", "null"],
                "description": f"Yours, of {receive.METADATA_BYTES} bytes at most.",
            },
            "events": listed(ref("NewEvent"), 1, receive.BATCH_EVENTS, "The run's first events."),
        },
        additionalProperties=False,
        description="Without `run_id` the server gives one.",
    ),
    "Run": fields(
        {
            "run_id": ref("RunId"),
            "username": ref("Username"),
            "workflow": or_null(WORKFLOW),
            "status": ref("Status"),
            "progress": or_null(PROGRESS),
            "current_step": or_null({"type": "string", "minLength": 1, "maxLength": 256}),
            "last_seq": whole(0, history.MAX_ID, "How many events it has."),
            "created_at": TIME,
            "started_at": or_null(TIME),
            "finished_at": or_null(TIME),
            "updated_at": TIME,
            "metadata": {"type": ["object", "null"], "additionalProperties": True},
        }
    ),
    "Runs": fields(
        {
            "runs": listed(ref("Run"), 0, history.RUNS[1]),
            "cursor": or_null(
                {"type": "string", "description": "Given back as it is, for the next page; null: the end."}
            ),
        },
        description="Newest first.",
    ),
    "Numbers": fields({"id": ref("Id"), "seq": ref("Seq")}),
    "Appended": fields(
        {
            "run_id": ref("RunId"),
            "status": ref("Status"),
            "events": listed(ref("Numbers"), 1, receive.BATCH_EVENTS, "In the order in which they were sent."),
        }
    ),
}

HISTORIES: dict[str, Schema] = {
    "Event": fields(
        {
            "id": ref("Id"),
            "seq": ref("Seq"),
            "run_id": ref("RunId"),
            "username": ref("Username"),
            "type": ref("EventType"),
            "timestamp": TIME,
            "recorded_at": TIME,
        },
        {"event_id": ref("Key"), "control": False},
        additionalProperties=True,
        description="A frame: the same bytes here and on the socket. `timestamp` is when it happened, `recorded_at`"
        " when the API took it. All other fields are the producer's own.",
    ),
    "RunHistory": fields(
        {
            "run_id": ref("RunId"),
            "status": ref("Status"),
            "last_seq": whole(
                0, history.MAX_ID, "How many events the run has. Without `limit` they end exactly there."
            ),
            "head": HEAD,
            "epoch": ref("Epoch"),
            "events": {"type": "array", "items": ref("Event")},
        }
    ),
    "FeedPage": fields(
        {
            "epoch": ref("Epoch"),
            "events": listed(ref("Event"), 0, history.FEED_EVENTS),
            "next": NEXT,
            "head": HEAD,
        }
    ),
    "HeadsWanted": fields({"usernames": listed(ref("Username"), 0, history.HEADS)}),
    "Heads": fields({"epoch": ref("Epoch"), "heads": by_username(HEAD)}),
    "FeedsWanted": fields(
        {
            "after": by_username(
                whole(0, history.MAX_ID, "What is after this id is wanted."),
                minProperties=1,
                maxProperties=history.FEEDS,
            )
        }
    ),
    "FeedsPages": fields(
        {
            "epoch": ref("Epoch"),
            "feeds": by_username({"oneOf": [ref("FeedPart"), ref("FeedUnknown")]}),
        }
    ),
    "FeedPart": fields(
        {"events": listed(ref("Event"), 0, history.PAGES_EVENTS), "next": NEXT, "head": HEAD},
        {"error": False},
    ),
    "FeedUnknown": fields(
        {
            "events": listed(ref("Event"), 0, 0),
            "next": NEXT,
            "head": HEAD,
            "first": ref("Id"),
            "error": {"const": "cursor_unknown"},
        },
        description="The `after` is no number that this feed can have given: begin again.",
    ),
    "Passage": fields(
        {
            "run_id": ref("RunId"),
            "seq": ref("Seq"),
            "id": ref("Id"),
            "username": ref("Username"),
            "recorded_at": TIME,
            "published": fields(
                {
                    "api": {"type": "string", "description": "The process that was asked, as its beacons name it."},
                    "state": {"type": "string", "enum": ["waiting", "handed", "acknowledged", "dropped", "unknown"]},
                },
                {
                    "at": {**TIME, "description": "Unix seconds of that state."},
                    "reason": {"type": "string"},
                    "receivers": whole(0, 2**31 - 1, "To how many subscribers Redis passed it on."),
                },
            ),
        }
    ),
}
