"""fanout.descriptors: as many connections as there may be files."""

import logging
import resource

import pytest

from fanout import descriptors
from fanout.descriptors import affordable, fitted

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


@pytest.mark.parametrize(
    ("most", "said"),
    [(1000, []), (999, ["INFO"]), (500, ["INFO"]), (499, ["WARNING"]), (1, ["WARNING"])],
)
def test_said(limits: list[int], caplog: pytest.LogCaptureFixture, most: int, said: list[str]) -> None:
    """Fewer connections than were wanted are one line, with the limit; a warning when they are less than half."""
    limits[:] = [most + RESERVE + OPEN] * 2
    with caplog.at_level(logging.INFO):
        assert fitted("fanout.file_descriptors", 1000, RESERVE) == most

    assert [record.levelname for record in caplog.records] == said
    for record in caplog.records:
        assert (record.name, record.message) == ("fanout", "fanout.file_descriptors")
        assert vars(record).items() >= {"connections": most, "wanted": 1000, "limit": limits[0]}.items()
