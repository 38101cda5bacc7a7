"""What the running stack was told of tokens, so that a terminal with another key is noticed: what it made, the hub
would refuse.

./dev run keeps a salted hash of each variable, and never the variable, in its data directory, for as long as it runs.
With both stores given it has no such directory, and nothing is compared.
"""

import contextlib
import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deploy.local.environment import Environment
from deploy.local.errors import LocalError
from deploy.local.place import DataDirectory, write_secret
from deploy.local.process import command_line

FILE = "told.json"
# Not the ..._PREVIOUS_KEYs: a terminal without them makes tokens as good as any.
COMPARED = ("AUTH_HMAC_KEY", "WATCH_TOKEN_KEY", "AUTH_PUBLIC_KEY", "AUTH_JWKS_URL", "AUTH_ISSUER", "AUTH_AUDIENCE")
# What the services take where one is not set; the issuer is required with other keys than AUTH_HMAC_KEY.
DEFAULTS = {"AUTH_ISSUER": "runfeed", "AUTH_AUDIENCE": "runfeed"}


@contextlib.contextmanager
def told(environment: Environment, data: DataDirectory, database_url: str) -> Iterator[None]:
    """While in it, check_terminal() knows what the services on this database were told."""
    if not data.taken:
        yield
        return
    path = data.path / FILE
    salt = secrets.token_hex(32)
    proof = {name: _hash(salt, _said(environment, name)) for name in COMPARED}
    record = {"pid": os.getpid(), "salt": salt, "database": _hash(salt, database_url), "proof": proof}
    write_secret(path, json.dumps(record))
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def check_terminal(environment: Environment, database_url: str) -> None:
    """LocalError when the stack that runs on this database was told otherwise than this terminal is."""
    record = _read(environment.data / FILE)
    # Left by a stack that was killed; or the database is another stack's, which DATABASE_URL named.
    if not record or not command_line(record["pid"]) or record["database"] != _hash(record["salt"], database_url):
        return
    for name in COMPARED:
        here, there = _hash(record["salt"], _said(environment, name)), record["proof"][name]
        if hmac.compare_digest(here, there):
            continue
        if not there:
            raise LocalError(f"this terminal has {name}, and ./dev run has none")
        if not here:
            raise LocalError(f"this terminal has no {name}, and ./dev run has one")
        raise LocalError(f"this terminal's {name} is not the one that ./dev run has")


def _said(environment: Environment, name: str) -> str:
    return environment.said(name) or DEFAULTS.get(name, "")


def _hash(salt: str, text: str) -> str:
    """Nothing of nothing: that one is not set is no secret, and worth a line of its own."""
    return hmac.new(salt.encode(), os.fsencode(text), hashlib.sha256).hexdigest() if text else ""


def _read(path: Path) -> dict[str, Any] | None:
    try:
        record: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return record
