"""orchestrator_api/crowd.py: how many connections there may be."""

import logging

import pytest
import structlog

from orchestrator_api import descriptors, serve
from orchestrator_api.crowd import Crowd
from orchestrator_api.metrics import Metrics
from orchestrator_api.peers import Proxies
from orchestrator_api.settings import Settings


def crowd(most: int = 100, of_address: int = 0, proxies: str = "") -> Crowd:
    """A crowd that nobody is in yet."""
    return Crowd(most, of_address, Proxies.parse(proxies), Metrics())


def test_in_all() -> None:
    """One too many is turned away, and whoever leaves makes room for one."""
    some = crowd(most=2)
    first, second = some.enter("192.0.2.1"), some.enter("192.0.2.2")
    assert first is not None
    assert second is not None
    assert some.enter("192.0.2.3") is None

    some.leave(first)

    assert some.enter("192.0.2.3") is not None
    assert some.enter("192.0.2.4") is None
    assert len(some) == 2


def test_of_an_address() -> None:
    """One address does not take everybody's place; of IPv6 a /64 is one, and a mapped address is what it maps."""
    some = crowd(of_address=2)
    for peer in ("192.0.2.1", "192.0.2.1", "2001:db8::1", "2001:db8::2"):
        assert some.enter(peer) is not None
    for peer in ("192.0.2.1", "2001:db8::3"):
        assert some.enter(peer) is None
    for peer in ("192.0.2.2", "2001:db8:0:1::1"):
        assert some.enter(peer) is not None


def test_proxies() -> None:
    """A trusted proxy's connections are many people's: they count in all, and not as one address'."""
    some = crowd(most=4, of_address=1, proxies="192.0.2.1")
    named = [some.enter("192.0.2.1") for _ in range(5)]

    assert [name is None for name in named] == [False, False, False, False, True]


@pytest.mark.parametrize("peers", [["a"] * 3, ["192.0.2.1", "2001:db8::1", "192.0.2.1"]])
def test_nothing_is_left(peers: list[str]) -> None:
    """When all have gone there are as many places as before, and nothing is kept of any of them."""
    some = crowd(most=3, of_address=3)
    for name in [some.enter(peer) for peer in peers]:
        assert name is not None
        some.leave(name)

    assert len(some) == 0
    assert some._counts == {}


def test_said_once() -> None:
    """A full process says so once, and again only after it had room."""
    some = crowd(most=10)
    named = [some.enter("192.0.2.1") for _ in range(10)]
    with structlog.testing.capture_logs() as said:
        for _ in range(5):
            assert some.enter("192.0.2.1") is None
        for name in named[:2]:
            some.leave(str(name))
        for _ in range(4):
            some.enter("192.0.2.1")

    assert [line["event"] for line in said] == ["orchestrator.connections_full"] * 2


@pytest.mark.parametrize(("most", "lines"), [(1000, 0), (2, 1)])
def test_as_many_as_files(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, most: int, lines: int
) -> None:
    """A service that may have fewer connections than it was told lets so many in, and one line of its log says it."""
    monkeypatch.setattr(descriptors, "affordable", lambda wanted, reserve: min(wanted, most))
    with caplog.at_level(logging.INFO):
        some = serve._crowd(Settings(database_url="postgresql://h/x", max_connections=1000), Metrics())

    assert [some.enter("192.0.2.1") is None for _ in range(3)] == [False, False, most < 3]
    told = [(record.name, record.message, vars(record)["wanted"]) for record in caplog.records]
    assert told == [("orchestrator_api", "orchestrator.file_descriptors", 1000)] * lines
