"""What a socket or a stream may see, and what a query asks for. No I/O."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from .errors import Refusal
from .wire import DEFLATED, RUN_ID, TEXT, USERNAME

MAX_RUNS: Final = 128  # run_id filters of one socket
CURSOR: Final = re.compile(r"0|[1-9][0-9]{0,15}")
_MAX_PARAMETERS: Final = 256  # far above what /ws knows; bounds the work for one request line


@dataclass(frozen=True, slots=True)
class Admission:
    """What a socket may see: the events of `username`, in `runs` only unless that is None.

    Fields:
        username: whose events; "": of the run's owner, or of whoever the token is.
        after, epoch: the cursor that the client brought.
        run_id: the run whose path this is; its owner must be looked up.
        path: for the log, without any name.
        encoding: wire.TEXT for a WebSocket, else an SSE.
        controls: the client offered runfeed.v1.
        resumed: the cursor is a Last-Event-ID: an EventSource's own, which no other status than 200 can tell anything.
        deflate: permessage-deflate was negotiated.
    """

    username: str
    runs: frozenset[str] | None
    after: int | None = None
    epoch: str | None = None
    run_id: str | None = None
    path: str = "/ws"
    encoding: int = TEXT
    controls: bool = False
    resumed: bool = False
    deflate: bool = False

    @property
    def partial(self) -> bool:
        """Some runs of the feed only, which its first word must say: on the path of a run everybody knows it."""
        return self.runs is not None and self.run_id is None

    @property
    def written_as(self) -> int:
        """The encoding of the events: of a WebSocket's they may be compressed, what the hub itself says is not."""
        return DEFLATED if self.deflate else self.encoding


def split_target(target: str) -> tuple[str, str]:
    """Path and query of a request target; the absolute form (RFC 9112, 3.2.2) is the same as the origin form.

    Raises:
        Refusal: 400, the target is no URL.
    """
    if target.startswith("/"):
        path, _, query = target.partition("?")
        return path, query
    try:
        parts = urlsplit(target)
    except ValueError as exc:
        raise Refusal(400, "the request target is not a URL") from exc
    return parts.path, parts.query


def admit(query: str, run_id: str | None = None, proven: bool = False) -> Admission:
    """What a query asks for; `run_id`: on the path of that run; `proven`: a token says who asks.

    Raises:
        Refusal: 400 for a broken rule.
    """
    values = _values(query)
    after = cursor(values.get("after", []), "after")
    epochs = values.get("epoch", [])
    if len(epochs) > 1:
        raise Refusal(400, "epoch must be given once", "epoch")
    epoch = epochs[0] if epochs else None
    optional = proven or run_id is not None
    username = "" if optional and "username" not in values else _username(values.get("username", []))
    if run_id is None:
        return Admission(username, _runs(values.get("run_id", [])), after, epoch)
    return Admission(username, frozenset((run_id,)), after or 0, epoch, run_id)


def values_of(target: str) -> dict[str, list[str]]:
    """The parameters of a request target, each with its values.

    Raises:
        Refusal: 400, there is no reading them.
    """
    return _values(split_target(target)[1])


def _values(query: str) -> dict[str, list[str]]:
    values: dict[str, list[str]] = {}
    try:
        pairs = parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=_MAX_PARAMETERS)
    except ValueError as exc:  # UnicodeDecodeError among them
        raise Refusal(400, f"the query must be form-encoded UTF-8 with at most {_MAX_PARAMETERS} parameters") from exc
    for name, value in pairs:
        values.setdefault(name, []).append(value)
    return values


def _username(given: list[str]) -> str:
    if len(given) != 1:
        problem = "is required" if not given else "must be given once"
        raise Refusal(400, f"username {problem}: /ws?username=NAME", "username")
    if USERNAME.fullmatch(given[0]):
        return given[0]
    rule = f"username must match ^{USERNAME.pattern}$"
    if " " in given[0]:
        rule += "; in a query '+' is a space, write %2B for a plus"
    raise Refusal(400, rule, "username")


def _runs(given: list[str]) -> frozenset[str] | None:
    if len(given) > MAX_RUNS:
        raise Refusal(400, f"run_id may be given at most {MAX_RUNS} times", "run_id")
    if not all(map(RUN_ID.fullmatch, given)):
        raise Refusal(400, f"run_id must match ^{RUN_ID.pattern}$", "run_id")
    return frozenset(given) if given else None


def cursor(given: list[str], field: str) -> int | None:
    """The cursor that `field` gives; None: it gives none.

    Raises:
        Refusal: 400 for what is no cursor, or two of them.
    """
    if len(given) > 1 or not all(map(CURSOR.fullmatch, given)):
        raise Refusal(400, f"{field} must be given once and match ^({CURSOR.pattern})$", field)
    return int(given[0]) if given else None
