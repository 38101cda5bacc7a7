"""Runs and their events, from the POST to the database and back."""

import asyncio
from typing import Any

import pytest

from tests.integration.orchestrator_api.conftest import Api


async def test_numbers(api: Api) -> None:
    """A run's seq and a feed's id read 1..n, in the order sent."""
    await api.create("alice", "r1")
    await api.create("alice", "r2", events=[{"type": "queued"}])

    assert await api.append("r1", {"type": "a"}, {"type": "b"}) == [(2, 1), (3, 2)]
    assert await api.append("r2", {"type": "a"}) == [(4, 2)]
    status, body = await api.get("/runs/r1/events")
    assert status == 200
    assert [event["type"] for event in body["events"]] == ["a", "b"]


async def test_frame(api: Api) -> None:
    """A frame holds its numbers, its run, its owner, its times, and the producer's fields as they came."""
    await api.create("alice", "r1")
    await api.append(
        "r1", {"type": "a", "timestamp": 12.5, "nested": {"id": 1, "list": [None, "\n"]}, "big": 2**64 - 1}
    )
    _, body = await api.get("/api/v1/runs/r1/events")

    event = body["events"][0]
    assert list(event)[:7] == ["id", "seq", "run_id", "username", "type", "timestamp", "recorded_at"]
    assert (event["timestamp"], event["nested"], event["big"]) == (12.5, {"id": 1, "list": [None, "\n"]}, 2**64 - 1)
    assert event["recorded_at"] > 1.7e9


async def test_create_again(api: Api) -> None:
    """The same POST /runs again is 200 and appends nothing; other content for the run is 409 run_exists."""
    said = {"username": "alice", "run_id": "r1", "workflow": "w", "metadata": {"a": [1]}, "events": [{"type": "a"}]}
    first, run = await api.post("/runs", said)
    again, repeated = await api.post("/runs", said)

    assert (first, again) == (201, 200)
    assert repeated == run
    assert (run["status"], run["last_seq"], run["workflow"], run["metadata"]) == ("running", 1, "w", {"a": [1]})
    others: list[dict[str, Any]] = [
        {"workflow": "v"},
        {"username": "bob"},
        {"events": [{"type": "b"}]},
        {"metadata": {}},
    ]
    for other in others:
        status, problem = await api.post("/runs", {**said, **other})
        assert (status, problem["code"]) == (409, "run_exists")


async def test_run_id_is_made(api: Api) -> None:
    """Without a run_id the server makes one from the workflow's name, and a key makes that safe to repeat."""
    said = {"username": "alice", "workflow": "Flight search!"}
    key = {"headers": {"Idempotency-Key": "k"}}
    first, run = await api.post("/runs", said, **key)
    again, repeated = await api.post("/runs", said, **key)
    _, other = await api.post("/runs", said)

    assert (first, again) == (201, 200)
    assert run["run_id"].startswith("Flight-search:")
    assert repeated["run_id"] == run["run_id"] != other["run_id"]
    status, problem = await api.post("/runs", {**said, "workflow": "other"}, **key)
    assert (status, problem["code"]) == (422, "key_reused")


async def test_idempotency_key(api: Api) -> None:
    """A request repeated with its key is 200 with the first numbers and stores nothing; other content is key_reused."""
    await api.create("alice", "r1")
    path, key = "/runs/r1/events", {"headers": {"Idempotency-Key": "k"}}
    batch = {"events": [{"type": "a"}, {"type": "b"}]}
    first, stored = await api.post(path, batch, **key)
    await api.append("r1", {"type": "c"})
    again, repeated = await api.post(path, batch, **key)
    reused, problem = await api.post(path, {"type": "other"}, **key)

    assert (first, again, reused, problem["code"]) == (201, 200, 422, "key_reused")
    assert repeated["events"] == stored["events"] == [{"id": 1, "seq": 1}, {"id": 2, "seq": 2}]
    _, body = await api.get(path)
    assert body["last_seq"] == 3


async def test_keys_belong_to_their_run(api: Api) -> None:
    """The same key and the same event_id in another run are other ones."""
    await api.create("alice", "r1")
    await api.create("alice", "r2")
    for run_id in ("r1", "r2"):
        assert await api.append(run_id, {"type": "a", "event_id": "e"}) != []
        status, _ = await api.post(f"/runs/{run_id}/events", {"type": "b"}, headers={"Idempotency-Key": "k"})
        assert status == 201


