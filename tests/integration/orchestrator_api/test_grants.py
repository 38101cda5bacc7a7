"""Tickets, watch tokens and revocations: what is given, to whom, how often it works, and what is taken back."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import jwt
import pytest
import pytest_asyncio

from orchestrator_api import grants, keys, revoked
from orchestrator_api.store import QUERIES
from tests.integration.orchestrator_api.hostile import assert_refused, post
from tests.integration.orchestrator_api.who import SHARED, Headers, Proving, bearer, proving
from tests.support.proving import HMAC_KEY, token
from tests.support.waiting import eventually

pytestmark = SHARED
WATCH_KEY = "another secret of the tests, also long enough"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(modules_database_url: str, redis_url: str) -> AsyncIterator[Proving]:
    """An API in JWT mode, with a run of alice's and one of bob's."""
    async with proving(modules_database_url, redis_url, WATCH_TOKEN_KEY=WATCH_KEY) as world:
        for username, run_id in (("alice", "a1"), ("bob", "b1")):
            await world.run(username, run_id)
        yield world


async def ticket(world: Proving, headers: Headers, body: Any = None) -> str:
    """A new ticket."""
    found, said = await world.ask(headers, "POST", "/api/v1/tickets", body)
    assert (found, said["expires_in"]) == (201, 30), said
    return str(said["ticket"])


async def redeem(world: Proving, ticket: str, **more: Any) -> tuple[int, Any]:
    """What a hub is told of a ticket."""
    return await world.ask(world.hub, "POST", "/api/v1/tickets/redeem", {"ticket": ticket, **more})


async def test_ticket_of_a_token(world: Proving) -> None:
    """A user's ticket opens a session with the token's own user, runs, times and id, and works once."""
    issued, expires = time.time() - 5, time.time() + 100
    mine = bearer(token(iat=issued, exp=expires, jti="j1", run_ids=["a2", "a1"]))
    shown = await ticket(world, mine)
    session = {
        "username": "alice",
        "run_ids": ["a1", "a2"],
        "expires_at": expires,
        "issued_at": issued,
        "token_id": "j1",
    }

    assert await redeem(world, shown) == (200, session)
    found, said = await redeem(world, shown)
    assert (found, said["code"]) == (404, "ticket_unknown")


async def test_ticket_of_a_key(world: Proving) -> None:
    """A backend's ticket is for the user and the runs that it names, for a quarter of an hour."""
    mint = await world.key("mint", users=["alice"])
    before = time.time()
    body = {"username": "alice", "run_ids": ["a1", "a1"]}
    found, said = await redeem(world, await ticket(world, mint, body))
    other = (await redeem(world, await ticket(world, mint, body)))[1]

    assert (found, said["username"], said["run_ids"]) == (200, "alice", ["a1"])
    assert said["token_id"]
    assert said["token_id"] != other["token_id"]  # each visitor's sockets are counted apart
    assert before <= said["issued_at"] <= time.time()
    assert said["expires_at"] == pytest.approx(said["issued_at"] + 900)
    assert (await redeem(world, await ticket(world, mint, {"username": "alice"})))[1]["run_ids"] is None


async def test_ticket_is_kept_hashed(world: Proving) -> None:
    """No row of the database holds a ticket."""
    shown = await ticket(world, bearer(token()))
    rows = {row["digest"]: dict(row) for row in await world.database.fetch("SELECT * FROM tickets")}

    assert rows[keys.digest_of(shown)]["username"] == "alice"
    assert shown not in str(rows)


@pytest.mark.parametrize("column", ["good_until", "expires_at"])
async def test_ticket_that_is_over(world: Proving, column: str) -> None:
    """A ticket of more than thirty seconds ago, and one whose token has ended, are unknown, as one that never was."""
    shown = await ticket(world, bearer(token()))
    await world.database.execute(f"UPDATE tickets SET {column} = extract(epoch FROM clock_timestamp())")
    over = await world.raw(world.hub, "POST", "/api/v1/tickets/redeem", {"ticket": shown})
    never = await world.raw(world.hub, "POST", "/api/v1/tickets/redeem", {"ticket": "rft_" + "x" * 43})
    malformed = await world.raw(world.hub, "POST", "/api/v1/tickets/redeem", {"ticket": "x\u0000\ud800"})

    assert over == never == malformed
    assert over[0] == 404


