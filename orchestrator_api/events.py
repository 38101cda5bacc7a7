"""Events and runs, pure: what a worker may say, how it becomes a frame, what it does to its run.

A frame is `{"id":N,"seq":M,` + tail. The tail is encoded once, here, and never parsed again by us. `recorded_at` is
only known when the append is taken into its transaction, so a tail waits as two halves around it.
"""

import hashlib
import json
import math
import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import orjson

from orchestrator_api.errors import BadRequest

RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}")
USERNAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@|:+-]{0,127}")
TYPE = re.compile(r"[a-z][a-z0-9_.-]{0,63}")
KEY = re.compile(r"[!-~]{1,255}")
CURSOR = re.compile(r"0|[1-9][0-9]{0,15}")

RULES = {
    RUN_ID: "must be 1 to 128 characters: a letter or digit, then letters, digits and . _ : @ -",
    USERNAME: "must be 1 to 128 characters: a letter or digit, then letters, digits and . _ @ | : + -",
    TYPE: "must be 1 to 64 characters: a small letter, then small letters, digits and _ . -",
    KEY: "must be 1 to 255 visible ASCII characters",
    CURSOR: "must be an event's id: 0, or up to 16 digits without a leading 0",
}

RESERVED = ("id", "seq", "recorded_at", "control")
TERMINAL = {"workflow_completed": "completed", "workflow_failed": "failed", "workflow_cancelled": "cancelled"}
ENDED = frozenset(TERMINAL.values())
RENDERING = "steps_completed"  # the steps are done and an external render is watched
STATUSES = ("queued", "running", "rendering", *TERMINAL.values())

FRAME_BYTES = 64 * 1024  # what a hub must be able to send to a thousand sockets without a thought
TIMESTAMP = 1e11  # unix seconds; a time in milliseconds is above it, and is refused instead of shown in the year 55000
INTEGERS = (-(2**63), 2**64 - 1)  # what every JSON library of ours keeps exactly
DEPTH = 64  # levels; every reader's recursion limit is above it
NUMBERS_BYTES = len('{"id":9007199254740991,"seq":9007199254740991,') + len("1697234568.412345")  # the rest of a frame

TOO_LARGE = Decimal("Infinity")  # stands for a number beyond a double's range


@dataclass(slots=True)
class Event:
    """One event, ready to be stored: its tail in two halves around recorded_at, its key, what it does to its run."""

    before: bytes
    after: bytes
    key: str | None
    digest: bytes | None
    status: str | None
    progress: float | None
    step: str | None

    def tail(self, recorded_at: float) -> bytes:
        """Returns the frame without its numbers, from "run_id" on. recorded_at: unix seconds."""
        return self.before + orjson.dumps(recorded_at) + self.after

    @property
    def terminal(self) -> bool:
        """True when it ends its run."""
        return self.status in ENDED


def frame(event_id: int, seq: int, tail: bytes) -> bytes:
    """Returns the bytes that everybody receives."""
    return b'{"id":%d,"seq":%d,%b' % (event_id, seq, tail)


def name(pattern: re.Pattern[str], value: Any, field: str) -> str:
    """Returns value when it is text of that pattern. Raises BadRequest that names the field and states the rule."""
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise BadRequest(field, RULES[pattern])
    return value


class _Twice(dict[str, Any]):
    """An object in which a name stood twice; `name` is the first such."""

    name: str


def parse(body: bytes) -> Any:
    """Returns the JSON value of a body. Raises BadRequest (400) when it is none.

    What only a careful reading sees (a name given twice, an integer that orjson would turn into a float) leaves its
    mark in the value, and `event` finds it there. When writing the value gives the same bytes again, it held none.
    """
    try:
        value = orjson.loads(body)
        if orjson.dumps(value) == body:
            return value
    except (orjson.JSONDecodeError, orjson.JSONEncodeError, RecursionError):
        pass
    return _parse_carefully(body)


