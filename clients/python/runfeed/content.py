"""What an event may say, pure: from a worker's arguments to the line that is kept and sent.

The rules are the API's, as far as they can be judged here: what it refuses would spoil a batch. It has the last word.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from .core.protocol import TERMINAL
from .names import KEY, RULES, TYPE

RESERVED = ("id", "seq", "recorded_at", "control")
STEP_STATUSES = ("started", "completed", "failed", "skipped", "progress")
FRAME_BYTES = 64 * 1024
TIMESTAMP = 1e11  # unix seconds; a time in milliseconds is above it
INTEGERS = (-(2**63), 2**64 - 1)
DEPTH = 64  # levels
ERROR_CHARACTERS = 8 * 1024  # of a failure's text: with its escapes it stays far below a frame

TERMINAL_STARTS = tuple(f'{{"type":"{name}",'.encode() for name in TERMINAL)
_ENCODE = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
_SUSPICIOUS = re.compile(r"\\u0000|[0-9]{19}")  # a NUL, a great integer, or text that looks like one
_SURROGATES = re.compile("[\ud800-\udfff]")


class Refused(Exception):
    """An event that the API would refuse; the text says why."""


def line(kind: Any, fields: Mapping[str, Any], run_id: str, key: str, now: float) -> bytes:
    """Returns the event as one line of compact JSON, without the newline. Raises Refused.

    key: its event_id, unless the fields have their own. now: unix seconds, unless the fields have a timestamp.
    """
    if not isinstance(kind, str) or not TYPE.fullmatch(kind):
        raise Refused(f"type: {RULES[TYPE]}")
    event = {"type": kind, "timestamp": now, "event_id": key, **fields}
    _check_names(event, kind, run_id)
    try:
        text = _ENCODE(event)
        encoded = text.encode()
    except UnicodeEncodeError:
        raise Refused("has a lone surrogate, which is not Unicode") from None
    except RecursionError:
        raise Refused(f"is nested deeper than {DEPTH} levels, or in a circle") from None
    except Exception as error:  # noqa: BLE001 - an object of the worker's may raise anything when it is looked at
        raise Refused(f"cannot be written as JSON: {failure(error)['error']}") from None
    if len(encoded) > FRAME_BYTES:
        raise Refused(f"its frame must not exceed {FRAME_BYTES} bytes")
    if _SUSPICIOUS.search(text) or text.count("{") + text.count("[") > DEPTH:
        _check_values(json.loads(text))
    return encoded


def is_terminal(encoded: bytes) -> bool:
    """Whether this line of ours ends its run."""
    return encoded.startswith(TERMINAL_STARTS)


def key_of(encoded: bytes) -> str:
    """What a person finds an event by in a log: its type and its key."""
    try:
        event = json.loads(encoded)
        return f"{event['type']} {event['event_id']}"
    except (ValueError, KeyError, TypeError):
        return repr(encoded[:80])


def clean(text: str, most: int = ERROR_CHARACTERS) -> str:
    """Returns text that any event may hold: cut, NUL and lone surrogates replaced."""
    return _SURROGATES.sub("\ufffd", text[:most].replace("\0", "\ufffd"))


def step(number: Any, name: Any, status: Any, duration: Any, details: Any, total: int | None) -> dict[str, Any]:
    """Returns a step's fields. Raises Refused."""
    if status not in STEP_STATUSES:
        raise Refused(f"status: must be one of {', '.join(STEP_STATUSES)}")
    fields = {"step_number": number, "step_name": name, "status": status}
    fields.update({} if duration is None else {"duration": duration})
    fields.update({} if details is None else {"details": details})
    fields.update({} if total is None else {"total_steps": total})
    return fields


def progress(percent: Any, message: Any) -> dict[str, Any]:
    """Returns the fields of a progress event. Raises Refused."""
    if isinstance(percent, bool) or not isinstance(percent, (int, float)) or not 0 <= percent <= 100:
        raise Refused("progress: must be a number, 0 to 100")
    return {"progress": percent} if message is None else {"progress": percent, "message": message}


def failure(error: Any) -> dict[str, Any]:
    """Returns the fields of a failure: an exception's type and message, or text. Never raises."""
    if error is None:
        return {}
    name = type(error).__name__
    try:
        message = str(error)
    except Exception:  # noqa: BLE001 - somebody's __str__; the failure is reported all the same
        return {"error": name}
    if not isinstance(error, BaseException):
        return {"error": clean(message)}
    return {"error": clean(f"{name}: {message}" if message else name)}


def _check_names(event: Mapping[str, Any], kind: str, run_id: str) -> None:
    for reserved in RESERVED:
        if reserved in event:
            raise Refused(f"{reserved}: is given by the server and reserved")
    if event["type"] is not kind:
        raise Refused("type: is given twice")
    if event.get("run_id", run_id) != run_id:
        raise Refused("run_id: must be the run's own, or left out")
    if not isinstance(event["event_id"], str) or not KEY.fullmatch(event["event_id"]):
        raise Refused(f"event_id: {RULES[KEY]}")
    timestamp = event["timestamp"]
    if isinstance(timestamp, bool) or not isinstance(timestamp, (int, float)) or not 0 <= timestamp <= TIMESTAMP:
        raise Refused("timestamp: must be unix seconds, a number from 0 to 1e11 (not milliseconds)")


def _check_values(event: Any) -> None:
    """Raises Refused for what no frame can carry; level by level, because recursion has a limit."""
    level = [event]
    for _ in range(DEPTH + 1):  # the event itself is none of them
        deeper: list[Any] = []
        for item in level:
            if isinstance(item, str) and "\0" in item:
                raise Refused("has a NUL (\\u0000), which no text can hold")
            if isinstance(item, int) and not INTEGERS[0] <= item <= INTEGERS[1]:
                raise Refused("has an integer beyond 64 bits")
            if isinstance(item, dict):
                deeper.extend(item)
                deeper.extend(item.values())
            elif isinstance(item, list):
                deeper.extend(item)
        level = deeper
    if level:
        raise Refused(f"is nested deeper than {DEPTH} levels")
