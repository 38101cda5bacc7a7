"""The hub's side of contract.json: names, limits, close codes, and what it reads on Redis."""

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from fanout import admission, deliver, door, handshake, metrics, wire
from fanout.errors import Refusal
from fanout.route import Router

CONTRACT = json.loads((Path(__file__).parent / "contract.json").read_text())
FRAMES = CONTRACT["frames"]


def payload(case: dict[str, Any]) -> bytes:
    """A case's bytes: `hex`, or `payload`, or `head` + `repeat` + `tail`."""
    if "hex" in case:
        return bytes.fromhex(case["hex"])
    if "repeat" in case:
        piece, count = case["repeat"]
        return bytes(case["head"] + piece * count + case["tail"], "utf-8")
    return bytes(case["payload"], "utf-8")


@pytest.mark.parametrize("case", FRAMES["valid"], ids=lambda case: case.get("why", case["channel"]))
def test_valid_frame(case: dict[str, Any]) -> None:
    """A valid frame's envelope is understood, and its bytes are kept."""
    frame = wire.read(case["channel"].encode(), payload(case))

    assert isinstance(frame, wire.Frame)
    assert {"id": frame.id, "run_id": frame.run_id, "username": frame.username} == case["envelope"]
    assert frame.payload == payload(case)


@pytest.mark.parametrize("case", FRAMES["invalid"], ids=lambda case: case["why"])
def test_invalid_frame(case: dict[str, Any]) -> None:
    """An invalid frame is dropped for the contract's reason, and nothing raises."""
    assert dropped(case["channel"].encode(), payload(case)) == case["reason"]


def dropped(channel: bytes, body: bytes) -> str:
    """Why a message of Redis is dropped."""
    router = Router(judged=True, hold=0.05)
    assert router.route([(b"pmessage", b"run:*", channel, body)], 0.0) == []
    return ", ".join(reason for reason, count in router.dropped.items() for _ in range(count))


def admitted(**query: str) -> bool:
    """Whether /ws takes these parameters."""
    try:
        admission.admit(urlencode(query))
    except Refusal:
        return False
    return True


@pytest.mark.parametrize("kind", ["username", "run_id"])
def test_names(kind: str) -> None:
    """The hub's name rules are the contract's: each valid name is admitted, each invalid one refused."""
    rule = {"username": wire.USERNAME, "run_id": wire.RUN_ID}[kind]
    names = CONTRACT["names"][kind]

    assert f"^{rule.pattern}$" == names["pattern"]
    assert [name for name in names["valid"] if not admitted(**{"username": "u", kind: name})] == []
    assert [name for name in names["invalid"] if admitted(**{"username": "u", kind: name})] == []


def test_invalid_usernames_on_redis() -> None:
    """A frame of a name that no socket can have is malformed."""
    for name in CONTRACT["names"]["username"]["invalid"]:
        body = json.dumps({"run_id": "r1", "username": name}).encode()

        assert dropped(b"run:r1", body) == "malformed", name


def test_cursor() -> None:
    """The hub's cursor rule is the contract's."""
    cursor = CONTRACT["cursor"]

    assert re.fullmatch(cursor["pattern"], "0")
    assert [text for text in cursor["valid"] if not admitted(username="u", after=text)] == []
    assert [text for text in cursor["invalid"] if admitted(username="u", after=text)] == []


def test_limits() -> None:
    """The hub's limits are the contract's."""
    limits = CONTRACT["limits"]

    assert wire.MAX_PAYLOAD == limits["redis_message_bytes"]
    assert wire.MAX_ID == limits["id"][1]
    assert admission.MAX_RUNS == limits["run_filters"]
    assert handshake.MAX_INBOUND == limits["inbound_message_bytes"]
    assert deliver.MAX_WAITING == limits["outbound_bytes"]
    assert door.MAX_HEAD == limits["head_bytes"]


def test_terminal_types() -> None:
    """The statuses by which a stream names terminal events are the contract's."""
    assert {kind.decode(): status.decode() for kind, status in wire.TERMINAL.items()} == CONTRACT["terminal"]


def test_refusals_have_close_codes() -> None:
    """Every code that a refused runfeed.v1 client is closed with is the contract's and the hub's."""
    known = {int(code) for code, row in CONTRACT["close_codes"].items() if row["by"] == "hub"}

    assert set(handshake.CLOSE_CODES.values()) <= known


def test_close_codes_are_counted_by_name() -> None:
    """Every close code of the contract has a metric label of its own."""
    counted = metrics.Metrics()
    for code in CONTRACT["close_codes"]:
        counted.socket_closed(int(code))

    assert counted.closed == dict.fromkeys(CONTRACT["close_codes"], 1)
