"""The document's schemas of who may: tickets, watch tokens, revocations."""

from orchestrator_api import events, grants, history, revoked, tokens
from orchestrator_api.openapi.schemas import TIME, Schema, fields, listed, or_null, ref, text, whole

RUN_IDS: Schema = listed(ref("RunId"), 1, tokens.MOST_RUNS, "These runs only. Left out: all of the user's.")
NUMBER: Schema = whole(1, history.MAX_ID, "Counts revocations, in the order of their commits.")
BEFORE: Schema = {**TIME, "description": "Unix seconds: the user's tokens that were issued until then are refused."}
UNTIL: Schema = {**TIME, "maximum": events.TIMESTAMP, "description": "Unix seconds: when the token's own time is over."}
LEAST_S, DEFAULT_S, MOST_S = grants.WATCH_S

SCHEMAS: dict[str, Schema] = {
    "TokenId": text(tokens.TOKEN_ID, "The `jti` of a token."),
    "TicketText": text(
        grants.TICKET, f"The only credential that may stand in a URL: it is of use once, within {grants.TICKET_S} s."
    ),
    "TicketWanted": fields(
        {},
        {"username": ref("Username"), "run_ids": or_null(RUN_IDS)},
        additionalProperties=False,
        description="An API key with `mint` says whose ticket it is. A token says that by itself: nothing beside it.",
    ),
    "Ticket": fields(
        {"ticket": ref("TicketText"), "expires_in": {"const": grants.TICKET_S, "description": "Seconds."}}
    ),
    "TicketGiven": fields(
        {"ticket": {"type": "string"}},
        {"origin": {"type": ["string", "null"], "description": "The page's, as the hub heard it."}},
        additionalProperties=False,
    ),
    "Principal": fields(
        {
            "username": ref("Username"),
            "run_ids": or_null(RUN_IDS),
            "expires_at": TIME,
            "issued_at": {**TIME, "description": "Unix seconds; 0: the token did not say."},
            "token_id": {"type": ["string", "null"]},
        },
        description="Who the ticket's holder is, and until when.",
    ),
    "WatchTokenWanted": fields(
        {"username": ref("Username")},
        {
            "run_ids": or_null(RUN_IDS),
            "ttl": {**whole(LEAST_S, MOST_S, "Seconds for which it holds."), "default": DEFAULT_S},
        },
        additionalProperties=False,
    ),
    "WatchToken": fields(
        {
            "token": {
                "type": "string",
                "pattern": r"^[\w-]+\.[\w-]+\.[\w-]+$",
                "description": "A JWT. It lets its holder watch, and write nothing.",
            },
            "expires_at": TIME,
        }
    ),
    "RevocationWanted": {
        "oneOf": [
            fields({"username": ref("Username")}, additionalProperties=False),
            fields({"token_id": ref("TokenId")}, {"expires_at": UNTIL}, additionalProperties=False),
        ],
        "description": "All tokens of a user that were issued until now, or one token.",
    },
    "Revoked": fields({"number": NUMBER, "before": or_null(BEFORE)}, description="`before` is null for one token."),
    "Revocations": fields(
        {
            "epoch": ref("Epoch"),
            "revocations": listed({"oneOf": [ref("RevokedUser"), ref("RevokedToken")]}, 0, revoked.PAGE),
            "next": whole(0, history.MAX_ID, "The `after` of the next page."),
        }
    ),
    "RevokedUser": fields({"number": NUMBER, "username": ref("Username"), "before": BEFORE}),
    "RevokedToken": fields({"number": NUMBER, "token_id": ref("TokenId")}),
}
