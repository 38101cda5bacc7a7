"""The Python client at both ends of a stack: what its reporter says, its watcher shows."""

from pathlib import Path

from runfeed import RunReporter
from runfeed.sync import Runfeed
from tests.support.client import unique_username


def report_and_watch(api: str, spill: Path) -> None:
    """A worker reports while a viewer watches: each event comes on a socket before the next is reported. No poll.

    api: the API's URL, which is all that either knows: the API says where the hub is.
    """
    username = unique_username()
    reporter = RunReporter(url=api, username=username, spill=spill)
    seen, ways = [], []
    with Runfeed(username, api) as feed, reporter as run:
        run.started(total_steps=1)
        for event in feed.run(run.run_id):
            seen.append((event["seq"], event["type"]))
            ways.append(feed.transport)  # now: who leaves the loop leaves the socket
            if event["type"] == "workflow_started":
                run.step(1, "only", "completed", duration=0.1)
            elif event["type"] == "step_completed":
                run.completed()
        assert feed.polls == 0

    assert ways[1:] == ["websocket", "websocket"], "the first is read from the history"
    assert seen == [(1, "workflow_started"), (2, "step_completed"), (3, "workflow_completed")]
    assert (reporter.sent, reporter.pending, reporter.dropped) == (3, 0, 0)
