"""deploy/local/keys.py: what becomes of a key that is lent."""

import contextlib

import pytest

from deploy.local import keys
from deploy.local.api import CALL_SECONDS
from deploy.local.errors import LocalError

KEY_ID = "7" * 16
REVOKED = ("keys", "revoke", KEY_ID)


@pytest.mark.parametrize("gone", [False, True])
def test_lent(monkeypatch: pytest.MonkeyPatch, gone: bool) -> None:
    """It is made with these words and taken back, also after an error; one that stays is named, without its secret."""
    calls: list[tuple[str, ...]] = []
    said: list[str] = []

    def called(_: object, *words: str, seconds: float = CALL_SECONDS, wait: object = None) -> str:
        calls.append(words)
        assert (seconds == keys.REVOKE_SECONDS) is (words == REVOKED) is (wait is None)
        if gone and words == REVOKED:
            raise LocalError("no database")
        return f"rfk_{KEY_ID}_secret\n"

    monkeypatch.setattr(keys, "called", called)
    with contextlib.suppress(InterruptedError):
        with keys.lent_key({}, "--may", "hub", left="key {} is left", say=said.append, wait=lambda _: None) as key:
            assert (key, calls) == (f"rfk_{KEY_ID}_secret", [("keys", "create", "--may", "hub")])
            raise InterruptedError

    assert calls[1:] == [REVOKED]
    assert said == ([f"key {KEY_ID} is left: no database"] if gone else [])
