"""Schemathesis against the running API: requests that it makes up from the OpenAPI document, right ones and wrong ones.

    python -m tests.hardening.api_schema --seconds 60             share them out among the callers below
    python -m tests.hardening.api_schema --seconds 600 --seed 1   the same requests as the last time

The callers: whoever comes, of a service without keys; an API key that may everything; a user's token. An answer must
not be 5xx, and must be what the document says, by its own checks and by those of tests/support/checked_api.py.
Needs schemathesis (requirements-harden.lock); `schemathesis.toml` says what it looks at.
"""

import argparse
import asyncio
import http.client
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg

from deploy.local.binaries import find_postgres, find_redis
from deploy.local.place import CHECKOUT, DataDirectory
from deploy.local.postgres import Postgres
from deploy.local.valkey import Valkey
from orchestrator_api import keys
from orchestrator_api.migrate import migrate
from orchestrator_api.store import QUERIES
from tests.support.answers import VARIABLE, Findings
from tests.support.processes import BIN_DIR, clean_environ, free_ports, procfile_command, ready_or_say_why

CONFIG = Path(__file__).with_suffix("").with_name("schemathesis.toml")
DOCUMENT = "/api/v1/openapi.json"
HMAC_KEY = "a secret of the tests, thirty-two bytes long"
GRACE_S = 120.0  # seconds beyond its share until schemathesis is given up: it makes small what it found
SHOWN = 400  # characters of a line: some bodies are long
LAST_LINES = 14  # of its report, when nothing was found: how much was tried
SERVER_FAULT = "orchestrator.unhandled"  # in the API's log


def say(text: str) -> None:
    """A line for whoever waits."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


@contextmanager
def stores() -> Iterator[Mapping[str, str]]:
    """PostgreSQL with the API's schema, and Redis: what a service's environment says of them."""
    top = DataDirectory(CHECKOUT / ".data" / f"schema-{os.getpid()}")
    top.create()
    postgres, redis = DataDirectory(top.path / "postgres"), DataDirectory(top.path / "redis")
    try:
        with Postgres(postgres, find_postgres(os.environ)) as database, Valkey(redis, find_redis(os.environ)) as valkey:
            asyncio.run(migrate(database.url()))
            yield {"DATABASE_URL": database.url(), "REDIS_URL": valkey.url}
    finally:
        postgres.remove()
        redis.remove()
        top.remove()


async def new_key(database_url: str) -> str:
    """An API key that may everything."""
    key_id, key, digest = keys.new()
    connection = await asyncpg.connect(database_url)
    try:
        row = (key_id, digest, list(keys.RIGHTS), None, None, "", time.time(), None)
        await connection.execute(QUERIES["add_api_key"], *row)
    finally:
        await connection.close()
    return key


def post(port: str, path: str, body: Any, key: str = "") -> Any:
    """What the API answers. AssertionError when it is not 2xx."""
    connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=10)
    try:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        connection.request("POST", path, json.dumps(body), headers)
        response = connection.getresponse()
        said = response.read()
        assert response.status < 300, said
        return json.loads(said)
    finally:
        connection.close()


def tried(port: str, seconds: int, seed: int, credential: str) -> bool:
    """Runs schemathesis; whether all was well. credential: of the caller; empty: nobody's."""
    command: list[str | Path] = [BIN_DIR / "st", "--config-file", CONFIG, "--no-color", "run"]
    command += [f"http://127.0.0.1:{port}{DOCUMENT}", "--max-time", str(seconds), "--seed", str(seed)]
    command += ["--continue-on-failure", "--max-failures", "20"]
    if credential:
        command += ["--header", f"Authorization: Bearer {credential}"]
    with tempfile.TemporaryDirectory(prefix="runfeed-schema-") as directory:
        done = subprocess.run(
            command,
            cwd=directory,
            env={**os.environ, "NO_COLOR": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=seconds + GRACE_S,
        )
    lines = [line[:SHOWN] for line in done.stdout.splitlines() if line.strip()]
    say("\n".join(lines if done.returncode else lines[-LAST_LINES:]))
    return done.returncode == 0


def passed(environ: Mapping[str, str], log: Path, seconds: int, seed: int, who: str) -> bool:
    """Starts a service and tries it as this caller; whether all was well."""
    with procfile_command("api", environ, log) as api:
        ready_or_say_why(api, environ["API_ADMIN_PORT"])
        port, credential = environ["API_PORT"], ""
        if who != "whoever comes":
            credential = asyncio.run(new_key(environ["DATABASE_URL"]))
        # What the document's examples speak of.
        post(port, "/runs", {"username": "alice", "run_id": "hello"}, credential)
        if who == "a user's token":
            credential = post(port, "/api/v1/watch-tokens", {"username": "alice", "ttl": 86_400}, credential)["token"]
        say(f"\n--- {who}")
        well = tried(port, seconds, seed, credential)
        if SERVER_FAULT in api.output():
            say(f"the API's own log has {SERVER_FAULT}:\n{api.output()[-4000:]}")
            return False
    return well


def main(arguments: argparse.Namespace) -> int:
    """0 when all was well."""
    seconds = max(10, arguments.seconds // 3)
    say(f"seed {arguments.seed}")
    with stores() as found, tempfile.TemporaryDirectory(prefix="runfeed-schema-") as name:
        directory = Path(name)
        plain = clean_environ(**found, **{VARIABLE: name})
        proving = {**plain, "AUTH_HMAC_KEY": HMAC_KEY, "PAGE": "on"}
        callers = {"whoever comes": plain, "an API key": proving, "a user's token": proving}
        wrong = [
            who
            for number, (who, environ) in enumerate(callers.items())
            if not passed({**environ, **free_ports()}, directory / f"api{number}.log", seconds, arguments.seed, who)
        ]
        findings = Findings.of(directory)
    say("\n" + "\n".join(findings.report()))
    say(f"FAILED: {', '.join(wrong)}; --seed {arguments.seed} tries the same again" if wrong else "all was well")
    return 1 if wrong or findings.faults or not findings.answers else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=60, help="for all callers together, servers not counted")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32), help="of the requests")
    sys.exit(main(parser.parse_args()))
