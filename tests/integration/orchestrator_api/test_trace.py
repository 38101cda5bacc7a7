"""GET /runs/{run_id}/trace: what became of one event."""

from tests.integration.orchestrator_api.conftest import Api, served
from tests.integration.orchestrator_api.test_publish import listening, own  # noqa: F401 - a fixture
from tests.support.servers import OwnRedis
from tests.support.waiting import eventually


async def test_acknowledged(api: Api) -> None:
    """An event that Redis took says when, by which process, and how many subscribers it was passed on to."""
    await api.create("traced", "t1")
    async with listening(api.settings.redis_url):
        await api.append("t1", {"type": "a"})

    async def passage() -> dict[str, object] | None:
        _, body = await api.get("/api/v1/runs/t1/trace?seq=1")
        assert (body["id"], body["username"]) == (1, "traced")
        return body["published"] if body["published"]["state"] == "acknowledged" else None

    published = await eventually(passage)
    assert published["api"] == api.service.publisher.api
    assert isinstance(published["receivers"], int)
    assert published["receivers"] >= 1
    _, history = await api.get("/runs/t1/events")
    _, body = await api.get("/api/v1/runs/t1/trace?seq=1")
    assert body["recorded_at"] == history["events"][0]["recorded_at"] <= published["at"]


async def test_dropped(own: Api, redis_server: OwnRedis) -> None:  # noqa: F811 - the fixture
    """An event that Redis did not take says why."""
    await own.create("traced", "t1")
    redis_server.kill()
    await eventually(lambda: own.service.publisher.error != "")
    await own.append("t1", {"type": "a"})
    _, body = await own.get("/api/v1/runs/t1/trace?seq=1")
    assert body["published"]["state"] == "waiting"

    async def dropped() -> bool:
        _, body = await own.get("/api/v1/runs/t1/trace?seq=1")
        return (body["published"]["state"], body["published"].get("reason")) == ("dropped", "away")

    await eventually(dropped)


async def test_another_process(api: Api) -> None:
    """A process that did not publish an event says so, and still when it was stored."""
    await api.create("traced", "t1")
    await api.append("t1", {"type": "a"})
    async with served(api.settings) as other:
        _, body = await other.get("/api/v1/runs/t1/trace?seq=1")

    assert (body["id"], body["published"]["state"]) == (1, "unknown")


async def test_refusals(api: Api) -> None:
    """An unknown event is 404; a missing or malformed seq is 400."""
    await api.create("traced", "t1")
    for query, status, field in (("seq=1", 404, "seq"), ("", 400, "seq"), ("seq=x", 400, "seq")):
        answer, problem = await api.get(f"/api/v1/runs/t1/trace?{query}")
        assert (answer, problem["field"]) == (status, field)