async def test_ticket_of_a_page(world: Proving) -> None:
    """A page's ticket works for no other page, and is used up by whoever tries it from another.

    A page says its origin when it posts, and not when it gets from its own: then there is none to compare.
    """
    mine = bearer(token()) | {"Origin": "http://localhost:5173"}
    for wrong in ("http://localhost:9", "http://localhost:51", "null", "", "\ud800"):
        shown = await ticket(world, mine)
        assert (await redeem(world, shown, origin=wrong))[1]["code"] == "ticket_unknown"
        assert (await redeem(world, shown, origin="http://localhost:5173"))[0] == 404
    for good in ({"origin": "http://localhost:5173"}, {"origin": None}, {}):
        assert (await redeem(world, await ticket(world, mine), **good))[0] == 200
    assert (await redeem(world, await ticket(world, bearer(token())), origin="http://any"))[0] == 200


async def test_ticket_once_among_many(world: Proving) -> None:
    """Of many who show a ticket at the same moment exactly one gets its session."""
    for _ in range(5):
        shown = await ticket(world, bearer(token()))
        found = await asyncio.gather(*(redeem(world, shown) for _ in range(8)))
        assert sorted(answer[0] for answer in found) == [200] + [404] * 7


@pytest.mark.parametrize("what", ["tickets", "watch-tokens"])
async def test_minting_in_scope(world: Proving, what: str) -> None:
    """A backend mints for users and runs of its scope; a run that is not its user's is a missing one."""
    users, runs = await world.key("mint", users=["alice"]), await world.key("mint", runs=["a*"])

    async def mint(headers: Headers, **said: Any) -> tuple[int, str, str | None]:
        found, body = await world.ask(headers, "POST", f"/api/v1/{what}", said)
        return found, body.get("code", ""), body.get("field")

    assert await mint(users, username="alice") == (201, "", None)
    assert await mint(runs, username="alice", run_ids=["a1"]) == (201, "", None)
    assert await mint(users, username="bob") == (403, "forbidden", "username")
    assert await mint(users, username="alice2") == (403, "forbidden", "username")
    assert await mint(runs, username="alice") == (403, "forbidden", "username")
    for headers, run_ids in ((users, ["a1", "b1"]), (users, ["a1", "missing"]), (world.hub, ["a1", "b1"])):
        assert await mint(headers, username="alice", run_ids=run_ids) == (404, "run_unknown", "run_ids[1]")
    assert await mint(runs, username="bob", run_ids=["b1"]) == (404, "run_unknown", "run_ids[0]")
    assert await mint(runs, username="bob", run_ids=["b2"]) == (404, "run_unknown", "run_ids[0]")
    assert await mint(await world.key("read"), username="alice") == (403, "forbidden", None)