async def test_event_ids(api: Api) -> None:
    """Of a batch with some known event_ids the others are stored, and the known ones keep their first numbers."""
    await api.create("alice", "r1")
    first = await api.append("r1", {"type": "a", "event_id": "1"}, {"type": "a", "event_id": "2"})
    await api.append("r1", {"type": "between"})
    mixed = await api.append("r1", {"type": "a", "event_id": "2"}, {"type": "new"}, {"type": "a", "event_id": "3"})

    assert first == [(1, 1), (2, 2)]
    assert mixed == [(2, 2), (4, 4), (5, 5)]
    status, body = await api.post("/runs/r1/events", {"type": "a", "event_id": "3"})
    assert (status, body["events"]) == (200, [{"id": 5, "seq": 5}])
    status, problem = await api.post("/runs/r1/events", {"events": [{"type": "x"}, {"type": "b", "event_id": "3"}]})
    assert (status, problem["code"]) == (422, "key_reused")
    _, body = await api.get("/runs/r1")
    assert body["last_seq"] == 5


@pytest.mark.parametrize(
    ("kind", "status"),
    [("workflow_completed", "completed"), ("workflow_failed", "failed"), ("workflow_cancelled", "cancelled")],
)
async def test_terminal(api: Api, kind: str, status: str) -> None:
    """A terminal event sets the run's status for ever: later appends are 409, and repeats are still answered."""
    await api.create("alice", "r1")
    end = {"type": kind, "event_id": "end"}
    await api.append("r1", {"type": "a"}, end)

    refused, problem = await api.post("/runs/r1/events", {"type": "late"})
    assert (refused, problem["code"]) == (409, "run_finished")
    again, body = await api.post("/runs/r1/events", end)
    assert (again, body["status"], body["events"]) == (200, status, [{"id": 2, "seq": 2}])
    _, run = await api.get("/runs/r1")
    assert (run["status"], run["last_seq"], run["finished_at"] is not None) == (status, 2, True)


async def test_status_and_progress(api: Api) -> None:
    """A run is queued, running from its first event, rendering after steps_completed; events move its progress."""
    seen: list[tuple[Any, ...]] = []

    async def look() -> None:
        _, run = await api.get("/runs/r1")
        seen.append((run["status"], run["progress"], run["current_step"]))

    await api.create("alice", "r1")
    await look()
    for event in (
        {"type": "workflow_started", "node_id": "first"},
        {"type": "progress", "progress": 40, "step_name": "Encode"},
        {"type": "step", "step_number": 3, "total_steps": 4, "status": "completed"},
        {"type": "steps_completed"},
        {"type": "render_progress", "progress": "not a number"},
        {"type": "workflow_completed"},
    ):
        await api.append("r1", event)
        await look()

    assert seen == [
        ("queued", None, None),
        ("running", None, "first"),
        ("running", 40.0, "Encode"),
        ("running", 75.0, "Encode"),
        ("rendering", 75.0, "Encode"),
        ("rendering", 75.0, "Encode"),
        ("completed", 100.0, "Encode"),
    ]


async def test_unknown_run(api: Api) -> None:
    """Appending to a run that nobody made is 404, also after another of the user's runs was made."""
    await api.create("alice", "r1")
    status, problem = await api.post("/runs/r2/events", {"type": "a"})

    assert (status, problem["code"], problem["field"]) == (404, "run_unknown", "run_id")


async def test_group_commit(api: Api) -> None:
    """Appends that come together are stored by few transactions, each caller with its own numbers."""
    for user in range(8):
        await api.create(f"u{user}", f"r{user}")
    before = await api.metric("orchestrator_group_appends_count")
    answers = await asyncio.gather(*(api.append(f"r{n % 8}", {"type": "a", "n": n}) for n in range(200)))

    transactions = await api.metric("orchestrator_group_appends_count") - before
    assert transactions < 100
    for user in range(8):
        assert sorted(answers[user::8]) == [[(n, n)] for n in range(1, 26)]
    for user in range(8):
        _, body = await api.get(f"/runs/r{user}/events")
        assert [(event["id"], event["seq"]) for event in body["events"]] == [(n, n) for n in range(1, 26)]
        assert {tuple(answer[0]) for answer in answers[user::8]} == {(e["id"], e["seq"]) for e in body["events"]}


async def test_refusal_leaves_the_others(api: Api) -> None:
    """A refused append answers its caller alone: others of its group are stored."""
    await api.create("alice", "open")
    await api.create("alice", "done", events=[{"type": "workflow_completed"}])
    answers = await asyncio.gather(
        *(api.post(f"/runs/{run}/events", {"type": "a"}) for run in ("open", "done", "open", "gone") * 5)
    )

    assert [status for status, _ in answers] == [201, 409, 201, 404] * 5
    _, body = await api.get("/runs/open/events")
    assert [event["seq"] for event in body["events"]] == list(range(1, 11))
