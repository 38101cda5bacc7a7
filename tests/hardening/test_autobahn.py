"""What judges the hub in the Testsuite's cases can tell right from wrong."""

import json

import pytest

from tests.hardening.autobahn import Accepted, accepted, table, unexpected
from tests.hardening.deflating import Deflating
from tests.hardening.frames import PING, TEXT, Frame, Reader, Violation, frame, masked
from tests.hardening.peer import Outcome

KNOWN = [Accepted(["6.4.*", "7.1.5"], ["NON-STRICT"], ["OK"], "why")]


def outcome(name: str, behavior: str, close: str = "OK") -> Outcome:
    """A case's verdict."""
    return Outcome(name, behavior, close, "", 0.1)


@pytest.mark.parametrize(
    ("verdict", "is_unexpected"),
    [
        (outcome("1.1.1", "OK"), False),
        (outcome("6.4.1", "NON-STRICT"), False),
        (outcome("1.1.1", "NON-STRICT"), True),  # another case
        (outcome("6.4.1", "FAILED"), True),  # another verdict
        (outcome("6.4.1", "NON-STRICT", "WRONG CODE"), True),
        (outcome("2.1", "OK", "UNCLEAN"), True),
        (outcome("7.1.50", "NON-STRICT"), True),
    ],
)
def test_only_what_is_listed_is_accepted(verdict: Outcome, is_unexpected: bool) -> None:
    """A verdict that is not OK fails the run unless the list names this case with this verdict."""
    assert (unexpected([verdict], KNOWN) == [verdict]) is is_unexpected


def test_every_accepted_deviation_has_a_reason() -> None:
    """The list that is shipped reads, and says why for each."""
    known = accepted()

    assert known
    assert all(entry.cases and entry.reason.endswith(".") for entry in known)
    assert all("OK" not in entry.behavior for entry in known)


def test_table_counts() -> None:
    """The table has a line for each category, with each verdict's number."""
    told = table([outcome("1.1.1", "OK"), outcome("1.1.2", "FAILED"), outcome("12.1.1", "OK")])

    assert [line.split()[0] for line in told.splitlines()] == ["1.*", "12.*"]
    assert "1 FAILED (OK)" in told


@pytest.mark.parametrize("size", [0, 1, 3, 125, 126, 65535, 65536])
def test_frames_are_what_the_rfc_says(size: int) -> None:
    """The peer's frames are masked ones of RFC 6455, and it reads a server's of any length."""
    payload = bytes(range(256)) * (size // 256 + 1)
    payload = payload[:size]
    sent = frame(TEXT, payload)
    start = 2 if size < 126 else 4 if size < 65536 else 10

    assert sent[1] & 0x80
    assert masked(sent[start + 4 :], sent[start : start + 4]) == payload
    reader = Reader()
    from_server = sent[:1] + bytes((sent[1] & 0x7F,)) + sent[2:start] + payload
    for place in range(0, len(from_server), 1000):
        reader.feed(from_server[place : place + 1000])
    assert list(reader.frames()) == [Frame(TEXT, payload, True, 0)]


@pytest.mark.parametrize(
    "sent", [b"\x81\x80abcd", b"\x83\x00", b"\x09\x00", b"\x89\x7e\x00\x7e" + bytes(126), b"\x81\x7e\x00\x01x"]
)
def test_a_server_that_breaks_the_protocol_is_noticed(sent: bytes) -> None:
    """Masked, of an unknown kind, a control frame in parts or too long, a length that is longer than it must be."""
    reader = Reader()
    reader.feed(sent)

    with pytest.raises(Violation):
        list(reader.frames())


@pytest.mark.parametrize(
    "answer", ["", "; client_no_context_takeover; server_no_context_takeover", "; client_max_window_bits=12"]
)
def test_compression_is_the_rfcs(answer: str) -> None:
    """What the peer compresses, it inflates, whatever was agreed on."""
    ends = Deflating(answer)
    for number in range(3):
        payload = json.dumps({"n": number, "x": "y" * 500}).encode()
        assert ends.inflate(ends.compress(payload)) == payload
    assert frame(PING)[0] == 0x89
