"""./dev demo [FOLDER]: a real job, reported and watched with the Python client, and compared with its history.

The worker's half is a RunReporter in a thread; the viewer's half knows nothing of it. At the end the poll endpoint has
the last word: both must agree, event by event.
"""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deploy.local.environment import Environment
from deploy.local.errors import LocalError
from deploy.local.job import STEPS, Job, JobError
from deploy.local.passes import Passes, passes
from deploy.local.place import CHECKOUT, DataDirectory, open_log
from deploy.local.process import spawn, stop, tail
from deploy.local.run import READY_SECONDS, RELEASE_SECONDS, SERVICES, readiness
from runfeed import Runfeed, RunfeedError, RunReporter

USERNAME = "demo"
FIRST_START_SECONDS = READY_SECONDS + RELEASE_SECONDS  # ./dev run's own bounds, which say more than ours when they fail
LOOK_SECONDS = 0.1  # between two looks at a starting stack
SILENCE_SECONDS = 10.0  # an event takes milliseconds; one that is missing for so long is lost
STOP_LADDER = ((signal.SIGTERM, 40.0), (signal.SIGKILL, 5.0))  # ./dev run stops everything in far less
BAR = 20  # characters of the progress bar
TERMINAL = ("workflow_completed", "workflow_failed", "workflow_cancelled")
Event = dict[str, Any]


def main(arguments: list[str]) -> int:
    """0 when the job was done and the socket and the history agree, else 1."""
    if len(arguments) > 1:
        raise LocalError(f"demo takes one folder, and was given {' '.join(arguments)}")
    folder = Path(arguments[0] if arguments else CHECKOUT).resolve()
    if not folder.is_dir():
        raise LocalError(f"FOLDER: {folder} is not a directory")
    environment = Environment.from_env(os.environ)
    with stack(environment), passes(environment, USERNAME) as shown, journal(shown) as spill:
        url, about = environment.url("API_PORT"), {"folder": folder.name}
        reporter = RunReporter(
            url=url, username=USERNAME, workflow="demo", metadata=about, api_key=shown.key, spill=spill
        )
        try:
            return asyncio.run(demonstrate(environment, folder, shown, reporter))
        except (RunfeedError, TimeoutError, OSError) as error:
            raise LocalError(f"the stack does not answer as it should: {error!r}") from error
        except KeyboardInterrupt:
            print("stopped")
            return 130
        finally:
            if spill is not None and reporter.pending:
                print(f"dev: {reporter.pending} events are dropped with the demo's journal, as its key ends here")


@contextlib.contextmanager
def journal(shown: Passes) -> Iterator[str | None]:
    """Where the reporter's journal goes; None: where it always does.

    With a key of our own it ends with us, as no other worker has the key to send it.
    """
    if shown.key is None:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="runfeed-demo-spill-") as spill:
        yield spill


@contextlib.contextmanager
def stack(environment: Environment) -> Iterator[None]:
    """The stack that answers on the ports, or ./dev run for the time of the demo."""
    if not_ready(environment) is None:
        print(f"using the stack on {environment.url('API_PORT')}")
        yield
        return
    print("no stack answers on the ports: starting one (./dev run)", flush=True)
    data = DataDirectory(environment.data)
    data.create()
    log = data.path / "demo.log"
    log.unlink(missing_ok=True)
    with open_log(log) as output:
        command = [sys.executable, "-P", "-m", "deploy.local", "run"]
        process = spawn(command, output=output, environ=os.environ, cwd=CHECKOUT)
    try:
        deadline = time.monotonic() + FIRST_START_SECONDS
        while (why := not_ready(environment)) is not None:
            if process.poll() is not None:
                raise LocalError(f"./dev run ended; it said:\n{tail(log)}")
            if time.monotonic() > deadline:
                raise LocalError(f"./dev run is not ready: {why}; see {log}")
            time.sleep(LOOK_SECONDS)
        yield
    finally:
        if process.poll() is None:
            stop(process, STOP_LADDER)


def not_ready(environment: Environment) -> str | None:
    """What is not ready, or None."""
    return next((why for port in SERVICES.values() if (why := readiness(environment, port)) is not None), None)


