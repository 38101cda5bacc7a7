"""The document's refusals: RFC 9457 problems, by status, each with the closed list of its codes."""

import http

from orchestrator_api.openapi.schemas import EPOCH, HEAD, Schema, fields, ref

PROBLEM = "application/problem+json"
CHALLENGE = {"WWW-Authenticate": {"$ref": "#/components/headers/WWW-Authenticate"}}
LATER = {"Retry-After": {"$ref": "#/components/headers/Retry-After"}}
ALLOW = {"Allow": {"$ref": "#/components/headers/Allow"}}

HOST = {"host_forbidden": "the `Host` is none of ALLOWED_HOSTS"}
MAY_NOT = {"forbidden": "the token or the key may not do that", **HOST}
MAY_NOT_WRITE = {**MAY_NOT, "origin_forbidden": "a page of this origin may not write: see ALLOWED_ORIGINS"}
NO_KEYS = {"not_configured": "this service has no keys: it takes whoever comes at their word"}
FULL = {"too_many_connections": "there are too many connections now, of all or of this address"}
AWAY = {
    "store_away": "Postgres is away; nothing was stored",
    "keys_away": "the keys that tokens are judged by were never read, and cannot be had now",
    **FULL,
}
POLL = "; to a request whose `Accept` does not name JSON, one line of text (see Errors)"

# name: status, code: meaning, headers beside the usual
REFUSALS: dict[str, tuple[int, dict[str, str], dict[str, Schema]]] = {
    "Malformed": (400, {"malformed": "this is not a well-formed HTTP/1.1 request (`field` is `head`)"}, {}),
    "BadRequest": (
        400,
        {
            "invalid": "a path, a parameter or a header breaks the rule that `detail` states, or is given twice",
            "malformed": "the body is not UTF-8, not JSON, or too deep; or this is not HTTP/1.1 (`field` is `head`)",
        },
        {},
    ),
    "Unauthenticated": (
        401,
        {
            "token_missing": "there is no `Authorization: Bearer`, or it is empty",
            "token_invalid": "the token is none of ours, or not whole",
            "token_expired": "its time is over: get another",
            "token_revoked": "it was revoked",
            "key_unknown": "there is no such API key, or it was revoked, or has expired",
        },
        CHALLENGE,
    ),
    "HostForbidden": (403, HOST, {}),
    "Forbidden": (403, MAY_NOT, {}),
    "ForbiddenToWrite": (403, MAY_NOT_WRITE, {}),
    "ForbiddenHere": (403, {**MAY_NOT_WRITE, **NO_KEYS}, {}),
    "RunUnknown": (404, {"run_unknown": "there is no such run, or it is not yours: nobody learns which"}, {}),
    "EventUnknown": (
        404,
        {"run_unknown": "there is no such run, or it is not yours", "event_unknown": "the run has no such event"},
        {},
    ),
    "TicketUnknown": (404, {"ticket_unknown": "it was never given, was used, has expired, or is another origin's"}, {}),
    "PathUnknown": (404, {"path_unknown": "there is nothing at this path"}, {}),
    "MethodNotAllowed": (405, {"method_not_allowed": "`Allow` names what the path takes"}, ALLOW),
    "BodyTimeout": (408, {"body_timeout": "the body did not arrive within 10 s; the connection is closed"}, {}),
    "RunExists": (
        409,
        {"run_exists": "the run exists with other content, or is another user's"},
        {},
    ),
    "RunFinished": (409, {"run_finished": "the run has had its terminal event"}, {}),
    "CursorUnknown": (410, {"cursor_unknown": "the cursor is not of this feed's numbers: begin again without it"}, {}),
    "TooBig": (413, {"too_big": "the body has more than 4 MiB, or names more than a request may"}, {}),
    "Compressed": (415, {"invalid": "bodies are taken uncompressed (`field` is `Content-Encoding`)"}, {}),
    "ExpectationUnknown": (417, {"expectation_unknown": "an `Expect` other than `100-continue`"}, {}),
    "Unprocessable": (422, {"invalid": "a field breaks the rule that `detail` states"}, {}),
    "NotKept": (
        422,
        {
            "invalid": "a field or the key breaks the rule that `detail` states",
            "too_big": "an event or `metadata` has more than 64 KiB",
            "not_storable": "the database cannot hold this value",
            "key_reused": "the key was used for other content",
        },
        {},
    ),
    "HeadTooBig": (431, {"too_big": "a line of the head has more than 8 KiB"}, {}),
    "Internal": (500, {"internal": "a fault of ours"}, {}),
    "InternalToPoll": (500, {"internal": "a fault of ours" + POLL}, {}),
    "Full": (503, FULL, LATER),
    "Away": (503, AWAY, LATER),
    "AwayToPoll": (503, {**AWAY, "store_away": AWAY["store_away"] + POLL}, LATER),
    "NotStored": (
        503,
        {
            "busy": "it could not be stored within 5 s; nothing was",
            "overloaded": "10,000 appends or 64 MiB wait already; nothing was stored",
            "restarting": "this process is going away; nothing was stored",
            "outcome_unknown": "the connection broke before the database's answer: it may be stored. Repeat with a key",
            **AWAY,
        },
        LATER,
    ),
}
CODES = sorted({code for _, codes, _ in REFUSALS.values() for code in codes})

SCHEMA: Schema = fields(
    {
        "type": {"const": "about:blank"},
        "title": {"type": "string", "description": "The status in words."},
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "code": {"type": "string", "enum": CODES, "description": "A stable name, for programs."},
        "detail": {"type": "string", "minLength": 1, "description": "A sentence, for people."},
    },
    {
        "field": {"type": "string", "description": "The guilty part, as the caller wrote it: `events[499].timestamp`."},
        "allow": {"type": "string", "description": "Of a 405."},
        "epoch": ref("Epoch"),
        "first": ref("Id"),
        "head": HEAD,
    },
    description="RFC 9457. `epoch`, `first` and `head` come with `cursor_unknown`.",
)


def _response(name: str) -> Schema:
    status, codes, headers = REFUSALS[name]
    narrowed: Schema = {
        **ref("Problem"),
        "properties": {"status": {"const": status}, "code": {"enum": list(codes)}},
    }
    if name == "CursorUnknown":
        narrowed["required"] = ["epoch", "first", "head"]
    code, meaning = next(iter(codes.items()))
    title = http.HTTPStatus(status).phrase
    example = {"type": "about:blank", "title": title, "status": status, "code": code, "detail": meaning}
    if name == "CursorUnknown":
        example |= {"field": "after", "epoch": EPOCH, "first": 1, "head": 7}
    found: Schema = {
        "description": "\n".join([f"* `{code}`: {meaning}." for code, meaning in codes.items()]),
        "content": {PROBLEM: {"schema": narrowed, "example": example}},
    }
    if name.endswith("ToPoll"):
        found["content"]["text/plain"] = {"schema": {"type": "string", "pattern": "^[^\\n]+\\n$"}}
    return found | ({"headers": headers} if headers else {})


RESPONSES: dict[str, Schema] = {name: _response(name) for name in REFUSALS}


def refused(*names: str) -> Schema:
    """Returns the responses of a call that may be refused in these ways, by status."""
    found = {str(REFUSALS[name][0]): {"$ref": f"#/components/responses/{name}"} for name in names}
    if len(found) < len(names):
        raise ValueError(f"two of {', '.join(names)} have the same status")
    return found