def _parse_carefully(body: bytes) -> Any:
    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(items)
        if len(found) == len(items):
            return found
        seen: set[str] = set()
        twice = _Twice(found)
        twice.name = next(key for key, _ in items if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        return twice

    def constant(text: str) -> None:
        raise ValueError(f"{text} is not JSON")

    def number(text: str) -> float | Decimal:
        value = float(text)
        return value if math.isfinite(value) else TOO_LARGE  # which no frame can carry: `event` refuses it by name

    def integer(text: str) -> int:
        return int(text) if len(text) <= 20 else INTEGERS[1] + 1  # int() refuses thousands of digits, in its own words

    try:
        return json.loads(
            body.decode(), object_pairs_hook=pairs, parse_constant=constant, parse_float=number, parse_int=integer
        )
    except RecursionError:
        raise BadRequest("body", f"is nested deeper than {DEPTH} levels", status=400, code="malformed") from None
    except UnicodeDecodeError:
        raise BadRequest("body", "must be UTF-8", status=400, code="malformed") from None
    except ValueError as error:
        raise BadRequest("body", f"must be JSON: {error}", status=400, code="malformed") from None


def an_object(value: Any, field: str) -> dict[str, Any]:
    """Returns value when it is a JSON object without a name given twice. Raises BadRequest."""
    if not isinstance(value, dict):
        raise BadRequest(field, "must be a JSON object")
    if isinstance(value, _Twice):
        raise BadRequest(_inside(field, value.name), "stands twice in the object")
    return value


def _inside(field: str, key: str) -> str:
    if fault := _text_fault(key):
        return field if fault else key
    return key if field == "body" else f"{field}.{key}"


def event(value: Any, run_id: str, username: str, now: float, field: str = "body") -> Event:
    """Takes one event as a worker sent it. now: unix seconds, when it gives no timestamp. field: its name in errors.

    Raises BadRequest that names the field and the rule; nothing of the event is kept then.
    """
    given = an_object(value, field)
    fields = dict(given)
    if not fields.keys().isdisjoint(RESERVED):
        reserved = next(name for name in RESERVED if name in fields)
        raise BadRequest(_inside(field, reserved), "is given by the server and reserved")
    if fields.pop("run_id", run_id) != run_id:
        raise BadRequest(_inside(field, "run_id"), "must be the run's own, or left out")
    if fields.pop("username", username) != username:
        raise BadRequest(_inside(field, "username"), "must be the run's own, or left out")
    kind = fields.pop("type", None)
    if not isinstance(kind, str) or not TYPE.fullmatch(kind):
        raise BadRequest(_inside(field, "type"), RULES[TYPE])
    timestamp = fields.pop("timestamp", now)
    if isinstance(timestamp, bool) or not isinstance(timestamp, int | float) or not 0 <= timestamp <= TIMESTAMP:
        rule = "must be unix seconds, a number from 0 to 1e11 (not milliseconds)"
        raise BadRequest(_inside(field, "timestamp"), rule)
    key = fields.get("event_id")
    if "event_id" in fields:
        name(KEY, key, _inside(field, "event_id"))
    start = f'"run_id":"{run_id}","username":"{username}","type":"{kind}","timestamp":'
    before = start.encode() + orjson.dumps(timestamp) + b',"recorded_at":'
    most = FRAME_BYTES - len(before) - NUMBERS_BYTES
    encoded = keepable(fields, field, most, f"its frame must not exceed {FRAME_BYTES} bytes")
    after = b"," + encoded[1:] if fields else b"}"
    digest = content_digest(given) if key is not None else None
    status = TERMINAL.get(kind) or ("rendering" if kind == RENDERING else None)
    return Event(before, after, key, digest, status, _progress(fields, status), _step(fields))


def content_digest(value: Any) -> bytes:
    """Returns a hash of what was said, the same for the same content in another order of names."""
    return hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).digest()


def keepable(value: Any, field: str, most: int, rule: str) -> bytes:
    """Returns value as JSON of at most so many bytes. Raises BadRequest (rule), or one that names the faulty part."""
    try:
        encoded = orjson.dumps(value)
    except (orjson.JSONEncodeError, TypeError, RecursionError):
        encoded = None
    if encoded is not None and len(encoded) > most:  # before its parts are looked at one by one
        raise BadRequest(field, rule, code="too_big")
    # The last two are only suspicions: an escaped backslash before "u0000", many brackets side by side.
    if encoded is None or b"\\u0000" in encoded or encoded.count(b"{") + encoded.count(b"[") > DEPTH:
        for key, child in value.items() if isinstance(value, dict) else [(None, value)]:
            if key is not None and (fault := _text_fault(key)):
                raise BadRequest(field, f"a name {fault}")
            _check(child, field if key is None else _inside(field, key))
    if encoded is None:
        raise BadRequest(field, "cannot be written as JSON")
    return encoded


def _check(value: Any, field: str) -> None:
    """Raises BadRequest for what no frame can carry, anywhere inside; level by level, because recursion has a limit."""
    level = [value]
    for _ in range(DEPTH):
        deeper: list[Any] = []
        for item in level:
            if fault := _fault(item):
                raise BadRequest(field, fault)
            if isinstance(item, dict):
                deeper.extend(item)  # its names are text as well
                deeper.extend(item.values())
            elif isinstance(item, list):
                deeper.extend(item)
        level = deeper
    if level:
        raise BadRequest("body", f"is nested deeper than {DEPTH} levels", status=400, code="malformed")


def _fault(value: Any) -> str | None:
    if isinstance(value, str):
        return _text_fault(value)
    if isinstance(value, int) and not isinstance(value, bool) and not INTEGERS[0] <= value <= INTEGERS[1]:
        return "has an integer beyond 64 bits"
    if isinstance(value, Decimal):
        return "has a number beyond a double's range"
    return None


def _text_fault(text: str) -> str | None:
    if "\0" in text:
        return "has a NUL (\\u0000), which no text can hold"
    if any("\ud800" <= character <= "\udfff" for character in text):
        return "has a lone surrogate, which is not Unicode"
    return None


def _progress(fields: dict[str, Any], status: str | None) -> float | None:
    """What the event says of the run's progress, 0 to 100: `progress`, or a completed step's number among the total."""
    if status == "completed":
        return 100.0
    value = fields.get("progress")
    step, total = fields.get("step_number"), fields.get("total_steps")
    if value is None and fields.get("status") == "completed" and type(step) is int and type(total) is int and total > 0:
        value = 100 * step / total
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 100:
        return None
    return float(value)


def _step(fields: dict[str, Any]) -> str | None:
    """What the run is at: the step or node that the event names."""
    for key in ("step_name", "node_id"):
        value = fields.get(key)
        if isinstance(value, str) and 0 < len(value) <= 256:
            return value
    return None
