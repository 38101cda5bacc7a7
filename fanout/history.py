"""What the API is asked, and what it answers. One method a call; whatever goes wrong is HistoryAway."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeVar
from urllib.parse import quote

import msgspec
import structlog

from .ask import Client
from .errors import CursorUnknown, HistoryAway
from .metrics import Metrics
from .wire import Frame, read_event

MAX_FILTER: Final = 4096  # characters of run filters in a request line; with more of them all runs are read
HEADS: Final = 10_000  # feeds in one question for heads
FEEDS: Final = 1_000  # feeds in one question for events
log = structlog.stdlib.get_logger("fanout")


class Heads(msgspec.Struct):
    """The highest committed id of each feed."""

    epoch: str
    heads: dict[str, int]


class Page(msgspec.Struct):
    """Events of one feed, as their bytes; `next` is the cursor behind them."""

    events: list[msgspec.Raw]
    next: int
    head: int
    epoch: str = ""
    error: str = ""

    def frames(self, username: str, most: int) -> list[Frame]:
        """The frames, the first always and then as many as make `most` bytes; `next` is theirs.

        Raises:
            HistoryAway: they are not this user's, or no frames.
        """
        frames: list[Frame] = []
        size = 0
        for raw in self.events:
            payload = bytes(raw)
            size += len(payload)
            if frames and size > most:
                self.next = frames[-1].id or 0
                break
            try:
                frames.append(read_event(username, payload))
            except ValueError as exc:
                raise HistoryAway(str(exc)) from exc
        return frames


class Pages(msgspec.Struct):
    """Pages of many feeds, of one epoch."""

    epoch: str
    feeds: dict[str, Page]


class Run(msgspec.Struct):
    """What the hub needs to know of a run."""

    run_id: str
    username: str
    status: str


class Revocation(msgspec.Struct):
    """What was revoked: a user's tokens until `before` (unix seconds), or one token."""

    username: str = ""
    before: float = 0.0
    token_id: str = ""


class RevocationPage(msgspec.Struct):
    """A page of what was revoked; `next` is the number behind it, `epoch` that of the numbers."""

    epoch: str
    revocations: list[Revocation]
    next: int


class Redeemed(msgspec.Struct):
    """Whose a ticket was; as the token says it that it was had for."""

    username: str
    run_ids: list[str] | None
    expires_at: float
    issued_at: float = 0.0
    token_id: str | None = None


class _Gone(msgspec.Struct):
    epoch: str = ""
    head: int = 0


class _Problem(msgspec.Struct):
    code: str = ""


T = TypeVar("T")


class History:
    """The API, as far as the hub needs it.

    Args:
        url: its base URL.
        metrics: counts requests by outcome.
        key: an API key, sent along; it opens all feeds.

    Attributes:
        answering: the last question was answered; None: none was asked yet.
        refused: when it was last asked what is revoked, it did not take our key.
    """

    def __init__(self, url: str, metrics: Metrics, key: str | None = None) -> None:
        self._url = f"{url}/api/v1"
        self._metrics = metrics
        self._key = key
        self._client: Client | None = None
        self.answering: bool | None = None
        self.refused = False

    async def close(self) -> None:
        """Close its connections."""
        if self._client is not None:
            await self._client.close()

    async def heads(self, usernames: Iterable[str]) -> Heads:
        """The heads of feeds, HEADS at most."""
        return await self._asked("heads", "POST", "/feeds/heads", Heads, {"usernames": list(usernames)})

    async def pages(self, after: Mapping[str, int]) -> Pages:
        """The next events of feeds, FEEDS at most, each behind its own id."""
        return await self._asked("events", "POST", "/feeds/events", Pages, {"after": after})

    async def page(self, username: str, after: int, limit: int, runs: frozenset[str] | None) -> Page:
        """The next events of one feed, in `runs` only.

        Raises:
            CursorUnknown: history does not know the cursor.
        """
        path = f"/feeds/{quote(username, safe='')}/events?after={after}&limit={limit}"
        named = "".join([f"&run_id={quote(run, safe=':')}" for run in sorted(runs or ())])
        return await self._asked("page", "GET", path + (named if len(named) <= MAX_FILTER else ""), Page)

    async def run(self, run_id: str) -> Run | None:
        """A run; None: there is none of this name."""
        try:
            return await self._asked("run", "GET", f"/runs/{quote(run_id, safe='')}", Run)
        except KeyError:
            return None

    async def revocations(self, after: int) -> RevocationPage:
        """What was revoked behind a number."""
        return await self._asked("revocations", "GET", f"/revocations?after={after}", RevocationPage)

    async def redeem(self, ticket: str, origin: str | None) -> Redeemed | None:
        """Use a ticket up; None: it is unknown, used, too old, or another page's."""
        body = {"ticket": ticket} if origin is None else {"ticket": ticket, "origin": origin}
        try:
            # Asked again where no answer came, it may have been used by the first question: then its bearer is told to
            # get another one.
            return await self._asked("ticket", "POST", "/tickets/redeem", Redeemed, body)
        except KeyError:
            return None

    async def _asked(self, call: str, method: str, path: str, kind: type[T], body: Any = None) -> T:
        """Ask once.

        Raises:
            HistoryAway: no answer, or none that makes sense.
            CursorUnknown: the answer is 410.
            KeyError: the answer is 404.
        """
        data = None if body is None else msgspec.json.encode(body)
        try:
            if self._client is None:
                self._client = Client(self._url, self._key)
            status, answer = await self._client.ask(method, path, data)
            if status == 410:
                gone = msgspec.json.decode(answer, type=_Gone)
                self._done(call, "unknown")
                raise CursorUnknown(gone.epoch, gone.head)
            if status == 404 and call in ("run", "ticket"):
                self._done(call, "unknown")
                raise KeyError(path)
            self._judged(call, status, answer)
            if status != 200:
                raise HistoryAway(f"answered {status}")
            result = msgspec.json.decode(answer, type=kind)
        except (OSError, msgspec.MsgspecError, UnicodeError, HistoryAway) as exc:
            # TimeoutError is an OSError
            self._failed(call, str(exc) or type(exc).__name__)
            raise HistoryAway(str(exc)) from exc
        self._done(call, "ok")
        return result

    def _judged(self, call: str, status: int, answer: bytes) -> None:
        if call != "revocations":  # which every hub asks as long as it stands: one call, so that no two contradict
            return
        refused = status in (401, 403)
        if refused and not self.refused:  # that does not pass by itself: somebody has to change a setting
            code = _code(answer)
            see = "ALLOWED_HOSTS of the API" if code == "host_forbidden" else "FANOUT_HISTORY_KEY"
            log.error("fanout.history_key_refused", status=status, code=code, see=see)
        self.refused = refused

    def _done(self, call: str, outcome: str) -> None:
        self._metrics.history_asked(call, outcome)
        if self.answering is False:
            log.info("fanout.history_back")
        self.answering = True

    def _failed(self, call: str, why: str) -> None:
        self._metrics.history_asked(call, "away")
        if self.answering is not False:
            log.warning("fanout.history_away", reason=why)
        self.answering = False


def _code(answer: bytes) -> str:
    """Why a problem document says it is one; "": this is none."""
    try:
        return msgspec.json.decode(answer, type=_Problem).code
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return ""
