"""fanout.descriptors: as many sockets as there may be files."""

import resource

import pytest
from structlog.testing import capture_logs

from fanout import descriptors
from fanout.descriptors import RESERVE, fitted
from fanout.settings import Settings

OPEN = 10


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The soft and the hard limit of a process that has ten files open."""
    found = [0, 0]

    def setrlimit(_: int, pair: tuple[int, int]) -> None:
        found[:] = pair

    monkeypatch.setattr(resource, "getrlimit", lambda _: tuple(found))
    monkeypatch.setattr(resource, "setrlimit", setrlimit)
    monkeypatch.setattr(descriptors, "_open_now", lambda: OPEN)
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
def test_fitted(limits: list[int], soft: int, hard: int, after: int, most: int) -> None:
    """The soft limit is raised as far as is needed; where that does not suffice there are fewer sockets, and a line."""
    limits[:] = [soft, hard]
    with capture_logs() as logged:
        settings = fitted(Settings(max_sockets=1000))

    assert (limits[0], settings.max_sockets) == (after, most)
    lines = [(line["event"], line["max_sockets"], line["wanted"]) for line in logged]
    assert lines == ([] if most == 1000 else [("fanout.file_descriptors", most, 1000)])


def test_this_process() -> None:
    """What is open is known on this system."""
    assert descriptors._open_now() >= 3
