"""Who may make which call in JWT mode: every row of the protocol's table, from both sides."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from orchestrator_api import keys
from tests.integration.orchestrator_api.who import SHARED, Proving, bearer, proving
from tests.support.proving import token

pytestmark = [pytest.mark.any_server, SHARED]

OPEN = {"/api/v1/config", "/healthz", "/readyz", "/", "/page/{name}"}  # and nothing else
OPEN |= {"/api/v1/openapi.json", "/api/v1/docs", "/api/v1/docs/{name}"}
A, ALICE = "flight:1", "alice"  # a run, and whose it is
FOREIGN = ("flight:11", "flight", "flight:1:x", "Flight:1")  # bob's, named so that a careless comparison would match
MISSING = "nobody:1"
RUN_CALLS = (
    ("GET", "/runs/{}"),
    ("GET", "/api/v1/runs/{}"),
    ("GET", "/runs/{}/events"),
    ("GET", "/api/v1/runs/{}/events"),
    ("GET", "/api/v1/runs/{}/events?after=0&limit=1&cause=ws_never"),
    ("GET", "/api/v1/runs/{}/events?after=999999"),
    ("GET", "/api/v1/runs/{}/events?epoch=other"),
    ("GET", "/api/v1/runs/{}/events?username=bob"),
    ("GET", "/api/v1/runs/{}/trace?seq=1"),
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(modules_database_url: str, redis_url: str) -> AsyncIterator[Proving]:
    """An API in JWT mode with a run of alice's and four of bob's, each with an event."""
    async with proving(modules_database_url, redis_url, PAGE="on") as world:
        for username, run_id in ((ALICE, A), *(("bob", run_id) for run_id in FOREIGN)):
            await world.run(username, run_id, "tick")
        yield world


async def status(world: Proving, headers: dict[str, str], method: str, path: str, body: Any = None) -> tuple[int, str]:
    """The status of an answer, and its code when it is a problem."""
    found, said = await world.ask(headers, method, path, body)
    return found, said.get("code", "") if isinstance(said, dict) else ""


async def test_every_call_wants_proof(world: Proving) -> None:
    """Without a credential every call of the service answers 401, but for those that are open on purpose."""
    answered: set[str] = set()
    for method, template, _, _ in world.api.service.calls:
        path = template.replace("{run_id}", A).replace("{username}", ALICE).replace("{name}", "x.js")
        code, headers, _ = await world.raw({}, method, path)
        if code == 401:
            assert headers["WWW-Authenticate"] == "Bearer", template
        else:
            answered.add(template)

    assert answered <= OPEN
    assert len(world.api.service.calls) > len(OPEN)


async def test_no_key_with_no_right(world: Proving) -> None:
    """A key that may something else is refused by every call that is not open, and so is every right but the call's."""
    rights = {right: await world.key(right) for right in keys.RIGHTS}
    for method, template, rule, _ in world.api.service.calls:
        path = template.replace("{run_id}", A).replace("{username}", ALICE)
        for right, headers in rights.items():
            if not rule.open and right not in rule.keys:
                assert await status(world, headers, method, path) == (403, "forbidden"), (template, right)


async def test_own_runs(world: Proving) -> None:
    """A user reads their own run by every call, and the hub's and a reader's key read it too."""
    reader = await world.key("read", users=[ALICE])
    for headers in (bearer(token()), reader, await world.key("hub")):
        for path in ("/runs/{}", "/runs/{}/events", "/api/v1/runs/{}/trace?seq=1", "/api/v1/runs/{}/events?after=0"):
            assert (await world.ask(headers, "GET", path.format(A)))[0] == 200, path


@pytest.mark.parametrize("how", ["token", "token of a run", "key of a user", "key of runs"])
async def test_foreign_is_missing(world: Proving, how: str) -> None:
    """Another's run is answered by every reading call as one that does not exist: status, headers and bytes."""
    headers = {
        "token": bearer(token()),
        "token of a run": bearer(token(run_ids=[A])),
        "key of a user": await world.key("read", users=[ALICE]),
        "key of runs": await world.key("read", runs=[A]),
    }[how]
    for method, path in RUN_CALLS:
        for accept in ({}, {"If-None-Match": "*", "Accept": "application/json"}):
            missing = await world.raw(headers | accept, method, path.format(MISSING))
            assert missing[0] == 404, path
            for run_id in FOREIGN:
                foreign = await world.raw(headers | accept, method, path.format(run_id.replace(" ", "%20")))
                same = foreign[2].replace(run_id.encode(), MISSING.encode())
                assert (foreign[0], foreign[1], same) == missing, (path, run_id)


