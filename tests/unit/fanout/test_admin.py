"""fanout.admin: readiness."""

import pytest

from fanout.admin import State


def state(draining: bool, live: bool, age: float | None = None) -> State:
    """A hub in this state."""
    return State(lambda: draining, lambda: live, False, lambda: age, lambda: 0, lambda: 0)


@pytest.mark.parametrize(
    ("draining", "live", "status", "word", "degraded"),
    [
        (False, True, 200, "ready", []),
        (False, False, 503, "not_ready", ["redis"]),
        (True, True, 503, "draining", []),
        (True, False, 503, "draining", ["redis"]),
    ],
)
def test_readiness(draining: bool, live: bool, status: int, word: str, degraded: list[str]) -> None:
    """A hub is ready while its subscription is live and it does not drain; the body names what is degraded."""
    found, body = state(draining, live).readiness()

    assert (found, body["status"], body["degraded"]) == (status, word, degraded)


def test_beacon_age() -> None:
    """The body says how long ago a beacon was heard, and null when none ever was."""
    assert state(False, True, 1.23456).readiness()[1]["beacon_age_s"] == 1.235
    assert state(False, True).readiness()[1]["beacon_age_s"] is None
