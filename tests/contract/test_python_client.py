"""The Python client's own rules are contract.json's: it takes and refuses what the contract says, before it is sent."""

import json
from typing import Any

import pytest

from runfeed import content, journal, names
from runfeed.config import read_config
from runfeed.core import protocol
from tests.contract.test_events import CONTRACT, LIMITS, body_of, named

PATTERNS = {"run_id": names.RUN_ID, "username": names.USERNAME, "type": names.TYPE}


def spelt(kind: str, *rules: str) -> list[tuple[str, str]]:
    """Names of the contract that are `kind`: (which rule, name)."""
    return [(rule, text) for rule in rules for text in CONTRACT["names"][rule][kind]]


def told(kind: str) -> list[dict[str, Any]]:
    """The contract's events that a worker can say: objects in which no name stands twice."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) < len(pairs):
            raise ValueError("twice")
        return dict(pairs)

    found = []
    for case in CONTRACT["events"][kind]:
        try:
            said = json.loads(body_of(case).decode(), object_pairs_hook=once)
        except (ValueError, RecursionError):
            continue
        if isinstance(said, dict) and case.get("field") != "username":  # which a worker need not know
            found.append({**case, "said": said})
    return found


def line(said: dict[str, Any]) -> bytes:
    """The event as the client would keep it, of run r1."""
    fields = {name: value for name, value in said.items() if name != "type"}
    return content.line(said.get("type"), fields, "r1", "key", 1697234568.4)


def test_rules_are_the_contracts() -> None:
    """Patterns, reserved names, terminal types and limits are the contract's."""
    for rule, pattern in PATTERNS.items():
        assert CONTRACT["names"][rule]["pattern"] == f"^{pattern.pattern}$"
    assert CONTRACT["idempotency_key"]["pattern"] == f"^{names.KEY.pattern}$"
    assert list(content.RESERVED) == CONTRACT["reserved"]
    assert CONTRACT["terminal"] == protocol.TERMINAL
    assert LIMITS["frame_bytes"] == content.FRAME_BYTES
    assert LIMITS["timestamp"] == [0, content.TIMESTAMP]
    assert LIMITS["integer"] == list(content.INTEGERS)
    assert LIMITS["depth"] == content.DEPTH
    assert LIMITS["batch_events"] == journal.BATCH_EVENTS
    assert LIMITS["body_bytes"] > journal.BATCH_BYTES + LIMITS["frame_bytes"]


@pytest.mark.parametrize(("rule", "text"), spelt("valid", "run_id", "username"))
def test_valid_names_are_taken(rule: str, text: str) -> None:
    """A reporter takes every run_id and username that the contract calls valid."""
    given: dict[str, Any] = {"run_id": "r", rule: text}

    assert getattr(read_config(environ={}, **given).run, rule) == text


@pytest.mark.parametrize(("rule", "text"), spelt("invalid", "run_id", "username"))
def test_invalid_names_are_refused(rule: str, text: str) -> None:
    """A reporter refuses the others, naming the argument."""
    given: dict[str, Any] = {"run_id": "r", rule: text}
    with pytest.raises(ValueError, match=rf"^{rule} must be"):
        read_config(environ={}, **given)


@pytest.mark.parametrize("text", CONTRACT["names"]["type"]["invalid"])
def test_invalid_types_are_refused(text: str) -> None:
    """A type that the contract calls invalid is no event's."""
    with pytest.raises(content.Refused, match=r"^type: must be"):
        line({"type": text})


@pytest.mark.parametrize("case", told("valid"), ids=named)
def test_valid_events_are_kept(case: dict[str, Any]) -> None:
    """What the contract calls valid is kept as it was said, on one line."""
    kept = line(case["said"])

    assert json.loads(kept) == {"timestamp": 1697234568.4, "event_id": "key", **case["said"]}
    assert b"\n" not in kept


@pytest.mark.parametrize("case", told("invalid"), ids=named)
def test_invalid_events_are_refused(case: dict[str, Any]) -> None:
    """What the contract calls invalid is refused before it is sent."""
    with pytest.raises(content.Refused):
        line(case["said"])
