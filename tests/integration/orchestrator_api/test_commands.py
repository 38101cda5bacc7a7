"""The operator's commands: keys, revocations, watch tokens."""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator

import jwt
import pytest
import pytest_asyncio

from tests.integration.orchestrator_api.test_process import command
from tests.integration.orchestrator_api.who import SHARED, Proving, bearer, proving
from tests.support.commands import called
from tests.support.proving import HMAC_KEY, token
from tests.support.waiting import eventually

pytestmark = [pytest.mark.any_server, SHARED]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(modules_database_url: str, redis_url: str) -> AsyncIterator[Proving]:
    """An API in JWT mode with a run of alice's."""
    async with proving(modules_database_url, redis_url) as world:
        await world.run("alice", "flight:1")
        yield world


async def run(world: Proving, *words: str, **environ: str) -> tuple[int, str]:
    """A command on the service's database: its exit status, and all that it said."""
    return await asyncio.to_thread(called, *words, **environment(world), **environ)


def environment(world: Proving) -> dict[str, str]:
    """What a command of this service has in its environment."""
    return {"DATABASE_URL": world.api.settings.database_url, "AUTH_HMAC_KEY": HMAC_KEY}


async def made(world: Proving, *words: str) -> str:
    """The key that a command prints, and nothing else."""
    status, said = await run(world, "keys", *words)
    assert status == 0, said
    assert re.fullmatch(r"rfk_[0-9a-f]{16}_[A-Za-z0-9_-]{43}\n", said)
    return said.strip()


def key_id(key: str) -> str:
    """The part of a key that lists show."""
    return key.split("_")[1]


async def code(world: Proving, key: str, run_id: str = "flight:1") -> str:
    """Why a key may not append to a run; nothing when it may."""
    _, said = await world.ask(bearer(key), "POST", f"/runs/{run_id}/events", {"type": "tick"})
    return str(said.get("code", ""))


async def test_as_processes(world: Proving) -> None:
    """Each command runs as a process, and says on stdout what a shell's `$(...)` is to have. The others call them."""
    names = environment(world)
    said = [
        await command(*words, **names)
        for words in (
            ("keys", "create", "--may", "write", "--all"),
            ("watch-token", "--user", "alice"),
            ("revoke", "--token-id", "j0"),
        )
    ]

    assert [status for status, _ in said] == [0, 0, 0]
    (_, key), (_, shown), (_, revoked) = said
    assert await code(world, key.strip()) == ""
    assert (await world.ask(bearer(shown.strip()), "GET", "/runs/flight:1"))[0] == 200
    assert re.fullmatch(r"revoked, number \d+\n", revoked)


async def test_life_of_a_key(world: Proving) -> None:
    """A key works as soon as it is made, is listed without its secret, and is dead two seconds after its revocation."""
    key = await made(world, "create", "--may", "write,read", "--user", "alice", "--run", "flight:*", "--name", "GPU 7")
    assert await code(world, key) == ""
    assert await code(world, key, "train:1") == "run_unknown"
    status, listed = await run(world, "keys", "list")
    line = next(line for line in listed.splitlines() if key_id(key) in line)
    assert (status, line.split()[1:4], line.endswith("never  good   GPU 7")) == (
        0,
        ["read,write", "alice", "flight:*"],
        True,
    )
    assert key.split("_", 2)[2] not in listed
    assert await run(world, "keys", "revoke", key_id(key)) == (0, f"revoked {key_id(key)}\n")

    async def dead() -> bool:
        return await code(world, key) == "key_unknown"

    await eventually(dead, within=2.0)
    status, said = await run(world, "keys", "revoke", key_id(key))
    why = "(revoked before, or never made): see `python -m orchestrator_api keys list --all`"
    assert (status, said) == (1, f"orchestrator_api: keys revoke: there is no API key {key_id(key)} {why}\n")


async def test_ended_keys(world: Proving) -> None:
    """The list has the keys that are good; one that has ended is there with --all, and says so, to programs as well."""
    old = await made(world, "create", "--may", "read", "--user", "carol", "--name", "a  name")
    new = await made(world, "rotate", key_id(old), "--overlap", "0s")

    async def listed(*words: str) -> dict[str, str]:
        status, said = await run(world, "keys", "list", *words)
        assert status == 0, said
        head, *rows = said.splitlines()
        at = head.index("state")
        return {row.split()[0]: row[at:].split()[0] for row in rows}

    plain, everything = await listed(), await listed("--all")
    assert (plain.get(key_id(old)), plain.get(key_id(new))) == (None, "good")
    assert (everything[key_id(old)], everything[key_id(new)]) == ("ended", "good")
    assert set(plain.values()) == {"good"}
    _, said = await run(world, "keys", "list", "--all", "--json")
    rows = {row["key_id"]: row for row in map(json.loads, said.splitlines())}
    assert set(rows) == set(everything)
    row = rows[key_id(old)]
    assert (row["may"], row["users"], row["runs"], row["state"]) == (["read"], ["carol"], None, "ended")
    assert (row["name"], row["expires_at"] <= time.time()) == ("a  name", True)
    assert old.split("_", 2)[2] not in said


async def test_as_it_is_called() -> None:
    """Usage lines name the command that was typed, where another one calls us; ./dev api does."""
    for program in ("./dev api", ""):
        status, said = called("keys", "create", RUNFEED_PROGRAM=program)
        assert (status, said.startswith(f"usage: {program or 'python -m orchestrator_api'} keys create ")) == (2, True)


