"""Services that ask who comes: how they are started, and the keys and tokens that they take."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jwt

from tests.support.commands import called
from tests.support.processes import services

HMAC_KEY = "a secret of the tests, thirty-two bytes long"


def token(username: str = "alice", seconds: float = 600, key: str = HMAC_KEY, **claims: Any) -> str:
    """A user's token that ends in so many seconds. claims: further ones, or others; one that is None is left out."""
    now = time.time()
    said = {"iss": "runfeed", "aud": "runfeed", "sub": username, "iat": now, "exp": now + seconds} | claims
    return jwt.encode({name: value for name, value in said.items() if value is not None}, key, algorithm="HS256")


def operate(database_url: str, redis_url: str, *arguments: str, hmac_key: str = HMAC_KEY) -> str:
    """What `python -m orchestrator_api ...` prints, for services that ask who comes."""
    names = {"DATABASE_URL": database_url, "REDIS_URL": redis_url, "AUTH_HMAC_KEY": hmac_key}
    status, said = called(*arguments, **names)
    assert status == 0, said
    return said.strip()


@contextmanager
def proving(database_url: str, redis_url: str, directory: Path, **names: str) -> Iterator[dict[str, str]]:
    """Both services, ready, as `services` has them, and they ask who comes; the environment that they have."""
    key = operate(database_url, redis_url, "keys", "create", "--may", "hub", "--all")
    wanted = {"AUTH_HMAC_KEY": HMAC_KEY, "FANOUT_HISTORY_KEY": key, **names}
    with services(database_url, redis_url, directory, **wanted) as environ:
        yield environ