async def demonstrate(environment: Environment, folder: Path, shown: Passes, reporter: RunReporter) -> int:
    """The whole demo against a stack that is ready; the exit code."""
    api = environment.url("API_PORT")
    hub = environment.url("FANOUT_PORT", scheme="ws")
    print(f"run {reporter.run_id}, watched by {USERNAME} on {hub}")
    asked = "" if shown.key is None else f" (it asks for a token: ./dev api watch-token --user {USERNAME})"
    print(f"on a page: {api}/#/users/{USERNAME}/runs/{reporter.run_id}{asked}\n", flush=True)
    async with Runfeed(USERNAME, api, hub, get_token=shown.get_token) as feed:
        leave = threading.Event()
        try:
            async with asyncio.TaskGroup() as tasks:
                viewer = tasks.create_task(watch(feed, reporter.run_id), name="demo.viewer")
                worker = tasks.create_task(asyncio.to_thread(work, reporter, folder, leave), name="demo.worker")
        except ExceptionGroup as group:
            raise group.exceptions[0] from None  # the first says why; the others come of it
        finally:
            leave.set()
        history = await feed.history(reporter.run_id)
    return max(worker.result(), conclude(viewer.result(), history))


def work(reporter: RunReporter, folder: Path, leave: threading.Event) -> int:
    """The worker: do the steps, report each; 0, or 1 when the job failed or has to `leave` (which is reported too)."""
    workspace = Path(tempfile.mkdtemp(prefix="runfeed-demo-"))
    job = Job(folder, workspace)
    try:
        with reporter as run:
            run.started(total_steps=len(STEPS), folder=folder.name)
            for number, step in enumerate(STEPS, 1):
                if leave.is_set():
                    run.cancelled()
                    return 1
                name = step.__name__
                run.step(number, name, "started", message=(step.__doc__ or name).strip())
                started = time.perf_counter()
                job.figures[name] = step(job)
                took = round(time.perf_counter() - started, 4)
                run.step(number, name, "completed", duration=took, details=job.figures[name])
            run.completed(steps=len(STEPS), files=len(job.files))
    except (JobError, OSError):
        return 1
    finally:
        shutil.rmtree(workspace)
    return 0


async def watch(feed: Runfeed, run_id: str) -> list[Event]:
    """The viewer: show every event as it arrives, until the run's last; all of them. LocalError if one is lost."""
    events: list[Event] = []
    delays: list[float] = []
    width = shutil.get_terminal_size((120, 24)).columns
    stream = aiter(feed.run(run_id))
    while True:
        try:
            event = await asyncio.wait_for(anext(stream), SILENCE_SECONDS)
        except StopAsyncIteration:
            break
        except TimeoutError:
            raise LocalError(f"no event for {SILENCE_SECONDS:.0f} s, and the run's last has not come") from None
        events.append(event)
        delays.append((time.time() - event["recorded_at"]) * 1000)
        for line in shown(event, width):
            print(line, flush=True)
    print(f"\nrecorded to received: median {statistics.median(delays):.1f} ms, slowest {max(delays):.1f} ms")
    return events


def shown(event: Event, width: int) -> list[str]:
    """One event on a terminal: where the run is, and the event, cut to the terminal's width."""
    total = event.get("total_steps", 1)
    done = total if event["type"] in TERMINAL else event.get("step_number", 0) - (event["type"] == "step_started")
    done = max(done, 0)
    bar = "#" * (BAR * done // total)
    figures = " ".join(f"{name}={value}" for name, value in event.get("details", {}).items())
    place = (
        f"[{bar:.<{BAR}}] {100 * done // total:3} %  {event['type']} {event.get('step_name', '')} {figures}".rstrip()
    )
    frame = json.dumps(event, ensure_ascii=False, separators=(",", ":"))
    return [line if len(line) <= width else line[: width - 3] + "..." for line in (place.rstrip(), frame)]


def conclude(received: list[Event], history: list[Event]) -> int:
    """Say whether what was watched and the history agree; the exit code."""
    print(f"{len(received)} events were watched, {len(history)} are in GET /runs/<id>/events: ", end="")
    if received == history:
        print("the same, event by event")
        return 0
    differs = next(
        (number for number, pair in enumerate(zip(received, history, strict=False), 1) if pair[0] != pair[1]),
        min(len(received), len(history)) + 1,
    )
    print(f"they DIFFER, first in event {differs}")
    return 1