async def test_rotation(world: Proving) -> None:
    """A rotated key has the old one's rights and scope; both work for the overlap, and then the new one alone."""
    old = await made(world, "create", "--may", "write", "--user", "ali*", "--expires-in", "90d")
    new = await made(world, "rotate", key_id(old), "--overlap", "1h")
    rows = {
        row["key_id"]: dict(row)
        for row in await world.database.fetch(
            "SELECT * FROM api_keys WHERE key_id = ANY ($1)", [key_id(old), key_id(new)]
        )
    }
    first, second = rows[key_id(old)], rows[key_id(new)]

    assert await code(world, old) == await code(world, new) == ""
    assert {name: first[name] for name in ("may", "users", "runs", "name")} == {
        name: second[name] for name in ("may", "users", "runs", "name")
    }
    assert first["expires_at"] == pytest.approx(time.time() + 3600, abs=60)
    assert second["expires_at"] == pytest.approx(time.time() + 90 * 86_400, abs=60)
    newer = await made(world, "rotate", key_id(new), "--overlap", "0s")

    async def alone() -> bool:
        return await code(world, new) == "key_unknown" and await code(world, newer) == ""

    await eventually(alone, within=2.0)
    assert (await run(world, "keys", "rotate", key_id(new)))[0] == 1
    assert (await run(world, "keys", "rotate", "nobody"))[0] == 1


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (["create"], 2, "--may"),
        (["create", "--may", "fly"], 2, "must be of write, read, mint, revoke, hub"),
        (["create", "--may", "write"], 1, "name whose it is for: --user, --run, or --all"),
        (["create", "--may", "write", "--all", "--user", "a"], 1, "without --user and --run"),
        (["create", "--may", "hub", "--user", "a"], 1, "a hub reads everything"),
        (["create", "--may", "write", "--user", "*"], 2, "must be 1 to 128 characters"),
        (["create", "--may", "write", "--user", "a*b"], 2, "must be 1 to 128 characters"),
        (["create", "--may", "write", "--all", "--expires-in", "90"], 2, "a number and a unit"),
        (["create", "--may", "write", "--all", "--expires-in", "-1d"], 2, "expires-in"),
        (["create", "--may", "write", "--all", "--name", "a\nb"], 2, "printable"),
        (["rotate", "x", "--overlap", "soon"], 2, "a number and a unit"),
        ([], 2, "required"),
    ],
)
async def test_bad_arguments(words: list[str], status: int, says: str) -> None:
    """What makes no sense is refused in a line that says what would, before the database is asked."""
    found, said = called("keys", *words, DATABASE_URL="postgresql://127.0.0.1:1/d")

    assert (found, says in said) == (status, True), said
    assert "Traceback" not in said


async def test_database_away() -> None:
    """A command without a database is one line, and exit status 1."""
    for words in (["keys", "list"], ["revoke", "--user", "a"], ["keys", "create", "--may", "hub"]):
        status, said = called(*words, DATABASE_URL="postgresql://u:secret@127.0.0.1:1/d")
        assert (status, said.count("\n"), "secret" in said) == (1, 1, False), said


async def test_revoke(world: Proving) -> None:
    """An operator's revocation of a user, or of one token, holds within two seconds."""
    user, one, other = bearer(token("bob")), bearer(token(jti="j1")), bearer(token(jti="j2"))
    last = await world.database.fetchval("SELECT coalesce(max(number), 0) FROM revocations")
    assert await run(world, "revoke", "--user", "bob") == (0, f"revoked, number {last + 1}\n")
    assert await run(world, "revoke", "--token-id", "j1") == (0, f"revoked, number {last + 2}\n")

    async def refused() -> bool:
        found = [(await world.ask(headers, "GET", "/runs"))[0] for headers in (user, one, other)]
        return found == [401, 401, 200]

    await eventually(refused, within=2.0)
    assert (await run(world, "revoke"))[0] == 2
    assert (await run(world, "revoke", "--user", "a", "--token-id", "b"))[0] == 2


async def test_watch_token(world: Proving) -> None:
    """watch-token prints a token that opens the runs that it names, of that user, and nothing else."""
    status, said = await run(world, "watch-token", "--user", "alice", "--run", "flight:1", "--ttl", "60")
    claims = jwt.decode(said.strip(), options={"verify_signature": False})

    assert (status, said.count("\n"), claims["run_ids"]) == (0, 1, ["flight:1"])
    assert claims["exp"] - claims["iat"] == pytest.approx(60)
    assert (await world.ask(bearer(said.strip()), "GET", "/runs/flight:1"))[0] == 200
    for words, found, says in (
        (["--user", "bob", "--run", "flight:1"], 1, "bob has no run flight:1"),
        (["--user", "alice", "--ttl", "59"], 2, "from 60 to 86400"),
        (["--user", "a b"], 2, "must be 1 to 128 characters"),
        ([], 2, "--user"),
    ):
        status, said = await run(world, "watch-token", *words)
        assert (status, says in said) == (found, True), said
    status, said = called("watch-token", "--user", "a", DATABASE_URL=world.api.settings.database_url)
    assert (status, "WATCH_TOKEN_KEY" in said) == (1, True)
