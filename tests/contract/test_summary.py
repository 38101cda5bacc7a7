"""What the API keeps of a run's events is what the contract says: clients reckon the same from the same events."""

import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator_api import events

RUNS: list[dict[str, Any]] = json.loads(Path(__file__).with_name("summary.json").read_text("utf-8"))["runs"]


def spelled(event: dict[str, Any]) -> dict[str, Any]:
    """The event with its `repeat`ed texts written out."""
    rest = {name: value for name, value in event.items() if name != "repeat"}
    return rest | {name: text * count for name, (text, count) in event.get("repeat", {}).items()}


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run["why"])
def test_a_run_is_summed_up_as_the_contract_says(run: dict[str, Any]) -> None:
    """Status, progress and step after a run's events are the contract's."""
    status, progress, step = "queued", None, None
    for given in run["events"]:
        event = events.event(spelled(given), "r1", "u", now=1.0)
        # As the append's SQL does: what an event leaves out stays, and any event begins a run.
        status = event.status or ("running" if status == "queued" else status)
        progress = event.progress if event.progress is not None else progress
        step = event.step or step

    wanted = run["step"] if "step" in run else "".join([run["repeat"][0]] * run["repeat"][1])
    assert (status, progress, step) == (run["status"], run["progress"], wanted)
