"""fanout.descriptors: as many connections as there may be files."""

import resource

import pytest
from structlog.testing import capture_logs

from fanout import descriptors, serve
from fanout.descriptors import affordable
from fanout.settings import Settings

OPEN = 10
RESERVE = 100


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The soft and the hard limit of a process that has ten files open."""
    found = [0, 0]

    def setrlimit(_: int, pair: tuple[int, int]) -> None:
        found[:] = pair

    monkeypatch.setattr(resource, "getrlimit", lambda _: tuple(found))
    monkeypatch.setattr(resource, "setrlimit", setrlimit)
    monkeypatch.setattr(descriptors, "open_now", lambda: OPEN)
    return found


@pytest.mark.parametrize(
    ("soft", "hard", "after", "most"),
    [
        (1024, 1024, 1024, 1024 - RESERVE - OPEN),
        (1024, 5000, 1000 + RESERVE + OPEN, 1000),
        (1024, resource.RLIM_INFINITY, 1000 + RESERVE + OPEN, 1000),
        (9000, 9000, 9000, 1000),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, resource.RLIM_INFINITY, 1000),
        (20, 20, 20, 1),
    ],
)
def test_affordable(limits: list[int], soft: int, hard: int, after: int, most: int) -> None:
    """The soft limit is raised as far as is needed; where that does not suffice there are fewer, and one at least."""
    limits[:] = [soft, hard]

    assert affordable(1000, RESERVE) == most
    assert limits[0] == after


def test_this_process() -> None:
    """What is open is known on this system."""
    assert descriptors.open_now() >= 3


@pytest.mark.parametrize(("most", "lines"), [(1000, 0), (900, 1)])
def test_hub_says_so(monkeypatch: pytest.MonkeyPatch, most: int, lines: int) -> None:
    """A hub that may have fewer sockets than it was told has so many, and one line of its log says it."""
    monkeypatch.setattr(serve, "affordable", lambda wanted, reserve: min(wanted, most))
    with capture_logs() as logged:
        settings = serve._fitted(Settings(max_sockets=1000))

    assert settings.max_sockets == most
    said = [(line["event"], line["max_sockets"], line["wanted"]) for line in logged]
    assert said == [("fanout.file_descriptors", most, 1000)] * lines