async def test_token_of_a_run(world: Proving) -> None:
    """A token that names runs shows those of them that are its user's, and no list."""
    await world.run(ALICE, "other")
    named = bearer(token(run_ids=[A, FOREIGN[0]]))

    assert await status(world, named, "GET", f"/runs/{A}/events") == (200, "")
    assert await status(world, named, "GET", "/runs/other/events") == (404, "run_unknown")
    assert await status(world, named, "GET", f"/runs/{FOREIGN[0]}/events") == (404, "run_unknown")
    assert await status(world, named, "GET", "/runs") == (403, "forbidden")
    assert await status(world, named, "GET", f"/runs?username={ALICE}") == (403, "forbidden")


async def test_list(world: Proving) -> None:
    """A user's list is theirs, named or not; a key reads those of its scope and must name one; a hub reads none."""
    await world.run("lena", "list:1")
    mine, reader = bearer(token("lena")), await world.key("read", users=["len*"])
    for headers, path in ((mine, "/runs"), (mine, "/runs?username=lena"), (reader, "/runs?username=lena")):
        found, body = await world.ask(headers, "GET", path)
        assert (found, [run["run_id"] for run in body["runs"]]) == (200, ["list:1"])
    for headers in (mine, reader):
        assert await status(world, headers, "GET", "/runs?username=bob") == (403, "forbidden")
        assert await status(world, headers, "GET", "/runs?username=Lena") == (403, "forbidden")
    assert await status(world, reader, "GET", "/runs") == (400, "invalid")
    assert await status(world, await world.key("hub"), "GET", "/runs?username=lena") == (403, "forbidden")
    assert await status(world, await world.key("read", runs=["*"]), "GET", "/runs?username=lena") == (403, "forbidden")


async def test_feed(world: Proving) -> None:
    """A feed is its user's, cut to the token's runs; a key reads those of its scope, and the hub all."""

    async def read(headers: dict[str, str], path: str) -> tuple[int, Any]:
        found, body = await world.ask(headers, "GET", f"/api/v1/feeds/{path}")
        return found, [event["run_id"] for event in body["events"]] if found == 200 else body["code"]

    for run_id in ("feed:1", "o"):
        await world.run("fred", run_id, "tick")
    mine, one, users = bearer(token("fred")), bearer(token("fred", run_ids=["feed:1"])), ["fred"]
    assert await read(mine, "fred/events") == (200, ["feed:1", "o"])
    assert await read(mine, f"fred/events?run_id={FOREIGN[0]}&run_id={MISSING}") == (200, [])
    assert await read(one, "fred/events") == (200, ["feed:1"])
    assert await read(one, "fred/events?run_id=feed:1") == (200, ["feed:1"])
    assert await read(one, "fred/events?run_id=o") == (200, [])
    assert await read(one, "fred/events?run_id=o&run_id=feed:1") == (200, ["feed:1"])
    assert await read(await world.key("read", users=users), "fred/events") == (200, ["feed:1", "o"])
    assert await read(await world.key("read", runs=["feed:*"]), "fred/events?run_id=feed:1") == (200, ["feed:1"])
    assert await read(await world.key("read", runs=["feed:*"]), "fred/events") == (403, "forbidden")
    assert await read(await world.key("hub"), "bob/events?limit=1") == (200, [FOREIGN[0]])
    for username in ("bob", "Fred", "fred2", "nobody"):
        for headers in (mine, one, await world.key("read", users=users)):
            assert await read(headers, f"{username}/events?after=99") == (403, "forbidden"), username