@pytest.mark.parametrize(
    ("path", "said", "field"),
    [
        ("tickets", {}, "username"),
        ("tickets", {"username": "a b"}, "username"),
        ("tickets", {"username": "alice", "ttl": 60}, "ttl"),
        ("tickets", {"username": "alice", "run_ids": []}, "run_ids"),
        ("tickets", {"username": "alice", "run_ids": ["a1", "*"]}, "run_ids[1]"),
        ("tickets", {"username": "alice", "run_ids": ["a1"] * 129}, "run_ids"),
        ("tickets", [], "body"),
        ("tickets/redeem", {}, "ticket"),
        ("tickets/redeem", {"ticket": 1}, "ticket"),
        ("tickets/redeem", {"ticket": "x", "origin": 1}, "origin"),
        ("tickets/redeem", {"ticket": "x", "more": 1}, "more"),
        ("watch-tokens", {"username": "alice", "ttl": 59}, "ttl"),
        ("watch-tokens", {"username": "alice", "ttl": 86401}, "ttl"),
        ("watch-tokens", {"username": "alice", "ttl": 60.0}, "ttl"),
        ("watch-tokens", {"username": "alice", "ttl": True}, "ttl"),
        ("watch-tokens", {"run_ids": ["a1"]}, "username"),
        ("revocations", {}, "username"),
        ("revocations", {"username": "alice", "token_id": "j"}, "username"),
        ("revocations", {"username": None}, "username"),
        ("revocations", {"username": "alice", "expires_at": 1}, "expires_at"),
        ("revocations", {"token_id": None}, "token_id"),
        ("revocations", {"token_id": "a\u0000"}, "token_id"),
        ("revocations", {"token_id": "x" * 257}, "token_id"),
        ("revocations", {"token_id": "x", "expires_at": 1e12}, "expires_at"),
        ("revocations", {"token_id": "x", "expires_at": "soon"}, "expires_at"),
    ],
)
async def test_bad_bodies(world: Proving, path: str, said: Any, field: str) -> None:
    """A body that breaks a rule is 422 and names the field."""
    found, body = await world.ask(world.hub, "POST", f"/api/v1/{path}", said)
    assert (found, body["field"]) == (422, field), body


async def test_users_mint_nothing(world: Proving) -> None:
    """A user gets a ticket for themselves, as they are, and may make none of the other calls."""
    mine = bearer(token())
    for path in ("tickets/redeem", "watch-tokens", "revocations"):
        assert (await world.ask(mine, "POST", f"/api/v1/{path}", {}))[1]["code"] == "forbidden"
    assert (await world.ask(mine, "GET", "/api/v1/revocations"))[1]["code"] == "forbidden"
    assert (await world.ask(mine, "POST", "/api/v1/tickets", {}))[0] == 201
    found, body = await world.ask(mine, "POST", "/api/v1/tickets", {"username": "bob"})
    assert (found, body["field"]) == (422, "username")


async def test_watch_token(world: Proving) -> None:
    """A watch token is a token of its user, for the runs that it names and as long as it was asked to last."""
    mint = await world.key("mint", users=["alice"])
    body = {"username": "alice", "run_ids": ["a1"], "ttl": 60}
    found, said = await world.ask(mint, "POST", "/api/v1/watch-tokens", body)
    claims = jwt.decode(said["token"], WATCH_KEY, ["HS256"], audience="runfeed", issuer="runfeed:api")

    assert found == 201
    assert said["expires_at"] == claims["exp"] == pytest.approx(time.time() + 60, abs=5)
    assert (claims["sub"], claims["run_ids"], bool(claims["jti"])) == ("alice", ["a1"], True)
    assert (await world.ask(bearer(said["token"]), "GET", "/runs/a1"))[0] == 200
    assert (await world.ask(bearer(said["token"]), "GET", "/runs"))[0] == 403
    forged = jwt.encode(claims, HMAC_KEY, "HS256")
    assert (await world.ask(bearer(forged), "GET", "/runs/a1"))[1]["code"] == "token_invalid"


async def test_grants_end_with_their_key(world: Proving) -> None:
    """What a key gives away does not outlive the key."""
    ends = time.time() + 30
    mint = await world.key("mint", users=["alice"], expires_at=ends)
    _, said = await world.ask(mint, "POST", "/api/v1/watch-tokens", {"username": "alice", "ttl": 86_400})
    _, given = await world.ask(mint, "POST", "/api/v1/tickets", {"username": "alice"})
    _, session = await redeem(world, given["ticket"])

    assert said["expires_at"] == pytest.approx(ends)
    assert session["expires_at"] == pytest.approx(ends)


async def test_answers_are_not_stored(world: Proving) -> None:
    """No cache keeps a ticket or a token."""
    for path, body in (("tickets", {"username": "alice"}), ("watch-tokens", {"username": "alice"})):
        _, headers, _ = await world.raw(world.hub, "POST", f"/api/v1/{path}", body)
        assert headers["Cache-Control"] == "no-store"


