"""Three quick rows of the matrix, played as ./dev fault plays them; and what the matrix must have."""

from collections.abc import Callable

import pytest

from deploy.local.place import DataDirectory
from tests.fault import report
from tests.fault.checker import LOST
from tests.fault.rows import ROWS, missing
from tests.fault.runner import Result, play
from tests.fault.stack import running
from tests.fault.times import CI

QUICK = [row for row in ROWS.values() if row.quick]


@pytest.mark.timeout(150)
@pytest.mark.any_server
async def test_quick_rows(data_directories: Callable[[str], DataDirectory]) -> None:
    """An API is killed, a hub is killed, Redis drops its subscribers: nothing is lost, repeated or foreign."""
    results = []
    async with running(data_directories, CI) as stack:
        for row in QUICK:
            result = await play(stack, row, CI)
            if result.correct and not result.in_time:
                result.again = (await play(stack, row, CI)).took
            results.append(result)

    assert len(results) == 3
    assert all(result.passed for result in results), "\n".join(report.shown(result) for result in results)


def test_matrix_is_whole() -> None:
    """Every row that was promised is there, with a bound and where it comes from."""
    assert missing() == []
    assert all(row.bound > 0 and row.why for row in ROWS.values())


def test_a_lost_event_fails_its_row() -> None:
    """A row in which anything was lost has not passed, however quickly all had caught up."""
    result = Result(next(iter(ROWS.values())))
    assert result.passed
    result.verdict.found(LOST, "one")

    assert not result.passed
    assert "! lost: one" in report.shown(result)


def test_only_the_time_is_tried_again() -> None:
    """The better of two times counts; whatever else was wrong stays wrong."""
    result = Result(next(iter(ROWS.values())), took=1e6)
    assert not result.passed
    result.again = 0.1
    assert result.passed
    result.failed.append("a socket was closed")

    assert not result.passed
