"""Who asks: which of a request's credentials counts, and what a principal may see of what was asked for. No I/O.

Four carriers, the first that is there: `Authorization: Bearer`, the subprotocol `bearer.<token>` beside `runfeed.v1`,
`?ticket=`, and for a WebSocket its first message. What is in a URL is in logs and histories: a token there is refused,
a ticket works once.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

import msgspec

from .admission import Admission, values_of
from .errors import Refusal
from .tokens import Principal
from .wire import CONTROL_PROTOCOL, TEXT

TICKETS: Final = "/api/v1/tickets"  # of the API
WATCH_TOKENS: Final = "/api/v1/watch-tokens"  # the same
API_KEY: Final = "rfk_"  # what an API key begins with
_BEARER: Final = re.compile(r"bearer(?: +(.*))?", re.IGNORECASE | re.DOTALL)
_OFFER: Final = "bearer."
_TICKET: Final = re.compile(r"rft_[A-Za-z0-9_-]{1,256}")
_FORBIDDEN: Final = frozenset({"token", "access_token", "jwt", "authorization", "bearer"})  # parameters
# What a JWT or an API key looks like. Names may have dots, so those that the query is there for are not looked at.
_SECRET: Final = re.compile(r"(?=.{40})eyJ[A-Za-z0-9_-]*\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*|rfk_.*", re.DOTALL)
_ASKED: Final = frozenset({"username", "run_id", "after", "epoch"})


@dataclass(frozen=True, slots=True)
class Credential:
    """What somebody shows. text: the token or the ticket. origin: of the page that shows a ticket, if it is a page."""

    text: str
    ticket: bool = False
    origin: str | None = None


class Fields(Protocol):
    """A request's header."""

    def get(self, key: str) -> str | None:
        """The one field of this name; None: there is none."""

    def get_all(self, key: str) -> list[str]:
        """All fields of this name."""


class _Said(msgspec.Struct):
    type: str = ""
    token: Any = None


_read: Final = msgspec.json.Decoder(_Said).decode


def refused(code: str, detail: str) -> Refusal:
    """401: whoever this is has to say so anew."""
    return Refusal(401, detail, code=code, headers=(("WWW-Authenticate", "Bearer"),))


def missing() -> Refusal:
    """Nobody said who they are."""
    detail = "say who you are: `Authorization: Bearer`, the subprotocols `runfeed.v1, bearer.<token>`, or `?ticket=`"
    return refused("token_missing", detail)


def revoked(why: str) -> Refusal:
    """The token was good until somebody revoked it."""
    return refused("token_revoked", why)


def api_key() -> Refusal:
    """A program's key in the place of a token: it opens calls of the API, which gives away what opens a stream."""
    ways = f"a watch token (POST {WATCH_TOKENS}) or a ticket (POST {TICKETS})"
    return refused("token_invalid", f"this is an API key, which opens no stream: get {ways} with a key that may `mint`")


def shown(target: str, fields: Fields, encoding: int) -> Credential | None:
    """The credential of a request that counts; None: a WebSocket that is to say it in its first message.

    Raises:
        Refusal: 400 for one in the wrong place or two in one place, 401 for a stream that has none.
    """
    values = values_of(target)
    ticket = values.get("ticket", [])
    if any(map(_holds_secret, values, values.values())) or any(each.count(".") == 2 for each in ticket):
        detail = f"a token has no place in a URL: get a ticket with POST {TICKETS} and give `ticket=`"
        raise Refusal(400, detail, code="token_in_query")
    if (text := _bearer(fields)) is not None:
        return Credential(text)
    if len(ticket) > 1:
        raise Refusal(400, "ticket must be given once", "ticket")
    if ticket:
        if not _TICKET.fullmatch(ticket[0]):
            raise refused("token_invalid", "this is no ticket")
        return Credential(ticket[0], ticket=True, origin=fields.get("Origin"))
    if encoding != TEXT:
        raise missing()
    return None


def _holds_secret(name: str, values: list[str]) -> bool:
    """Whether this parameter is a token's by its name, or looks like one."""
    return name.lower() in _FORBIDDEN or (name not in _ASKED and any(map(_SECRET.fullmatch, (name, *values))))


def _bearer(fields: Fields) -> str | None:
    """The token of a header."""
    found = [match for each in fields.get_all("Authorization") if (match := _BEARER.fullmatch(each.strip()))]
    if len(found) > 1:
        raise Refusal(400, "Authorization must be given once", "Authorization")
    if found:
        return found[0][1] or ""
    offers = [each.strip() for each in ",".join(fields.get_all("Sec-WebSocket-Protocol")).split(",")]
    tokens = [each.removeprefix(_OFFER) for each in offers if each.startswith(_OFFER)]
    if len(tokens) > 1:
        raise Refusal(400, "one subprotocol may be bearer.<token>", "Sec-WebSocket-Protocol")
    if tokens and CONTROL_PROTOCOL not in offers:
        # We answer no token, and a browser fails a socket, without a word, that is told none of what it offered.
        rule = f"offer `{CONTROL_PROTOCOL}` beside `{_OFFER}...`: a browser wants one of its protocols told back"
        raise Refusal(400, rule, "Sec-WebSocket-Protocol")
    return tokens[0] if tokens else None


def said(message: bytes) -> str | None:
    """The token of `{"type":"auth","token":...}`, "" if it has none; None: this is another message. Never raises."""
    try:
        found = _read(message)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if found.type != "auth":
        return None
    return found.token if isinstance(found.token, str) else ""


def granted(admission: Admission, principal: Principal) -> Admission:
    """What `principal` may see of what was asked for.

    Raises:
        Refusal: 403 for another's name; 404 for a run that the token does not name, as for one that is not there.
    """
    if admission.username not in ("", principal.username):
        raise Refusal(403, "this is not your token's `sub`: leave username out", "username", code="forbidden")
    runs = admission.runs
    if principal.runs is not None:
        if admission.run_id is not None and admission.run_id not in principal.runs:
            raise run_unknown()
        runs = principal.runs if runs is None else runs & principal.runs
    return replace(admission, username=principal.username, runs=runs)


def run_unknown() -> Refusal:
    """One and the same for a run that is not there and one that is another's."""
    return Refusal(404, "there is no such run of this user", "run_id", code="run_unknown")


def as_wide(principal: Principal, runs: frozenset[str] | None) -> bool:
    """Whether a token shows all that a socket shows: these runs, or all of the user's (None)."""
    return principal.runs is None or (runs is not None and runs <= principal.runs)