async def numbered(world: Proving) -> int:
    """The number of the last revocation."""
    return int(await world.database.fetchval("SELECT coalesce(max(number), 0) FROM revocations"))


async def revoke(world: Proving, **said: Any) -> Any:
    """The answer to a revocation."""
    found, body = await world.ask(world.hub, "POST", "/api/v1/revocations", said)
    assert found == 201, body
    return body


async def code(world: Proving, headers: Headers) -> str:
    """Why a credential is refused; nothing when it is not."""
    return str((await world.ask(headers, "GET", "/runs"))[1].get("code", ""))


async def test_revoked_user(world: Proving) -> None:
    """All tokens that a user was issued until then are refused within two seconds; later ones and others' are not."""
    old, without, other = bearer(token("carol")), bearer(token("carol", iat=None)), bearer(token("bob"))
    assert await code(world, old) == ""
    known = await world.api.metric("orchestrator_revocations_known")
    said = await revoke(world, username="carol")

    async def refused() -> bool:
        return await code(world, old) == "token_revoked"

    await eventually(refused, within=2.0)
    assert said["before"] == pytest.approx(time.time(), abs=5)
    assert await code(world, without) == "token_revoked"
    assert await code(world, other) == ""
    assert await code(world, bearer(token("carol", iat=said["before"] + 0.001))) == ""
    assert await world.api.metric("orchestrator_revocations_known") == known + 1


async def test_revoked_token(world: Proving) -> None:
    """One token is refused by its id, and its user's others are not."""
    one, other = bearer(token(jti="one-1")), bearer(token(jti="one-2"))
    last = await numbered(world)
    said = await revoke(world, token_id="one-1", expires_at=time.time() + 60)

    async def refused() -> bool:
        return await code(world, one) == "token_revoked"

    await eventually(refused, within=2.0)
    assert said == {"number": last + 1, "before": None}
    assert await code(world, other) == ""


