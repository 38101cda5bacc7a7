"""The API's own rules are contract.json's, and it takes and refuses what the contract says: pure, without a server."""

import json
import time
from pathlib import Path
from typing import Any

import orjson
import pytest

from orchestrator_api import events, history, polls, receive, web
from orchestrator_api.errors import BadRequest

CONTRACT: dict[str, Any] = json.loads(Path(__file__).with_name("contract.json").read_text("utf-8"))
EVENTS = CONTRACT["events"]
LIMITS = CONTRACT["limits"]
NAMES = {"run_id": events.RUN_ID, "username": events.USERNAME, "type": events.TYPE, "cursor": events.CURSOR}
RULES = {**CONTRACT["names"], "cursor": CONTRACT["cursor"]}


def body_of(case: dict[str, Any]) -> bytes:
    """The bytes of a body as contract.json writes it."""
    if "hex" in case:
        return bytes.fromhex(case["hex"])
    if "body" in case:
        return str(case["body"]).encode()
    piece, count = case["repeat"]
    closing, closings = case.get("close", ["", 0])
    return f"{case['head']}{piece * count}{closing * closings}{case['tail']}".encode()


def take(body: bytes) -> events.Event:
    """The body as an event of run r1 of alice."""
    return events.event(events.parse(body), "r1", "alice", 1697234568.4)


def named(case: dict[str, Any]) -> str:
    """What to call a case in the report."""
    return str(case.get("why") or case.get("body"))[:60]


def spelt(kind: str) -> list[tuple[str, str]]:
    """Every name of contract.json that is `kind`: (which rule, name)."""
    return [(rule, text) for rule, said in RULES.items() for text in said[kind]]


@pytest.mark.parametrize("rule", NAMES)
def test_patterns_are_the_contracts(rule: str) -> None:
    """Each pattern of the code is the contract's, letter by letter."""
    assert RULES[rule]["pattern"].removeprefix("^").removesuffix("$") in (
        NAMES[rule].pattern,
        f"({NAMES[rule].pattern})",
    )
    assert CONTRACT["idempotency_key"]["pattern"] == f"^{events.KEY.pattern}$"


@pytest.mark.parametrize(("rule", "text"), spelt("valid"))
def test_valid_names_are_taken(rule: str, text: str) -> None:
    """A name that the contract calls valid is returned as it came."""
    assert events.name(NAMES[rule], text, rule) == text


@pytest.mark.parametrize(("rule", "text"), spelt("invalid"))
def test_invalid_names_are_refused(rule: str, text: str) -> None:
    """A name that the contract calls invalid is refused with the field and a rule that does not repeat it."""
    with pytest.raises(BadRequest) as refused:
        events.name(NAMES[rule], text, rule)
    assert (refused.value.status, refused.value.field) == (422, rule)
    assert refused.value.detail == f"{rule}: {events.RULES[NAMES[rule]]}"


def test_words_are_the_contracts() -> None:
    """Reserved names, terminal types, statuses and the causes of polls are the contract's."""
    assert list(events.RESERVED) == CONTRACT["reserved"]
    assert CONTRACT["terminal"] == events.TERMINAL
    assert list(events.STATUSES) == CONTRACT["statuses"]
    assert list(polls.CAUSES) == CONTRACT["poll_causes"]


def test_limits_are_the_contracts() -> None:
    """Every limit of the code that the contract names has the contract's number."""
    ours = {
        "frame_bytes": events.FRAME_BYTES,
        "batch_events": receive.BATCH_EVENTS,
        "body_bytes": web.BODY_BYTES,
        "timestamp": [0, events.TIMESTAMP],
        "integer": list(events.INTEGERS),
        "depth": events.DEPTH,
        "run_filters": history.RUN_FILTERS,
        "heads_usernames": history.HEADS,
        "history_events": history.PAGE_EVENTS,
        "history_events_max": history.FEED_EVENTS,
        "history_bytes": history.PAGE_BYTES,
    }
    assert {name: LIMITS[name] for name in ours} == ours


