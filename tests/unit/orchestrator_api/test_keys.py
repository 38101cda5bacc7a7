"""orchestrator_api/keys.py: how a key is made and read, what its scope holds, how long a look-up is kept."""

import re
import time
from typing import Any

import pytest

from orchestrator_api import keys
from orchestrator_api.keys import ApiKey, Keys, Scope


class Rows:
    """A reader's part that keys need: rows by id, and which ids were asked for."""

    def __init__(self, **rows: dict[str, Any]) -> None:
        self.rows = rows
        self.asked: list[list[str]] = []

    async def fetch(self, query: str, key_ids: list[str]) -> list[dict[str, Any]]:
        assert query == "api_keys"
        self.asked.append(key_ids)
        return [self.rows[key_id] for key_id in key_ids if key_id in self.rows]


def row(key_id: str, digest: bytes, **more: Any) -> dict[str, Any]:
    """A row of the table."""
    return {
        "key_id": key_id, "digest": digest, "may": ["read"], "users": None, "runs": None, "expires_at": None,
    } | more  # fmt: skip


@pytest.mark.parametrize(
    ("patterns", "inside", "outside"),
    [
        (["alice"], ["alice"], ["alice2", "Alice", "alic", "", "bob", "alice*"]),
        (["flight:*"], ["flight:1", "flight:"], ["flight", "Flight:1", "xflight:1"]),
        (["a", "b*"], ["a", "b", "bb"], ["aa", "c"]),
        ([], [], ["a", ""]),
    ],
)
def test_scope(patterns: list[str], inside: list[str], outside: list[str]) -> None:
    """A scope holds its exact names and what begins with its prefixes, letter by letter, and nothing else."""
    scope = Scope.of(patterns)

    assert scope is not None
    assert [name for name in inside if name not in scope] == []
    assert [name for name in outside if name in scope] == []


def test_any_scope() -> None:
    """No patterns at all is any name, which is not the same as an empty list."""
    assert Scope.of(None) is None


def test_new() -> None:
    """A new key is its id and 256 random bits; what is kept of it does not show them."""
    key_id, key, digest = keys.new()

    assert re.fullmatch(rf"rfk_{key_id}_[A-Za-z0-9_-]{{43}}", key)
    assert keys.FORM.fullmatch(key)
    assert digest == keys.digest_of(key.split("_", 2)[2])
    assert keys.new()[1] != key
    assert repr(digest) not in repr(ApiKey.of(row(key_id, digest)))


def test_expiry() -> None:
    """A key opens with its secret until the second in which it ends."""
    key = ApiKey.of(row("k", keys.digest_of("secret"), expires_at=100.0))

    assert key.opened_by("secret", 99.9)
    assert not key.opened_by("secret", 100.0)
    assert not key.opened_by("Secret", 99.9)


@pytest.mark.parametrize(
    "text", ["", "rfk_", "rfk_x_y", "xrfk_", "rfk_" + "0" * 16 + "_" + "\N{LATIN SMALL LETTER E WITH ACUTE}" * 43]
)
async def test_malformed(text: str) -> None:
    """What is no key asks nobody."""
    rows = Rows()

    assert await Keys(rows).find(text) is None  # type: ignore[arg-type]
    assert rows.asked == []


async def test_kept_for_a_second() -> None:
    """A look-up holds for a second, also one in vain; then the key is asked for again."""
    key_id, key, digest = keys.new()
    other = keys.new()[1]
    rows, now = Rows(**{key_id: row(key_id, digest)}), [100.0]
    known = Keys(rows, lambda: now[0])  # type: ignore[arg-type]
    for _ in range(3):
        assert await known.find(key) is not None
        assert await known.find(other) is None
    assert len(rows.asked) == 2
    rows.rows.clear()
    now[0] += 0.99
    assert await known.find(key) is not None
    now[0] += 0.01
    assert await known.find(key) is None
    assert len(rows.asked) == 3


async def test_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who tries keys out fills no memory."""
    monkeypatch.setattr(keys, "KEPT", 10)
    known = Keys(Rows(), time.monotonic)  # type: ignore[arg-type]
    for _ in range(50):
        await known.find(keys.new()[1])

    assert repr(known) == "<Keys 10 known>"