async def test_hub_calls(world: Proving) -> None:
    """What hubs ask about everybody is for hubs: a token and the other rights are refused."""
    hub, calls = await world.key("hub"), (("heads", {"usernames": [ALICE]}), ("events", {"after": {ALICE: 0}}))
    for what, body in calls:
        assert await status(world, hub, "POST", f"/api/v1/feeds/{what}", body) == (200, "")
        assert await status(world, bearer(token()), "POST", f"/api/v1/feeds/{what}", body) == (403, "forbidden")
    assert await status(world, hub, "POST", "/runs", {"username": ALICE}) == (403, "forbidden")
    assert await status(world, hub, "POST", f"/runs/{A}/events", {"type": "t"}) == (403, "forbidden")


async def test_making_runs(world: Proving) -> None:
    """A worker makes runs of its users and names only; users make none; a name that is taken says nothing of whose."""
    worker = await world.key("write", users=[ALICE], runs=["flight:*"])

    async def make(said: dict[str, Any], headers: dict[str, str] = worker) -> tuple[int, Any]:
        found, body = await world.ask(headers, "POST", "/api/v1/runs", said)
        return found, body.get("field")

    assert await make({"username": ALICE, "run_id": "flight:new"}) == (201, None)
    assert await make({"username": ALICE, "workflow": "flight"}) == (201, None)
    assert await make({"username": ALICE, "workflow": "train"}) == (403, "run_id")
    assert await make({"username": ALICE, "run_id": "train:1"}) == (403, "run_id")
    assert await make({"username": "alice2", "run_id": "flight:2"}) == (403, "username")
    assert await make({"username": ALICE, "run_id": "flight:2"}, bearer(token())) == (403, None)
    found, body = await world.ask(worker, "POST", "/runs", {"username": ALICE, "run_id": FOREIGN[0]})
    assert (found, body["code"]) == (409, "run_exists")
    assert "bob" not in str(body)


async def test_appends_out_of_scope(world: Proving) -> None:
    """A writer out of scope cannot tell another's run from a missing one, whatever is wrong with the request."""
    await world.run("bob", "ended", "workflow_completed")
    used = {"type": "tick", "event_id": "e"}
    assert (await world.ask(world.hub, "POST", f"/runs/{FOREIGN[0]}/events", used))[0] == 201
    before = (await world.ask(world.hub, "GET", f"/runs/{FOREIGN[0]}/events"))[1]["last_seq"]
    bodies: list[Any] = [
        {"type": "tick"},
        used,
        {"type": "other", "event_id": "e"},
        {"type": "!"},
        {"type": "tick", "username": "bob"},
        {"type": "tick", "username": ALICE},
        {"type": "tick", "run_id": "x"},
        {"events": []},
        {"events": [{"type": "tick"}], "more": 1},
        [],
    ]
    for headers in (await world.key("write", users=[ALICE]), await world.key("write", runs=[A])):
        for body in bodies:
            for more in ({}, {"Idempotency-Key": "k"}):
                missing = await world.raw(headers | more, "POST", f"/runs/{MISSING}/events", body)
                assert missing[0] == 404, body
                for run_id in (FOREIGN[0], "ended"):
                    foreign = await world.raw(headers | more, "POST", f"/runs/{run_id}/events", body)
                    same = foreign[2].replace(run_id.encode(), MISSING.encode())
                    assert (foreign[0], foreign[1], same) == missing, (run_id, body)
        assert await status(world, headers, "POST", f"/runs/{A}/events", {"type": "tick"}) == (201, "")
    assert await status(world, bearer(token()), "POST", f"/runs/{A}/events", {"type": "tick"}) == (403, "forbidden")
    found, history = await world.ask(world.hub, "GET", f"/runs/{FOREIGN[0]}/events")
    assert (found, history["last_seq"]) == (200, before)


async def test_foreign_is_looked_up_as_missing_is(world: Proving) -> None:
    """An append to another's run asks the database, though whose it is is known: else it would be answered sooner."""
    worker = await world.key("write", users=[ALICE])
    assert (await world.ask(world.hub, "POST", f"/runs/{FOREIGN[0]}/events", {"type": "tick"}))[0] == 201
    await world.database.execute("ALTER TABLE runs RENAME TO away")
    try:
        found = [
            await world.ask(worker, "POST", f"/runs/{run_id}/events", {"type": "t"}) for run_id in (MISSING, FOREIGN[0])
        ]
    finally:
        await world.database.execute("ALTER TABLE away RENAME TO runs")

    assert [answer[0] for answer in found] == [500, 500]
