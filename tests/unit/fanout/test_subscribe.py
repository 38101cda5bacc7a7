"""fanout.subscribe: one link, fed by hand."""

from collections.abc import Sequence

import pytest

from fanout.metrics import Metrics
from fanout.subscribe import Link, Subscription, backoff

SUBSCRIBED = b"*3\r\n$10\r\npsubscribe\r\n$5\r\nrun:*\r\n:1\r\n"
PONG = b"*2\r\n$4\r\npong\r\n$0\r\n\r\n"
GREETING = [("AUTH", "secret"), ("CLIENT", "SETNAME", "fanout"), ("PSUBSCRIBE", "run:*")]


def pushed(payload: bytes) -> bytes:
    """A pmessage as RESP2."""
    parts = (b"pmessage", b"run:*", b"run:r1", payload)
    return b"*4\r\n" + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)


class Heard:
    """What a link handed on, one list a read."""

    def __init__(self) -> None:
        self.reads: list[list[bytes]] = []

    def __call__(self, messages: Sequence[Sequence[bytes]]) -> None:
        """Keep the payloads."""
        self.reads.append([message[3] for message in messages])


async def test_confirmed() -> None:
    """A link is confirmed by the answer to PSUBSCRIBE, and not before."""
    link = Link(GREETING, Heard())
    link.data_received(b"+OK\r\n+OK\r\n")
    assert not link.confirmed.done()

    link.data_received(SUBSCRIBED)
    assert link.confirmed.done()
    assert not link.lost.done()


async def test_one_read_one_call() -> None:
    """All messages that a read completes are handed on together; half a message waits for its rest."""
    heard = Heard()
    link = Link(GREETING[2:], heard)
    data = SUBSCRIBED + pushed(b"1") + PONG + pushed(b"2") + pushed(b"3")
    link.data_received(data[:-5])
    link.data_received(data[-5:])

    assert heard.reads == [[b"1", b"2"], [b"3"]]


async def test_setname_may_fail() -> None:
    """A server that knows no CLIENT SETNAME is a server all the same."""
    link = Link(GREETING, Heard())
    link.data_received(b"+OK\r\n-ERR unknown command\r\n" + SUBSCRIBED)

    assert link.confirmed.done()
    assert not link.lost.done()


@pytest.mark.parametrize(
    "replies",
    [b"-WRONGPASS invalid\r\n", b"+OK\r\n+OK\r\n-NOPERM no\r\n", b"+OK\r\n+OK\r\n" + SUBSCRIBED + b"-ERR odd\r\n"],
)
async def test_errors_end_the_link(replies: bytes) -> None:
    """Any other error, in whatever place, ends the link with Redis' own words."""
    link = Link(GREETING, Heard())
    link.data_received(replies)

    assert link.lost.result().split()[0] in ("WRONGPASS", "NOPERM", "ERR")


async def test_not_resp() -> None:
    """A server that speaks something else ends the link; what came before is still handed on."""
    heard = Heard()
    link = Link(GREETING[2:], heard)
    link.data_received(SUBSCRIBED + pushed(b"1") + b"HTTP/1.1 400 Bad Request\r\n\r\n")

    assert "not RESP" in link.lost.result()
    assert heard.reads == [[b"1"]]


@pytest.mark.parametrize(("failures", "most"), [(0, 0.05), (1, 0.1), (4, 0.8), (5, 1.0), (10_000, 1.0)])
def test_backoff(failures: int, most: float) -> None:
    """The next try comes after a random time, twice as long at most with each failure, a second at most in all."""
    drawn = [backoff(failures) for _ in range(500)]

    assert 0 <= min(drawn) < most / 10
    assert most * 0.9 < max(drawn) <= most


async def test_first_reason_counts() -> None:
    """The end has one reason, the first."""
    link = Link(GREETING, Heard())
    link.connection_lost(None)
    link.end("given up")

    assert link.lost.result() == "closed by Redis"


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://:secret@h:1/0", "h:1"),
        ("rediss://user:secret@h/2", "h:6379"),
        ("unix:///run/redis.sock", "/run/redis.sock"),
    ],
)
async def test_address(url: str, address: str) -> None:
    """The address that is logged has no user and no password."""
    assert Subscription(url, Heard(), Metrics()).address == address
