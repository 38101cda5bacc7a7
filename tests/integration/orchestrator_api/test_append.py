"""Runs and their events, from the POST to the database and back."""

import asyncio

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
