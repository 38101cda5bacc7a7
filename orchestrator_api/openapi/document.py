"""The document, put together."""

from typing import Any

from orchestrator_api import __version__
from orchestrator_api.openapi import access, refusals, runs, schemas, service
from orchestrator_api.openapi.parts import HEADERS, PARAMETERS, PREFLIGHT
from orchestrator_api.openapi.schemas import Schema

ABOUT = """
A worker makes a run and appends events to it; whoever watches reads the
history here, and what happens now from the hub's sockets (`GET /api/v1/config` says where that is).

**Who may.** A service with keys wants `Authorization: Bearer` with a token (a JWT: its user reads what is theirs and
writes nothing) or an API key (it does what it was made for). A service without keys takes every `username` at its word
and looks at no `Authorization`; it is for one machine.

**Methods.** `HEAD` is taken wherever `GET` is. `OPTIONS` is answered 204 everywhere, with `Allow`. Another method is
405 `method_not_allowed`, another path 404 `path_unknown`.

**Errors** are RFC 9457 problems: `code` is for programs, `detail` for people, `field` names the guilty part. A new
version may bring new codes. One exception: an answer 5xx or 429 to `GET .../runs/{run_id}/events` is one line of
`text/plain` where the request's `Accept` does not name JSON: there are pages that take any JSON for a history.

**JSON.** A body is read as JSON whatever its `Content-Type` says. Clients must ignore fields that they do not know, and
not depend on the order of fields.
"""
TAGS = {
    "Runs": "What workers report and viewers read.",
    "Feeds": "All of a user's events in one order. The hub lives on these.",
    "Who may": "Tickets, tokens and their end. For a service with keys; another answers 403 `not_configured`.",
    "About": "What the service says of itself.",
    "Runs, at the root": "The calls for runs are also at the root, where the first clients look for them.",
}
SECURITY: dict[str, Schema] = {
    "token": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "Of the service's issuer, or a watch token of its own. It may name the runs that it is for.",
    },
    "key": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "rfk_<id>_<secret>",
        "description": "Of `python -m orchestrator_api keys create`. Each may what it was made for: `write`, `read`,"
        " `mint`, `revoke`, `hub`.",
    },
}
PREFIX = "/api/v1"


def _at(prefix: str, tag: str, paths: dict[str, Schema], suffix: str = "") -> dict[str, Schema]:
    """Returns the paths below a prefix, their calls under a tag. suffix: of the calls' names, which must differ."""
    return {
        prefix + path: {
            method: {"tags": [tag], **call, "operationId": call["operationId"] + suffix}
            for method, call in calls.items()
        }
        for path, calls in paths.items()
    }


def document() -> dict[str, Any]:
    """Returns the OpenAPI document."""
    return {
        "openapi": "3.1.1",
        "info": {
            "title": "Runfeed API",
            "version": __version__,
            "summary": "Runs and their events: report, read, watch.",
            "description": ABOUT.strip(),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/", "description": "The one that this document came from."}],
        "tags": [{"name": name, "description": description} for name, description in TAGS.items()],
        "paths": {
            **_at(PREFIX, "Runs", {**runs.RUNS, **runs.TRACE}),
            **_at(PREFIX, "Feeds", runs.FEEDS),
            **_at(PREFIX, "Who may", service.ACCESS),
            **_at(PREFIX, "About", service.ABOUT),
            **_at("", "About", service.HEALTH),
            **_at("", "Runs, at the root", runs.RUNS, "AtRoot"),
        },
        "components": {
            "schemas": {
                **schemas.NAMES,
                **schemas.RUNS,
                **schemas.HISTORIES,
                **access.SCHEMAS,
                "Readiness": service.READINESS,
                "Problem": refusals.SCHEMA,
            },
            "parameters": PARAMETERS,
            "headers": HEADERS,
            "responses": {"Preflight": PREFLIGHT, **refusals.RESPONSES},
            "securitySchemes": SECURITY,
        },
    }
