"""Where the services are, and what is asked of them over HTTP."""

from __future__ import annotations

import asyncio
import email.utils
import math
import re
import time
from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import quote, urlencode

import aiohttp
from yarl import URL

from .core.actions import Answer, Request
from .core.protocol import RunfeedError, Stream, parse_object, text

DEFAULT_API: Final = "http://127.0.0.1:8081"  # where `./dev run` has it
ANSWER_SECONDS: Final = 10.0  # without a byte; the API itself gives up after 5, and a line may be slow
ANSWER_BYTES: Final = 192 << 20  # a page of history has 2,000 events of 64 KiB at most
RETRY_SECONDS: Final = 300.0  # a server's mistake must not silence a client for a day
USER_AGENT: Final = "runfeed-python/0.1.0"
_PIECE: Final = 1 << 18  # bytes
_API: Final = re.compile(r"https?://[^/?#@\s]+(/[^?#\s]*)?")
_HUB: Final = re.compile(r"wss?://[^/?#@\s]+(/[^?#\s]*)?")
_BARE: Final = "without user, query and fragment"  # a secret may stand there, so the URL is not repeated

Query = Iterable[tuple[str, object]]


def api_base(given: str) -> str:
    """The API's base URL without a slash at its end. Raises RunfeedError."""
    if not _API.fullmatch(given):
        raise RunfeedError("invalid", f"api: must be an http or https URL {_BARE}")
    return given.rstrip("/")


def hub_base(given: str) -> str:
    """The hub's base URL, ws or wss. Raises RunfeedError."""
    url = re.sub("^http(?=s?://)", "ws", given).rstrip("/")
    if not _HUB.fullmatch(url):
        raise RunfeedError("invalid", f"hub: must be a ws or wss URL {_BARE}")
    return url


def encoded(query: Query) -> str:
    """A query string, form-encoded: a plus is %2B. Parameters that are None are left out."""
    return urlencode([(name, str(value)) for name, value in query if value is not None], quote_via=quote)


def retry_after(header: str | None) -> float | None:
    """Seconds to wait, of a Retry-After: a number, or a date. None when it says neither."""
    if header is None:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(header).timestamp() - time.time()
        except (TypeError, ValueError, IndexError, OverflowError):
            return None
    return min(max(seconds, 0.0), RETRY_SECONDS) if math.isfinite(seconds) else None


def bearer(token: str | None) -> dict[str, str]:
    """The header that says who asks."""
    return {} if token is None else {"Authorization": f"Bearer {token}"}


def headers_of(accept: str, token: str | None) -> dict[str, str]:
    """What every request carries."""
    return {"Accept": accept, "User-Agent": USER_AGENT, **bearer(token)}


class Places:
    """Both services. api, hub: base URLs; hub None: what the API says, once it was asked.

    Attributes:
        guessed: the API did not say where the hub is, so it is looked for at the API's own address.
    """

    def __init__(self, session: aiohttp.ClientSession, api: str, hub: str | None, username: str) -> None:
        self.session = session
        self._api = api
        self._hub = hub
        self.guessed = False
        self._username = username

    def __repr__(self) -> str:
        return f"<Places {self._api} {self._hub}>"

    async def hub(self, token: str | None) -> str:
        """The hub's base URL. Raises RunfeedError when it is none, OSError when nobody says where it is."""
        if self._hub is None:
            answer = await self._call("/config", (), token)
            if answer.status not in (200, 404):
                raise OSError(f"{self._api}/api/v1/config: {answer.error}")
            said = text((answer.body or {}).get("hub"))
            self.guessed = said is None
            self._hub = hub_base(said or self._api)
        return self._hub

    def stream_url(self, hub: str, kind: Stream, after: int | None, epoch: str | None) -> str:
        """Where a stream of all of the user's events is opened."""
        query = encoded([("username", self._username), ("after", after), ("epoch", epoch)])
        return f"{hub}/ws?{query}" if kind == "websocket" else f"http{hub[2:]}/sse?{query}"

    async def get(self, request: Request, token: str | None) -> Answer:
        """What a request of the machine's came to."""
        query = [("limit", request.limit), ("after", request.after), ("epoch", request.epoch), ("cause", request.cause)]
        runs = [("run_id", run) for run in request.runs or ()]
        if request.run is None:
            return await self._call(f"/feeds/{quote(self._username, safe='')}/events", [*query, *runs], token)
        # Another user's run is none of ours: its head would be taken for our feed's.
        owner = ("username", self._username)
        return await self._call(f"/runs/{quote(request.run)}/events", [*query, owner], token)

    async def read(self, path: str, query: Query, token: str | None) -> dict[str, Any]:
        """Some JSON of the API's; path is behind /api/v1. Raises RunfeedError when it is refused."""
        answer = await self._call(path, query, token)
        if answer.status == 200 and answer.body is not None:
            return answer.body
        raise answer.error

    async def _call(self, path: str, query: Query, token: str | None) -> Answer:
        url = URL(f"{self._api}/api/v1{path}?{encoded(query)}".rstrip("?"), encoded=True)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=ANSWER_SECONDS, sock_read=ANSWER_SECONDS)
        headers = headers_of("application/json", token)
        try:
            async with self.session.get(url, headers=headers, timeout=timeout) as response:
                body = parse_object(await _whole(response))  # an answer that breaks off is none
                wait = retry_after(response.headers.get("Retry-After")) or 0
        except (aiohttp.ClientError, OSError, asyncio.TimeoutError, ValueError) as error:
            said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            return Answer(0, {"code": "unreachable", "detail": f"{self._api}: {said}"})
        if response.status == 200 and body is None:
            return Answer(0, {"code": "unreachable", "detail": f"{self._api}{path}: the answer is no JSON object"})
        return Answer(response.status, body, 1000 * wait)


async def _whole(response: aiohttp.ClientResponse) -> bytes:
    """A body. ValueError when it is longer than any of the API's."""
    pieces, size = [], 0
    async for piece in response.content.iter_chunked(_PIECE):
        pieces.append(piece)
        size += len(piece)
        if size > ANSWER_BYTES:
            raise ValueError("the answer is too long")
    return b"".join(pieces)
