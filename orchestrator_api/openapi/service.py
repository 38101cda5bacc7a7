"""The document's calls for who may, for what the service says of itself, and for its pages."""

from typing import Any

from orchestrator_api.openapi import access
from orchestrator_api.openapi.parts import (
    ALWAYS,
    EVERYBODY,
    JSON,
    KEEPS,
    KEYS,
    OPEN,
    READERS,
    TAGGED,
    UNCHANGED,
    answer,
    body,
    call,
    header,
    parameter,
    query,
)
from orchestrator_api.openapi.schemas import EPOCH, Schema, fields, ref

READY: dict[str, Any] = {"status": "ready", "problems": [], "degraded": ["redis: away"]}
NOT_READY: dict[str, Any] = {"status": "not ready", "problems": ["postgres: away"], "degraded": []}
TICKET = {"ticket": "rft_qvAiEOSfMTRNRZBUKnUJh1mCq8ByPWGEGFiqFkOVXNM"}
PRINCIPAL = {
    "username": "alice",
    "run_ids": None,
    "expires_at": 1795311865.0,
    "issued_at": 1795310965.0,
    "token_id": None,
}
WATCH_TOKEN = {"token": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl", "expires_at": 1795311865.0}
REVOKED = {"number": 1, "before": 1795310965.0}
REVOCATIONS: dict[str, Any] = {"epoch": EPOCH, "revocations": [{**REVOKED, "username": "alice"}], "next": 1}
NEVER_KEPT = {"Cache-Control": header("NoStore")}

ACCESS: dict[str, Schema] = {
    "/tickets": {
        "post": call(
            "makeTicket",
            "Get a ticket for a socket",
            {201: answer("It is of use once.", ref("Ticket"), NEVER_KEPT, example=TICKET | {"expires_in": 30})},
            (*KEEPS, "RunUnknown"),
            description="What a browser puts into the socket's URL as `?ticket=`, as it can send no header there. It is"
            " for whom the token is for, and only for the `Origin` that asked; with an API key that has `mint`, for the"
            " user in the body.",
            requestBody=body(ref("TicketWanted"), required=False, with_a_key={"username": "alice"}),
            security=READERS,
        )
    },
    "/tickets/redeem": {
        "post": call(
            "redeemTicket",
            "Whose ticket it is",
            {200: answer("Now it is used.", ref("Principal"), NEVER_KEPT, example=PRINCIPAL)},
            (*KEEPS, "TicketUnknown"),
            description="What a hub asks when a socket comes with a ticket. Needs an API key with `hub`.",
            requestBody=body(ref("TicketGiven"), ticket=TICKET),
            security=KEYS,
        )
    },
    "/watch-tokens": {
        "post": call(
            "makeWatchToken",
            "Make a token that lets its holder watch",
            {201: answer("A user's token.", ref("WatchToken"), NEVER_KEPT, example=WATCH_TOKEN)},
            (*KEEPS, "RunUnknown"),
            description="For one user, all of their runs or some. Needs an API key with `mint`.",
            requestBody=body(
                ref("WatchTokenWanted"), one_run={"username": "alice", "run_ids": ["hello"], "ttl": access.DEFAULT_S}
            ),
            security=KEYS,
        )
    },
    "/revocations": {
        "post": call(
            "revoke",
            "Revoke a user's tokens, or one token",
            {201: answer("From now on they are refused.", ref("Revoked"), NEVER_KEPT, example=REVOKED)},
            KEEPS,
            description="Their sockets are closed within some seconds. Needs an API key with `revoke`.",
            requestBody=body(ref("RevocationWanted"), user={"username": "alice"}, token={"token_id": "5f7c"}),
            security=KEYS,
        ),
        "get": call(
            "listRevocations",
            "What was revoked",
            {200: answer("In the order of their numbers.", ref("Revocations"), NEVER_KEPT, example=REVOCATIONS)},
            ("BadRequest", "Unauthenticated", "ForbiddenHere", "Away", *ALWAYS),
            query("after", ref("Cursor"), "Only those whose number is greater."),
            description="How a hub learns of them. Needs an API key with `hub`.",
            security=KEYS,
        ),
    },
}

FILE: Schema = {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}
KINDS = ("text/html", "text/javascript", "text/css", "image/svg+xml", JSON, "text/plain")


def _file(operation: str, summary: str, kinds: tuple[str, ...], *parameters: Schema, always: bool = False) -> Schema:
    """Returns the call that gets a file. kinds: media types that it may have. always: it cannot be missing."""
    headers = {**TAGGED, "X-Content-Type-Options": {"required": True, "schema": {"const": "nosniff"}}}
    if "text/html" in kinds:
        for name in ("Content-Security-Policy", "Referrer-Policy"):
            headers[name] = {"required": len(kinds) == 1, "schema": {"type": "string"}}
    file: Schema = {
        "description": "The file.",
        "headers": {**headers, "Content-Encoding": {"schema": {"const": "gzip"}}},
        "content": {kind: {"schema": {"type": "object" if kind == JSON else "string"}} for kind in kinds},
    }
    answers = {200: file, 304: {**UNCHANGED, "headers": headers}}
    refusals = OPEN if always else (*OPEN, "PathUnknown")
    return call(operation, summary, answers, refusals, *parameters, parameter("if_none_match"), security=EVERYBODY)


ABOUT: dict[str, Schema] = {
    "/config": {
        "get": call(
            "getConfig",
            "Where the hub is",
            {
                200: answer(
                    "What a client needs before its first socket.",
                    fields(
                        {"hub": {"type": "string", "pattern": "^wss?://"}, "version": {"type": "string"}},
                    ),
                    NEVER_KEPT,
                    example={"hub": "ws://127.0.0.1:8085", "version": "0.1.0"},
                )
            },
            ("BadRequest", "HostForbidden", *ALWAYS),
            security=EVERYBODY,
        )
    },
    "/openapi.json": {
        "get": _file("getOpenapi", "This document", (JSON,), always=True),
    },
    "/docs": {"get": _file("getDocs", "The page that shows this document", ("text/html",))},
    "/docs/{name}": {"get": _file("getDocsFile", "A file of that page", KINDS, FILE)},
}

HEALTH: dict[str, Schema] = {
    "/healthz": {
        "get": call(
            "getHealth",
            "Whether the process lives",
            {
                200: answer(
                    "It does.",
                    fields({"status": {"const": "ok"}, "auth": {"enum": ["jwt", "insecure-username"]}}),
                    example={"status": "ok", "auth": "jwt"},
                )
            },
            ("Malformed", "Full", *ALWAYS),
            security=EVERYBODY,
        )
    },
    "/readyz": {
        "get": call(
            "getReadiness",
            "Whether an append would be stored now",
            {
                200: answer("It would.", ref("Readiness"), example=READY),
                503: answer("It would not; `problems` says why.", ref("Readiness"), example=NOT_READY),
            },
            ("Malformed", *ALWAYS),
            security=EVERYBODY,
        )
    },
    "/": {"get": _file("getPage", "The live page, or that it is off", ("text/html",))},
    "/page/{name}": {"get": _file("getPageFile", "A file of the live page", KINDS, FILE)},
}

READINESS: Schema = fields(
    {
        "status": {"enum": ["ready", "not ready"]},
        "problems": {"type": "array", "items": {"type": "string"}, "description": "Why an append would fail."},
        "degraded": {"type": "array", "items": {"type": "string"}, "description": "What is away and is no reason."},
    }
)
