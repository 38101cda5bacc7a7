"""What is given to clients in place of what must not travel, and what is taken back.

A ticket stands for a token in a socket's address: single use, thirty seconds, and only its SHA-256 is kept. A watch
token is a user's token that a backend asks for. A revocation says which tokens hold no longer.
"""

import re
import secrets
import time
from typing import Any

from orchestrator_api import events, tokens
from orchestrator_api.caller import User
from orchestrator_api.errors import BadRequest, Forbidden, Problem, run_unknown
from orchestrator_api.keys import digest_of
from orchestrator_api.revoked import PAGE
from orchestrator_api.store import Reader
from orchestrator_api.web import Answer, Request, json_response, query_name, read_body

TICKET = re.compile(r"rft_[A-Za-z0-9_-]{43}")
TICKET_S = 30  # seconds in which a ticket can be used
SESSION_S = 900  # seconds for which the socket of a ticket lasts that no token stands behind
WATCH_S = (60, 900, 86_400)  # seconds for which a watch token lasts: at least, by default, at most
REVOKED_S = 30 * 86_400  # seconds for which a revoked token is remembered whose end nobody says
NO_STORE = {"Cache-Control": "no-store"}


async def not_configured(_: Request) -> Answer:
    """Answers a call that means nothing where nobody proves who they are."""
    raise Forbidden(None, "no key for tokens is configured here: see AUTH_HMAC_KEY", code="not_configured")


class Grants:
    """The calls. watch_key: signs watch tokens, for this audience; None: there are none."""

    def __init__(self, reader: Reader, watch_key: bytes | None, audience: str) -> None:
        self._reader = reader
        self._watch_key = watch_key
        self._audience = audience

    async def ticket(self, request: Request) -> Answer:
        """POST /tickets: 201 with a ticket for the caller's own token, or for the user that an API key names."""
        body = await read_body(request)
        said = events.an_object(events.parse(body), "body") if body else {}
        if isinstance(request.caller, User):
            _only(said, ())
            mine = request.caller.principal
            username, expires_at, issued_at = mine.username, mine.expires_at, mine.issued_at
            run_ids, token_id = None if mine.runs is None else sorted(mine.runs), mine.token_id
        else:
            _only(said, ("username", "run_ids"))
            username, run_ids = await self._for_whom(request, said)
            issued_at, token_id = time.time(), secrets.token_urlsafe(16)  # its socket counts apart from others
            expires_at = request.caller.no_later_than(issued_at + SESSION_S)
        ticket = "rft_" + secrets.token_urlsafe(32)
        session = (username, run_ids, expires_at, issued_at, token_id)
        await self._reader.fetch("add_ticket", digest_of(ticket), TICKET_S, request.headers.get("Origin"), *session)
        return json_response({"ticket": ticket, "expires_in": TICKET_S}, status=201, headers=NO_STORE)

    async def redeem(self, request: Request) -> Answer:
        """POST /tickets/redeem: 200 with whom the ticket is for, once."""
        said = await _object(request, "ticket", "origin")
        ticket, origin = said.get("ticket"), said.get("origin")
        if not isinstance(ticket, str):
            raise BadRequest("ticket", "must be text")
        if origin is not None and not isinstance(origin, str):
            raise BadRequest("origin", "must be text, or left out")
        row = await self._reader.one("use_ticket", digest_of(ticket)) if TICKET.fullmatch(ticket) else None
        if row is None or not row["good"] or _of_another_page(row["origin"], origin):
            # One answer for all of it: whoever tries tickets out learns nothing of them.
            raise Problem(
                404, "ticket_unknown", "there is no such ticket, or it cannot be used any more", field="ticket"
            )
        names = ("username", "run_ids", "expires_at", "issued_at", "token_id")
        return json_response({name: row[name] for name in names}, headers=NO_STORE)

    async def watch_token(self, request: Request) -> Answer:
        """POST /watch-tokens: 201 with a token for a user, or for some of their runs."""
        if self._watch_key is None:
            raise Forbidden(
                None, "no key for watch tokens is configured here: see WATCH_TOKEN_KEY", code="not_configured"
            )
        said = await _object(request, "username", "run_ids", "ttl")
        ttl = said.get("ttl", WATCH_S[1])
        if type(ttl) is not int or not WATCH_S[0] <= ttl <= WATCH_S[2]:
            raise BadRequest("ttl", f"must be seconds, a whole number from {WATCH_S[0]} to {WATCH_S[2]}")
        username, run_ids = await self._for_whom(request, said)
        now = time.time()
        ttl = request.caller.no_later_than(now + ttl) - now
        token = tokens.mint(self._watch_key, username=username, runs=run_ids, audience=self._audience, now=now, ttl=ttl)
        return json_response({"token": token, "expires_at": now + ttl}, status=201, headers=NO_STORE)

    async def _for_whom(self, request: Request, said: dict[str, Any]) -> tuple[str, list[str] | None]:
        """Returns the user and the runs that an API key names. Raises Problem when they are not for it."""
        username = events.name(events.USERNAME, said.get("username"), "username")
        run_ids = run_list(said.get("run_ids"))
        request.caller.check_user(username)
        if run_ids is None:
            request.caller.check_whole(username)
            return username, None
        owned = {row["run_id"] for row in await self._reader.fetch("owned_runs", username, run_ids)}
        for index, run_id in enumerate(run_ids):
            if run_id not in owned or not request.caller.covers(username, run_id):
                raise run_unknown(run_id, f"run_ids[{index}]")
        return username, run_ids

    async def revoke(self, request: Request) -> Answer:
        """POST /revocations: 201 with the revocation's number. From then on the tokens are refused."""
        said = await _object(request, "username", "token_id", "expires_at")
        if ("username" in said) is ("token_id" in said):
            raise BadRequest("username", "must be given, or token_id: one of the two")
        username = token_id = until = None
        if "username" in said:
            _only(said, ("username",))
            username = events.name(events.USERNAME, said["username"], "username")
            request.caller.check_whole(username)
        else:
            token_id = said["token_id"]
            if not isinstance(token_id, str) or not tokens.TOKEN_ID.fullmatch(token_id):
                raise BadRequest("token_id", "must be 1 to 256 visible ASCII characters")
            request.caller.check_everything()
            until = _time(said.get("expires_at", time.time() + REVOKED_S))
        row = await self._reader.one("revoke", username, token_id, until)
        return json_response({"number": row["number"], "before": row["before"]}, status=201, headers=NO_STORE)

    async def revocations(self, request: Request) -> Answer:
        """GET /revocations?after=N: those after a number, a page at most, in the order of their commits."""
        after = int(query_name(request, "after", events.CURSOR) or 0)
        rows = await self._reader.fetch("revocations", after, PAGE)
        found = [_revocation(row) for row in rows if row["number"] is not None]
        last = found[-1]["number"] if found else after
        return json_response({"epoch": rows[0]["epoch"], "revocations": found, "next": last}, headers=NO_STORE)


