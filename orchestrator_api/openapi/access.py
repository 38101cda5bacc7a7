"""The document's schemas of who may: tickets, watch tokens, revocations."""

from orchestrator_api import history
from orchestrator_api.openapi.schemas import TIME, Schema, fields, listed, or_null, ref, whole

RUN_IDS: Schema = listed(ref("RunId"), 1, history.RUN_FILTERS, "These runs only. Left out: all of the user's.")
NUMBER: Schema = whole(1, history.MAX_ID, "Counts revocations, in the order of their commits.")
TTL = (60, 86_400, 900)  # seconds: least, most, by default
TICKET_S = 30
PAGE = 10_000  # revocations

SCHEMAS: dict[str, Schema] = {
    "TokenId": {"type": "string", "minLength": 1, "maxLength": 256, "description": "The `jti` of a token."},
    "TicketText": {
        "type": "string",
        "pattern": "^rft_[A-Za-z0-9_-]+$",
        "description": f"The only credential that may stand in a URL, as it is of use once, for {TICKET_S} s.",
    },
    "TicketWanted": fields(
        {"username": ref("Username")},
        {"run_ids": RUN_IDS},
        description="For an API key with `mint`. A token says by itself whose ticket it is, and sends no body.",
    ),
    "Ticket": fields({"ticket": ref("TicketText"), "expires_in": {"const": TICKET_S, "description": "Seconds."}}),
    "TicketGiven": fields(
        {"ticket": {"type": "string"}},
        {"origin": {"type": "string", "description": "The page's, as the hub heard it."}},
    ),
    "Principal": fields(
        {
            "username": ref("Username"),
            "run_ids": or_null(RUN_IDS),
            "expires_at": TIME,
            "issued_at": {**TIME, "description": "Unix seconds; 0: the token did not say."},
            "token_id": or_null({"type": "string"}),
        },
        description="Who the ticket's holder is, and until when.",
    ),
    "WatchTokenWanted": fields(
        {"username": ref("Username")},
        {
            "run_ids": RUN_IDS,
            "ttl": {**whole(*TTL[:2], "Seconds for which it holds."), "default": TTL[2]},
        },
    ),
    "WatchToken": fields(
        {
            "token": {"type": "string", "description": "A JWT. It lets its holder watch, and write nothing."},
            "expires_at": TIME,
        }
    ),
    "RevocationWanted": {
        "oneOf": [
            fields({"username": ref("Username")}, {"token_id": False}),
            fields(
                {"token_id": ref("TokenId")},
                {
                    "username": False,
                    "expires_at": {**TIME, "description": "When the token expires: until then it is kept."},
                },
            ),
        ],
        "description": "All tokens of a user that were issued until now, or one token by its `jti`.",
    },
    "Revoked": fields({"number": NUMBER, "before": {**TIME, "description": "Tokens issued until then are refused."}}),
    "Revocations": fields(
        {
            "epoch": ref("Epoch"),
            "revocations": listed(
                {
                    "oneOf": [
                        fields({"number": NUMBER, "username": ref("Username"), "before": TIME}, {"token_id": False}),
                        fields({"number": NUMBER, "token_id": ref("TokenId")}, {"username": False}),
                    ]
                },
                0,
                PAGE,
            ),
            "next": whole(0, history.MAX_ID, "The `after` of the next page."),
        }
    ),
}
