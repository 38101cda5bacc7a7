"""orchestrator_api/history.py: validators and cursors."""

import pytest

from orchestrator_api import history
from orchestrator_api.errors import Conflict

FEED = {"head": 10, "first": 4, "epoch": "e"}


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ('"a"', True),
        ('W/"a"', True),
        ('"x", "a"', True),
        ('"x",W/"a" , "y"', True),
        ("*", True),
        (" * ", True),
        ('"b"', False),
        ("a", False),
        ('"a', False),
        ("", False),
        (None, False),
        ('"a*"', False),
    ],
)
def test_matches(header: str | None, expected: bool) -> None:
    """If-None-Match is a list of quoted tags, compared weakly, or a star."""
    assert history.matches(header, '"a"') is expected


def test_etag() -> None:
    """A run's validator names the epoch's last eight digits, its last seq and its status."""
    assert history.etag("5f7c-0123-89abcdef", 17, "running") == '"89abcdef-17-running"'


@pytest.mark.parametrize(("after", "epoch"), [(0, None), (3, None), (4, "e"), (10, "e")])
def test_cursor_known(after: int, epoch: str | None) -> None:
    """A cursor is good from just before the first event to the head, and 0 means from the beginning."""
    history.check_cursor(after, epoch, FEED)


@pytest.mark.parametrize(("after", "epoch"), [(11, None), (10, "f"), (0, "f"), (2, None), (1, None)])
def test_cursor_unknown(after: int, epoch: str | None) -> None:
    """A cursor beyond the head, below what retention has left, or of another epoch is 410 with where to begin."""
    with pytest.raises(Conflict) as caught:
        history.check_cursor(after, epoch, FEED)

    assert caught.value.status == 410
    assert {key: caught.value.body()[key] for key in ("code", "epoch", "first", "head")} == {
        "code": "cursor_unknown",
        **FEED,
    }
