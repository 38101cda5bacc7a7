"""What the services and their clients agree on. tests/contract/contract.json has the same; a test compares them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final, Literal

# An event of a run, as it was stored: run_id, username, type; id and seq when the API numbered it; the producer's own.
RunEvent = dict[str, Any]
Status = Literal["queued", "running", "rendering", "completed", "failed", "cancelled"]
Stream = Literal["websocket", "sse"]
# How events reach us now. none: not at all, for the moment.
Transport = Literal["websocket", "sse", "poll", "none"]
# Why a client polls: what the server's orchestrator_polls_total{cause} counts.
Cause = Literal["ws_never", "ws_gap", "ws_idle", "ws_down", "forced"]
# What to do about a close: resume and after_delay come back; never: the same request would end the same way.
Comeback = Literal["resume", "after_delay", "without_cursor", "never"]

SUBPROTOCOL: Final = "runfeed.v1"
RUN_FILTERS: Final = 128  # `run_id`s in one request
FILTER_LENGTH: Final = 2_000  # characters of them all; escaped they are up to three times as many, in a line of 8 KiB
CAUSES: Final[tuple[Cause, ...]] = ("ws_never", "ws_gap", "ws_idle", "ws_down", "forced")
CLOSED: Final[tuple[Status, ...]] = ("completed", "failed", "cancelled")
TERMINAL: Final[dict[str, Status]] = {
    "workflow_completed": "completed",
    "workflow_failed": "failed",
    "workflow_cancelled": "cancelled",
}
CLOSE_CODES: Final[dict[int, Comeback]] = {
    1001: "resume",
    1008: "after_delay",
    1009: "never",
    1012: "after_delay",
    1013: "after_delay",
    4400: "never",
    4401: "never",
    4403: "never",
    4404: "never",
    4408: "resume",
    4409: "without_cursor",
    4410: "resume",
}


class RunfeedError(Exception):
    """Why a client gave up, or what it cannot do now.

    Attributes:
        code: a stable name for programs: the server's, or one of ours (unreachable, refused, http, closed).
        status: the HTTP status or the WebSocket close code; 0 when there was none.
    """

    def __init__(self, code: str, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


def may_filter(runs: Sequence[str]) -> bool:
    """Whether a request for a feed may name these runs; "" is the whole feed. Else it asks for all of them."""
    return len(runs) <= RUN_FILTERS and len("&run_id=".join(runs)) <= FILTER_LENGTH and "" not in runs


def parse_object(given: str | bytes) -> dict[str, Any] | None:
    """The object in a JSON text; None when the text is no JSON object."""
    try:
        value = json.loads(given, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def whole(value: object) -> int | None:
    """The whole number that a JSON value is, 3.0 included; None when it is none."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def text(value: object) -> str | None:
    """The text that a JSON value is; None when it is none."""
    return value if isinstance(value, str) else None