@pytest.mark.parametrize("case", EVENTS["valid"], ids=named)
def test_valid_events_are_taken(case: dict[str, Any]) -> None:
    """A valid event becomes a frame that holds what was said, flat, after the server's own fields in their order."""
    said = json.loads(body_of(case))
    frame = events.frame(7, 3, take(body_of(case)).tail(1697234568.5))

    assert len(frame) <= LIMITS["frame_bytes"]
    own = ["id", "seq", "run_id", "username", "type", "timestamp", "recorded_at"]
    found = json.loads(frame)
    assert list(found) == own + [name for name in said if name not in own]
    assert found == {
        "id": 7,
        "seq": 3,
        "run_id": "r1",
        "username": "alice",
        "timestamp": 1697234568.4,
        "recorded_at": 1697234568.5,
        **said,
    }
    assert b"\n" not in frame  # Server-Sent Events would break it
    assert orjson.loads(frame)["id"] == 7  # a strict reader takes it as well


@pytest.mark.parametrize("case", EVENTS["invalid"], ids=named)
def test_invalid_events_are_refused(case: dict[str, Any]) -> None:
    """An invalid event is refused with the contract's status and field, in an answer that can be sent and is short."""
    with pytest.raises(BadRequest) as refused:
        take(body_of(case))

    assert (refused.value.status, refused.value.field) == (case["status"], case["field"])
    answer = orjson.dumps(refused.value.body())
    assert len(answer) < 1024
    assert b"sys." not in answer
    assert b"Error" not in answer


@pytest.mark.parametrize("kind", CONTRACT["terminal"])
def test_terminal_types_end_the_run(kind: str) -> None:
    """A terminal type gives the run its status, and no other type does."""
    ended = take(orjson.dumps({"type": kind}))
    assert (ended.terminal, ended.status) == (True, CONTRACT["terminal"][kind])
    assert not take(orjson.dumps({"type": f"{kind}.x", "status": "completed"})).terminal


@pytest.mark.parametrize("filler", ["x", "\u00e9", "\u4f60", "\U0001f600", "\x01", '"', "\\"], ids=ascii)
def test_no_frame_exceeds_its_bound(filler: str) -> None:
    """The longest text that is taken makes a frame within 64 KiB, however its characters are written and numbered."""

    def fits(count: int) -> bool:
        try:
            take(orjson.dumps({"type": "a", "x": filler * count}))
        except BadRequest as error:
            return error.code != "too_big"
        return True

    taken, refused = 0, LIMITS["frame_bytes"] + 1
    while refused - taken > 1:
        middle = (taken + refused) // 2
        taken, refused = (middle, refused) if fits(middle) else (taken, middle)
    event = take(orjson.dumps({"type": "a", "x": filler * taken}))
    longest = events.frame(LIMITS["id"][1], LIMITS["id"][1], event.tail(1697234568.412345))
    one_more = len(orjson.dumps(filler)) - 2
    assert LIMITS["frame_bytes"] - one_more < len(longest) <= LIMITS["frame_bytes"]


def test_a_name_given_twice_is_found_at_once() -> None:
    """A name twice among 16,000 is refused in well under a second: the search is not quadratic."""
    body = b"{%b}" % b",".join([b'"a%d":1' % number for number in (*range(16_000), 15_999)])
    began = time.perf_counter()
    with pytest.raises(BadRequest) as refused:
        take(body)
    assert refused.value.field == "a15999"
    assert time.perf_counter() - began < 1  # 2.2 s when each is counted, and 400,000 fit in a body


def test_what_is_too_big_is_not_looked_into() -> None:
    """A 4 MiB event is refused for its size before its million parts are looked at one by one."""
    value = events.parse(b'{"type":"a","x":[%b0]}' % (b"[]," * 1_390_000))
    began = time.perf_counter()
    orjson.dumps(value)
    written = time.perf_counter()
    with pytest.raises(BadRequest) as refused:
        events.event(value, "r1", "alice", 0.0)
    assert refused.value.code == "too_big"
    assert time.perf_counter() - written < 8 * (written - began)


def test_names_in_errors_are_short() -> None:
    """A name of a megabyte is not sent back as the field."""
    with pytest.raises(BadRequest) as refused:
        take(b'{"type":"a","%b":1e400}' % (b"k" * 1_000_000))
    assert len(orjson.dumps(refused.value.body())) < 1024


def test_same_content_same_digest() -> None:
    """The order of names does not change what a key stands for; the content does."""

    def digest(body: bytes) -> bytes | None:
        return take(body).digest

    first = digest(b'{"type":"a","event_id":"e","x":{"y":1,"z":2}}')
    assert first == digest(b'{"x":{"z":2,"y":1},"event_id":"e","type":"a"}')
    assert first != digest(b'{"type":"a","event_id":"e","x":{"y":1,"z":3}}')
    assert first != digest(b'{"type":"a","event_id":"e","x":{"y":1,"z":"2"}}')
