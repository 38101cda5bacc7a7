"""What an event may say, beside the contract's cases (tests/contract/test_python_client.py)."""

import json
from typing import Any

import pytest

from runfeed import content
from runfeed.content import Refused
from runfeed.core.protocol import TERMINAL


class Hostile:
    """An object that raises when it is looked at."""

    def __str__(self) -> str:
        raise RuntimeError("no")


def line(**fields: Any) -> bytes:
    """A line of type `note`."""
    return content.line("note", fields, "r1", "key", 1.5)


def test_a_line() -> None:
    """A line is compact, in the order given, with the type first, by which a run's end is known."""
    assert line(b=1, a="é") == '{"type":"note","timestamp":1.5,"event_id":"key","b":1,"a":"é"}'.encode()
    assert [content.is_terminal(content.line(kind, {}, "r", "k", 1.0)) for kind in TERMINAL] == [True] * 3
    assert not content.is_terminal(line(x="workflow_completed"))


def test_a_workers_own_key_and_time() -> None:
    """An event_id and a timestamp among the fields count."""
    assert json.loads(line(event_id="mine", timestamp=7)) == {"type": "note", "timestamp": 7, "event_id": "mine"}


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"x": object()}, "cannot be written as JSON"),
        ({"x": {1, 2}}, "cannot be written as JSON"),
        ({"x": b"bytes"}, "cannot be written as JSON"),
        ({"x": {(1, 2): 3}}, "cannot be written as JSON"),
        ({"x": 10**5000}, "cannot be written as JSON"),
        ({"type": "other"}, "type: is given twice"),
        ({"x": "a\0b"}, "has a NUL"),
        ({"x": {"a\0": 1}}, "has a NUL"),
        ({"x": 2**64}, "has an integer beyond 64 bits"),
        ({"x": "y" * 65536}, "its frame must not exceed 65536 bytes"),
    ],
)
def test_refusals_say_why(fields: dict[str, Any], why: str) -> None:
    """A refusal names what is wrong."""
    with pytest.raises(Refused, match=why):
        line(**fields)


def test_depth() -> None:
    """64 levels below the event are taken, as the API does, and no more."""
    deep: list[Any] = []
    for _ in range(63):
        deep = [deep]
    line(x=deep)
    with pytest.raises(Refused, match="nested deeper than 64 levels"):
        line(x=[deep])


def test_a_circle_is_refused() -> None:
    """What contains itself is no JSON."""
    circle: list[Any] = []
    circle.append(circle)
    with pytest.raises(Refused):
        line(x=circle)


@pytest.mark.parametrize("status", ["", "done", None, 7, ["started"]])
def test_a_steps_status(status: Any) -> None:
    """Another status than a step's is refused."""
    with pytest.raises(Refused, match=r"^status: must be one of started"):
        content.step(1, "load", status, None, None, None)


@pytest.mark.parametrize("percent", [-1, 100.5, float("nan"), "50", None, True])
def test_progress_is_a_percentage(percent: Any) -> None:
    """Progress is a number from 0 to 100."""
    with pytest.raises(Refused, match=r"^progress: must be"):
        content.progress(percent, None)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (None, {}),
        ("out of memory", {"error": "out of memory"}),
        (KeyError("x"), {"error": "KeyError: 'x'"}),
        (KeyboardInterrupt(), {"error": "KeyboardInterrupt"}),
        (ValueError("a\0\udc80"), {"error": "ValueError: a\ufffd\ufffd"}),
        (ValueError(Hostile()), {"error": "ValueError"}),
        (Hostile(), {"error": "Hostile"}),
        ("x" * 100_000, {"error": "x" * 8192}),
    ],
)
def test_any_failure_can_be_told(error: Any, said: dict[str, str]) -> None:
    """A failure's text always fits into an event."""
    assert content.failure(error) == said
    content.line("workflow_failed", content.failure(error), "r1", "key", 1.0)