def run_list(value: Any) -> list[str] | None:
    """Returns run ids, each once, or None. Raises BadRequest."""
    if value is None:
        return None
    most = tokens.MOST_RUNS
    if not isinstance(value, list) or not 0 < len(value) <= most:
        raise BadRequest("run_ids", f"must be a list of 1 to {most} run ids, or left out for all of the user's")
    return list(dict.fromkeys(events.name(events.RUN_ID, each, f"run_ids[{n}]") for n, each in enumerate(value)))


def _of_another_page(asked: str | None, shown: str | None) -> bool:
    """True for a ticket that one page asked for and another one shows.

    A browser says the origin of whoever posts, and not of whoever gets from the page's own: an EventSource of the
    hub's origin has none to show. What is no page may show any, so that leaving it out lets nobody in.
    """
    return asked is not None and shown is not None and asked != shown


def _revocation(row: Any) -> dict[str, Any]:
    if row["username"] is None:
        return {"number": row["number"], "token_id": row["token_id"]}
    return {"number": row["number"], "username": row["username"], "before": row["before"]}


def _time(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= events.TIMESTAMP:
        raise BadRequest("expires_at", "must be unix seconds, a number from 0 to 1e11 (not milliseconds)")
    return float(value)


async def _object(request: Request, *fields: str) -> dict[str, Any]:
    said = events.an_object(events.parse(await read_body(request)), "body")
    _only(said, fields)
    return said


def _only(said: dict[str, Any], fields: tuple[str, ...]) -> None:
    for field in said.keys() - set(fields):
        raise BadRequest(
            field, f"is not one of {', '.join(fields)}" if fields else "does not belong to a token's ticket"
        )
