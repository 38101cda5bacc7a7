"""POST /feeds/events: what a hub asks when many feeds are behind."""

from typing import Any

import pytest

from tests.integration.orchestrator_api.conftest import Api

PATH = "/api/v1/feeds/events"


async def test_many_feeds(api: Api) -> None:
    """Each feed comes with what is after its own id, of one snapshot, and unknown ones are empty."""
    for user, count in (("a", 3), ("b", 2), ("c", 1)):
        await api.create(user, f"r-{user}")
        await api.append(f"r-{user}", *({"type": "x", "n": n} for n in range(count)))
    status, body = await api.post(PATH, {"after": {"a": 1, "b": 2, "c": 0, "nobody": 0}})
    _, single = await api.get("/api/v1/feeds/a/events?after=1")

    assert status == 200
    feeds = body["feeds"]
    assert feeds["a"] == {name: single[name] for name in ("events", "next", "head")}
    assert feeds["b"] == {"events": [], "next": 2, "head": 2}
    assert [event["id"] for event in feeds["c"]["events"]] == [1]
    assert feeds["nobody"] == {"events": [], "next": 0, "head": 0}
    assert body["epoch"] == single["epoch"]


async def test_a_cursor_beyond_the_head(api: Api) -> None:
    """A feed whose cursor is beyond its head says so; the others are served."""
    await api.create("a", "r1", events=[{"type": "x"}])
    await api.create("b", "r2", events=[{"type": "x"}])
    _, body = await api.post(PATH, {"after": {"a": 7, "b": 0}})

    assert body["feeds"]["a"] == {"events": [], "next": 7, "head": 1, "first": 1, "error": "cursor_unknown"}
    assert len(body["feeds"]["b"]["events"]) == 1


async def test_bounded(api: Api) -> None:
    """An answer holds a MiB at most; what did not fit comes without events, and asking again brings it all."""
    for user in ("a", "b", "c"):
        await api.create(user, f"r-{user}")
        for _ in range(10):
            await api.append(f"r-{user}", {"type": "x", "x": "x" * 60_000})
    after = dict.fromkeys("abc", 0)
    seen: dict[str, list[int]] = {"a": [], "b": [], "c": []}
    rounds = 0
    while any(after[user] < 10 for user in after):
        _, body = await api.post(PATH, {"after": after})
        rounds += 1
        for user, page in body["feeds"].items():
            seen[user] += [event["id"] for event in page["events"]]
            after[user] = page["next"]
        assert rounds < 5

    assert rounds == 2
    assert seen == {user: list(range(1, 11)) for user in "abc"}


async def test_a_thousand_feeds(api: Api) -> None:
    """A thousand feeds are served, each with 20 events at least; one more is 413."""
    await api.create("u0", "r0", events=[{"type": "x"}] * 30)
    names = [f"u{n}" for n in range(1001)]
    status, body = await api.post(PATH, {"after": dict.fromkeys(names[:-1], 0)})
    refused, problem = await api.post(PATH, {"after": dict.fromkeys(names, 0)})

    assert (status, len(body["feeds"])) == (200, 1000)
    assert (len(body["feeds"]["u0"]["events"]), body["feeds"]["u0"]["next"]) == (20, 20)
    assert (refused, problem["field"]) == (413, "after")


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ({}, "after"),
        ({"after": {}}, "after"),
        ({"after": []}, "after"),
        ({"after": {"a b": 0}}, "after"),
        ({"after": {"a": "0"}}, "after.a"),
        ({"after": {"a": -1}}, "after.a"),
        ({"after": {"a": True}}, "after.a"),
        ({"after": {"a": 2**53}}, "after.a"),
        ({"after": {"a": 1.5}}, "after.a"),
    ],
)
async def test_refused(api: Api, said: Any, field: str) -> None:
    """What is no mapping of usernames to ids is refused by name."""
    status, problem = await api.post(PATH, said)

    assert (status, problem["field"]) == (422, field)
