"""The document's parameters and headers, and how a call is put together."""

from typing import Any

from orchestrator_api import events, history, polls
from orchestrator_api.openapi.refusals import refused
from orchestrator_api.openapi.schemas import Schema, ref

JSON = "application/json"
TAG = {"type": "string", "pattern": '^"[!#-~]+"$'}  # a strong one

READERS: list[dict[str, list[str]]] = [{"token": []}, {"key": []}, {}]
KEYS: list[dict[str, list[str]]] = [{"key": []}, {}]
EVERYBODY: list[dict[str, list[str]]] = []

ALWAYS = ("ExpectationUnknown", "HeadTooBig", "Internal")
OPEN = ("Malformed", "HostForbidden", "Full", *ALWAYS)
READS = ("BadRequest", "Unauthenticated", "Forbidden", "Away", *ALWAYS)
POLLS = ("BadRequest", "Unauthenticated", "Forbidden", "AwayToPoll", "InternalToPoll", *ALWAYS[:-1])
BODY = ("BodyTimeout", "TooBig", "Compressed")
ASKS = ("BadRequest", "Unauthenticated", "ForbiddenToWrite", *BODY, "Unprocessable", "Away", *ALWAYS)
WRITES = ("BadRequest", "Unauthenticated", "ForbiddenToWrite", *BODY, "NotKept", "NotStored", *ALWAYS)
KEEPS = ("BadRequest", "Unauthenticated", "ForbiddenHere", *BODY, "Unprocessable", "Away", *ALWAYS)


def query(name: str, schema: Schema, description: str, **more: Any) -> Schema:
    """Returns a parameter of the query. more: further keywords."""
    return {"name": name, "in": "query", "schema": schema, "description": description, **more}


def _path(name: str, schema: str, example: str) -> Schema:
    return {"name": name, "in": "path", "required": True, "schema": ref(schema), "example": example}


def limit(default: int | None, most: int) -> Schema:
    """Returns the parameter `limit`. default None: all."""
    schema = {"type": "integer", "minimum": 1, "maximum": most} | ({} if default is None else {"default": default})
    return query("limit", schema, "The most to be answered with.")


PARAMETERS: dict[str, Schema] = {
    "run_id": _path("run_id", "RunId", "hello"),
    "username": _path("username", "Username", "alice"),
    "after": query("after", ref("Cursor"), "Only events whose id is greater. 0 is the beginning."),
    "epoch": query("epoch", {"type": "string"}, "Of which numbering `after` is: the `epoch` that came with it."),
    "cause": query(
        "cause",
        {"type": "string", "enum": list(polls.CAUSES)},
        "Why a client with a socket asks: it is counted, and tells whether the socket left something out.",
    ),
    "run_ids": query(
        "run_id",
        {"type": "array", "items": ref("RunId"), "maxItems": history.RUN_FILTERS},
        "These runs only; repeatable.",
        style="form",
        explode=True,
    ),
    "owner": query("username", ref("Username"), "Only if the run is this user's: another's is 404, as an unknown one."),
    "if_none_match": {
        "name": "If-None-Match",
        "in": "header",
        "schema": {"type": "string"},
        "description": "An `ETag` from here: 304 when it is still the same.",
    },
    "key": {
        "name": "Idempotency-Key",
        "in": "header",
        "schema": ref("Key"),
        "description": "A request repeated with its key is stored once, and answered 200 with the numbers of then.",
    },
}

HEADERS: dict[str, Schema] = {
    "ETag": {"required": True, "schema": TAG, "description": "To be sent back as `If-None-Match`, to the same URL."},
    "Location": {
        "required": True,
        "schema": {"type": "string", "pattern": f"^/api/v1/runs/{events.RUN_ID.pattern}$"},
        "description": "Where the run is.",
    },
    "Retry-After": {
        "required": True,
        "schema": {"type": "string", "pattern": "^[1-9][0-9]{0,2}$"},
        "description": "Seconds.",
    },
    "WWW-Authenticate": {"required": True, "schema": {"type": "string", "pattern": "^Bearer"}},
    "Allow": {"required": True, "schema": {"type": "string", "pattern": "^([A-Z]+, )*[A-Z]+$"}},
    "Revalidate": {"required": True, "schema": {"enum": ["private, no-cache", "no-cache"]}},
    "NoStore": {"required": True, "schema": {"const": "no-store"}},
}


def header(name: str) -> Schema:
    """Returns a reference to one of HEADERS."""
    return {"$ref": f"#/components/headers/{name}"}


def parameter(name: str) -> Schema:
    """Returns a reference to one of PARAMETERS."""
    return {"$ref": f"#/components/parameters/{name}"}


CACHED = {"Cache-Control": header("Revalidate")}
TAGGED = {**CACHED, "ETag": header("ETag")}
ALLOWED = ("Allow", "Access-Control-Allow-Methods", "Access-Control-Allow-Headers", "Access-Control-Max-Age")
PREFLIGHT: Schema = {
    "description": "To any `OPTIONS`. No body.",
    "headers": {name: {"required": True, "schema": {"type": "string"}} for name in ALLOWED},
}
UNCHANGED: Schema = {"description": "Nothing has changed since that `ETag`. No body.", "headers": TAGGED}


def answer(description: str, schema: Schema, headers: Schema | None = None, *, example: Any = None) -> Schema:
    """Returns a response with a JSON body."""
    content = {"schema": schema} if example is None else {"schema": schema, "example": example}
    return {"description": description, "content": {JSON: content}} | ({"headers": headers} if headers else {})


def body(schema: Schema, *, required: bool = True, **examples: Any) -> Schema:
    """Returns a request's body. It is read as JSON whatever its Content-Type says. examples: by what to call them."""
    named = {name: {"value": example} for name, example in examples.items()}
    return {"required": required, "content": {JSON: {"schema": schema, "examples": named}}}


def call(
    operation: str,
    summary: str,
    answers: dict[int, Schema],
    refusals: tuple[str, ...],
    *parameters: Schema,
    security: list[dict[str, list[str]]] = READERS,
    **more: Any,
) -> Schema:
    """Returns an operation. refusals: names of refusals.REFUSALS. more: `description`, `requestBody`."""
    responses = {str(status): response for status, response in answers.items()} | refused(*refusals)
    given = {"parameters": list(parameters)} if parameters else {}
    last = {"responses": dict(sorted(responses.items())), "security": security}
    return {"operationId": operation, "summary": summary, **more, **given, **last}
