"""API keys: how one is made and read, what it may, and which are known.

A key is `rfk_<id>_<secret>`. The database has its id and the SHA-256 of its secret; the key itself is shown once, by
the command that makes it. It may do what its rights say, for the users and the runs of its scope.
"""

import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

from orchestrator_api.store import Reader
from orchestrator_api.together import Grouped

PREFIX = "rfk_"
FORM = re.compile(rf"{PREFIX}([0-9a-f]{{16}})_([A-Za-z0-9_-]{{43}})")
RIGHTS = ("write", "read", "mint", "revoke", "hub")
KEPT_S = 1.0  # seconds for which a look-up holds: a revoked key works no longer than that
KEPT = 10_000  # look-ups kept, those in vain too: who tries keys out costs a statement each, and no memory


@dataclass(frozen=True, slots=True)
class Scope:
    """Names that a key is for: exact ones, and `prefix*`."""

    exact: frozenset[str]
    prefixes: tuple[str, ...]

    @classmethod
    def of(cls, patterns: list[str] | None) -> "Scope | None":
        """Makes it of patterns; None, which is any name, of None."""
        if patterns is None:
            return None
        prefixes = tuple(pattern[:-1] for pattern in patterns if pattern.endswith("*"))
        return cls(frozenset(pattern for pattern in patterns if not pattern.endswith("*")), prefixes)

    def __contains__(self, name: str) -> bool:
        return name in self.exact or name.startswith(self.prefixes)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as it is known. users, runs: None is any; expires_at: unix seconds, None is never."""

    key_id: str
    digest: bytes = field(repr=False)
    may: frozenset[str]
    users: Scope | None
    runs: Scope | None
    expires_at: float | None

    @classmethod
    def of(cls, row: Any) -> "ApiKey":
        """Makes it of a row of the query api_keys."""
        users, runs = Scope.of(row["users"]), Scope.of(row["runs"])
        return cls(row["key_id"], row["digest"], frozenset(row["may"]), users, runs, row["expires_at"])

    def opened_by(self, secret: str, now: float) -> bool:
        """True when that is its secret and it has not expired. now: unix seconds."""
        same = hmac.compare_digest(digest_of(secret), self.digest)
        return same and (self.expires_at is None or now < self.expires_at)


def new() -> tuple[str, str, bytes]:
    """Returns a new key's id, the key itself, and the digest of its secret."""
    key_id, secret = secrets.token_hex(8), secrets.token_urlsafe(32)
    return key_id, f"{PREFIX}{key_id}_{secret}", digest_of(secret)


def digest_of(secret: str) -> bytes:
    """Returns what is kept of a secret."""
    return hashlib.sha256(secret.encode()).digest()


class Keys:
    """The keys of the database, each looked up when it is shown."""

    def __init__(self, reader: Reader, clock: Callable[[], float] = time.monotonic) -> None:
        self._reader = reader
        self._clock = clock
        self._look_up = Grouped(self._fetch)
        self._known: dict[str, tuple[float, ApiKey | None]] = {}  # by id: until when that holds, and what was found

    def __repr__(self) -> str:
        return f"<Keys {len(self._known)} known>"

    async def find(self, key: str) -> ApiKey | None:
        """Returns the key of that text; None when it was never made, was revoked or has expired. Raises Unavailable."""
        match = FORM.fullmatch(key)
        if match is None:
            return None
        found = await self._by_id(match[1])
        return found if found is not None and found.opened_by(match[2], time.time()) else None

    async def _by_id(self, key_id: str) -> ApiKey | None:
        until, found = self._known.get(key_id, (0.0, None))
        if self._clock() < until:
            return found
        asked = self._clock()  # not when the answer is there: what it says may be as old as the question
        found = cast("ApiKey | None", await self._look_up.get(key_id))
        self._known.pop(key_id, None)
        if len(self._known) >= KEPT:
            del self._known[next(iter(self._known))]
        self._known[key_id] = asked + KEPT_S, found
        return found

    async def _fetch(self, key_ids: list[str]) -> dict[str, ApiKey]:
        return {row["key_id"]: ApiKey.of(row) for row in await self._reader.fetch("api_keys", key_ids)}
