"""orchestrator_api/record.py: what a caller whose time is over is told. The rest is tested with a real PostgreSQL."""

import asyncio
import time

from orchestrator_api.events import event
from orchestrator_api.groups import Append, Deadlines
from orchestrator_api.metrics import Metrics
from orchestrator_api.publish import Publisher
from orchestrator_api.record import Recorder
from tests.support.waiting import eventually


async def test_given_up_is_not_stored_later() -> None:
    """An append that was put back behind its caller's time does not wait any more: it was called not stored."""
    metrics = Metrics()
    recorder = Recorder("postgresql://nobody.invalid/x", Publisher("redis://nobody.invalid", metrics), metrics)
    answer = asyncio.get_running_loop().create_future()
    append = Append("r1", "alice", [event({"type": "a"}, "r1", "alice", 1.0)], answer)
    append.expired = True
    recorder._queue.put_back([append], time.monotonic(), slow=False)
    recorder._late = Deadlines(0.0)
    recorder._late.add(append, time.monotonic())
    expiring = asyncio.create_task(recorder._expire())
    await eventually(answer.done)
    expiring.cancel()

    assert answer.result().code == "busy"
    assert recorder.waiting() == (0, 0)