async def test_list_of_revocations(world: Proving, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hub reads revocations in order, page by page; a user's second one replaces the first under a new number."""
    hub, last = await world.key("hub"), await numbered(world)
    assert (await world.ask(hub, "GET", "/api/v1/revocations"))[1]["next"] == last
    monkeypatch.setattr(grants, "PAGE", 2)

    async def read(after: int) -> tuple[list[Any], int]:
        found, body = await world.ask(hub, "GET", f"/api/v1/revocations?after={last + after}")
        assert found == 200
        assert body["epoch"] == await world.database.fetchval("SELECT epoch()")
        listed = [(each["number"] - last, each.get("username") or each["token_id"]) for each in body["revocations"]]
        return listed, body["next"] - last

    assert await read(0) == ([], 0)
    for said in ({"username": "dan"}, {"token_id": "list-1"}, {"username": "eve"}, {"username": "dan"}):
        await revoke(world, **said)
    assert await read(0) == ([(2, "list-1"), (3, "eve")], 3)
    assert await read(3) == ([(4, "dan")], 4)
    assert await read(4) == ([], 4)
    assert await read(99) == ([], 99)
    _, body = await world.ask(hub, "GET", f"/api/v1/revocations?after={last}")
    assert {each["number"] - last: each.keys() for each in body["revocations"]} == {
        2: {"number", "token_id"},
        3: {"number", "username", "before"},
    }
    assert (await world.ask(hub, "GET", "/api/v1/revocations?after=x"))[0] == 400


async def test_numbers_are_in_commit_order(world: Proving) -> None:
    """A revocation whose transaction is open holds the next ones back: nobody reads past a number that comes later."""
    last = await numbered(world)
    slow = await asyncpg.connect(world.api.settings.database_url)
    transaction = slow.transaction()
    await transaction.start()
    await slow.execute("SELECT revoke('slow', NULL, NULL)")
    later = asyncio.create_task(revoke(world, username="quick"))
    waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    await eventually(lambda: held(world, waiting))
    assert (await world.ask(world.hub, "GET", f"/api/v1/revocations?after={last}"))[1]["revocations"] == []
    await transaction.commit()
    await slow.close()

    assert (await later)["number"] == last + 2


async def held(world: Proving, query: str) -> bool:
    """Whether somebody waits."""
    return bool(await world.database.fetchval(query))


async def test_revoking_at_once(world: Proving) -> None:
    """Many revocations at the same moment, some of the same user, get a number each and leave a row a user."""
    last = await numbered(world)
    found = await asyncio.gather(*(revoke(world, username=f"u{number % 3}") for number in range(30)))
    rows = await world.database.fetch("SELECT number FROM revocations WHERE number > $1 ORDER BY number", last)

    assert sorted(each["number"] - last for each in found) == list(range(1, 31))
    assert len(rows) == 3
    assert rows[-1]["number"] == last + 30


async def test_revoking_in_scope(world: Proving) -> None:
    """A key with a scope revokes its own users, and no token whose user nobody knows."""
    users, runs = await world.key("revoke", users=["fra*"]), await world.key("revoke", runs=["a*"])

    assert (await world.ask(users, "POST", "/api/v1/revocations", {"username": "frank"}))[0] == 201
    for headers, said in (
        (users, {"username": "bob"}),
        (users, {"token_id": "j1"}),
        (runs, {"username": "frank"}),
        (runs, {"token_id": "j1"}),
        (await world.key("mint"), {"username": "frank"}),
    ):
        assert (await world.ask(headers, "POST", "/api/v1/revocations", said))[1]["code"] == "forbidden"


async def test_what_is_over_is_forgotten(world: Proving) -> None:
    """Tickets that nobody used and tokens that have ended leave the database; a user's revocation stays."""
    last = await numbered(world)
    await ticket(world, bearer(token()))
    await world.database.execute("UPDATE tickets SET good_until = 0")
    kept = await ticket(world, bearer(token()))
    await revoke(world, token_id="over", expires_at=1)
    await revoke(world, username="grace")
    await world.database.execute(QUERIES["forget_grants"])
    rows = await world.database.fetch("SELECT username FROM revocations WHERE number > $1", last)

    assert await world.database.fetchval("SELECT count(*) FROM tickets") == 1
    assert (await redeem(world, kept))[0] == 200
    assert [row["username"] for row in rows] == ["grace"]


async def test_revoked_twice(world: Proving) -> None:
    """A second revocation of a token does not end the first one sooner."""
    later = time.time() + 1000
    for until in (1, later, 2):
        await revoke(world, token_id="twice", expires_at=until)
    await world.database.execute(QUERIES["forget_grants"])

    assert await world.database.fetchval("SELECT expires_at FROM revocations WHERE token_id = 'twice'") == later


async def test_new_epoch(world: Proving, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a database was set back, revocations are read from the beginning, and what was known is still refused."""
    monkeypatch.setattr(revoked, "READ_S", 0.05)
    shown = {name: bearer(token(jti=name)) for name in ("before", "after")}
    await revoke(world, token_id="before")

    async def refused(name: str) -> bool:
        return await code(world, shown[name]) == "token_revoked"

    await eventually(lambda: refused("before"))
    await world.database.execute("TRUNCATE revocations; ALTER SEQUENCE revocation_numbers RESTART")
    await world.database.execute(QUERIES["new_epoch"])
    assert (await revoke(world, token_id="after"))["number"] == 1
    await eventually(lambda: refused("after"))
    assert await refused("before")


async def test_raw_bytes(world: Proving) -> None:
    """What is no JSON is 400 in every call that gives or takes back, and says nothing of our inside."""
    shown = f"Authorization: {world.hub['Authorization']}"
    for path in ("tickets", "tickets/redeem", "watch-tokens", "revocations"):
        for body in (b"{", b"\xff", b"[" * 100_000, b'{"ticket":NaN}'):
            assert_refused(await post(world.api, f"/api/v1/{path}", body.decode("latin-1"), shown), 400)
