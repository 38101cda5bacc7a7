"""fanout.admin: readiness."""

import dataclasses

import pytest

from fanout.admin import State
from fanout.auth_config import AuthConfig


def state(draining: bool, live: bool, age: float | None = None, history: str = "none") -> State:
    """A hub in this state."""
    return State(
        lambda: draining, lambda: live, lambda: history, lambda: age, lambda: 0, lambda: 0, lambda username, number: []
    )


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


@pytest.mark.parametrize(
    ("live", "history", "status", "degraded"),
    [
        (True, "away", 200, ["history"]),
        (True, "unknown", 200, []),
        (False, "live", 200, ["redis"]),
        (False, "away", 503, ["redis", "history"]),
        (False, "unknown", 503, ["redis"]),
    ],
)
def test_one_way_is_enough(live: bool, history: str, status: int, degraded: list[str]) -> None:
    """A hub without Redis is ready while history answers, one without history while Redis does; with neither not."""
    found, body = state(False, live, history=history).readiness()

    assert (found, body["degraded"], body["history"]) == (status, degraded, history)


def test_not_before_the_port_is_open() -> None:
    """A hub that could serve and does not listen yet is able and not ready."""
    closed = dataclasses.replace(state(False, True), listening=lambda: False)

    assert closed.able()
    assert closed.readiness()[0] == 503
    assert closed.readiness()[1]["status"] == "not_ready"


def test_beacon_age() -> None:
    """The body says how long ago a beacon was heard, and null when none ever was."""
    assert state(False, True, 1.23456).readiness()[1]["beacon_age_s"] == 1.235
    assert state(False, True).readiness()[1]["beacon_age_s"] is None


@pytest.mark.parametrize(
    ("revocations", "status", "degraded"),
    [
        ("none", 200, []),
        ("live", 200, []),
        ("old", 200, ["revocations"]),
        ("unknown", 503, ["revocations"]),
        ("refused", 503, ["revocations"]),
    ],
)
def test_what_was_revoked(revocations: str, status: int, degraded: list[str]) -> None:
    """Nobody is ready who has not read what was revoked; an old list is named, and holds."""
    found, body = dataclasses.replace(state(False, True), revocations=lambda: revocations).readiness()

    assert (found, body["degraded"]) == (status, degraded)


@pytest.mark.parametrize(
    ("keys", "status", "with_watch_key", "degraded"),
    [
        ("none", 200, 200, []),
        ("live", 200, 200, []),
        ("old", 200, 200, ["issuer_keys"]),
        ("unknown", 503, 200, ["issuer_keys"]),
    ],
)
def test_issuers_keys(keys: str, status: int, with_watch_key: int, degraded: list[str]) -> None:
    """A hub that never read its issuer's keys is not ready, unless it takes the API's tokens; old ones hold."""
    for env, expected in ({}, status), ({"WATCH_TOKEN_KEY": "w" * 32}, with_watch_key):
        config = AuthConfig.from_env(env, "127.0.0.1")
        found, body = dataclasses.replace(state(False, True), issuer_keys=lambda: keys, auth=config).readiness()
        assert (found, body["degraded"]) == (expected, degraded)
