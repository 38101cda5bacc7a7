"""./dev demo [FOLDER]: a real job, reported through the API, watched on a socket, and compared with its history.

The worker's half posts what it did; the viewer's half is a WebSocket that knows nothing of the worker. At the end the
poll endpoint has the last word: both must agree frame by frame, byte for byte.
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
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from deploy.local.environment import Environment
from deploy.local.errors import LocalError
from deploy.local.job import STEPS, Job, JobError
from deploy.local.place import CHECKOUT, DataDirectory, open_log
from deploy.local.process import spawn, stop, tail
from deploy.local.run import READY_SECONDS, RELEASE_SECONDS, readiness

USERNAME = "demo"
FIRST_START_SECONDS = READY_SECONDS + RELEASE_SECONDS  # ./dev run's own bounds, which say more than ours when they fail
LOOK_SECONDS = 0.1  # between two looks at a starting stack
ANSWER_SECONDS = 10.0  # the API answers or refuses within 5 s
SILENCE_SECONDS = 10.0  # a frame takes milliseconds; the last one missing for so long is lost
STOP_LADDER = ((signal.SIGTERM, 40.0), (signal.SIGKILL, 5.0))  # ./dev run stops everything in far less
BAR = 20  # characters of the progress bar
TERMINAL = ("workflow_completed", "workflow_failed")  # the ends that this job knows


def main(arguments: list[str]) -> int:
    """0 when the job was done and the socket and the history agree, else 1."""
    if len(arguments) > 1:
        raise LocalError(f"demo takes one folder, and was given {' '.join(arguments)}")
    folder = Path(arguments[0] if arguments else CHECKOUT).resolve()
    if not folder.is_dir():
        raise LocalError(f"FOLDER: {folder} is not a directory")
    environment = Environment.from_env(os.environ)
    with stack(environment):
        try:
            return asyncio.run(demonstrate(environment, folder))
        except (aiohttp.ClientError, TimeoutError, OSError, WebSocketException) as error:
            raise LocalError(f"the stack does not answer as it should: {error!r}") from error
        except KeyboardInterrupt:
            print("stopped")
            return 130


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
    return readiness(environment, "API_ADMIN_PORT") or readiness(environment, "FANOUT_ADMIN_PORT")


async def demonstrate(environment: Environment, folder: Path) -> int:
    """The whole demo against a stack that is ready; the exit code."""
    async with Api(environment) as api:
        run_id = (
            await api.post("/runs", {"username": USERNAME, "workflow": "demo", "metadata": {"folder": folder.name}})
        )["run_id"]
        address = environment.url("FANOUT_PORT", f"/ws?username={USERNAME}&run_id={run_id}", scheme="ws")
        print(f"run {run_id}, watched on {address}\n", flush=True)
        async with connect(address, proxy=None) as socket:
            async with asyncio.TaskGroup() as tasks:
                viewer = tasks.create_task(watch(socket), name="demo.viewer")
                worker = tasks.create_task(work(api, run_id, folder), name="demo.worker")
        history = await api.history(run_id)
    return max(worker.result(), conclude(viewer.result(), history))


class Api:
    """The three calls of the API that a worker and a poller need; an async context manager."""

    def __init__(self, environment: Environment) -> None:
        self._url = environment.url("API_PORT", "/api/v1")

    async def __aenter__(self) -> "Api":
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ANSWER_SECONDS))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def post(self, path: str, body: object) -> Any:
        """The answer to a POST, parsed; LocalError with the problem when it is refused."""
        async with self._session.post(self._url + path, json=body) as response:
            answer = await response.json(content_type=None)
            if response.status >= 400:
                raise LocalError(f"POST {path} was refused: {answer}")
            return answer

    async def history(self, run_id: str) -> list[bytes]:
        """The run's frames from the poll endpoint, each as the bytes that stand there."""
        async with self._session.get(
            f"{self._url}/runs/{run_id}/events", headers={"Accept": "application/json"}
        ) as response:
            body = await response.read()
            if response.status != 200:
                raise LocalError(f"GET /runs/{run_id}/events was refused: {body.decode(errors='replace')}")
        return frames_of(body.decode())


def frames_of(body: str) -> list[bytes]:
    """The events of a poll's body, cut out and not parsed and written again: that would hide a difference."""
    position = body.index('"events":[') + len('"events":[')
    decoder, frames = json.JSONDecoder(), []
    while body[position] != "]":
        _, end = decoder.raw_decode(body, position)
        frames.append(body[position:end].encode())
        position = end + (body[end] == ",")
    return frames


async def work(api: Api, run_id: str, folder: Path) -> int:
    """The worker: do the steps, report each; 0, or 1 when the job failed (which is reported too)."""
    path = f"/runs/{run_id}/events"
    workspace = Path(tempfile.mkdtemp(prefix="runfeed-demo-"))
    job = Job(folder, workspace)
    await api.post(path, {"type": "workflow_started", "total_steps": len(STEPS), "folder": folder.name})
    try:
        async for event in steps(job):
            await api.post(path, event)
    except (JobError, OSError) as error:
        await api.post(path, {"type": "workflow_failed", "reason": str(error)})
        return 1
    finally:
        shutil.rmtree(workspace)
    await api.post(path, {"type": "workflow_completed", "steps": len(STEPS), "files": len(job.files)})
    return 0


async def steps(job: Job) -> AsyncIterator[dict[str, Any]]:
    """Two events a step: before, and after with its figures. It runs in a thread: the viewer must not wait for it."""
    for number, step in enumerate(STEPS, 1):
        name = step.__name__
        place = {"node_id": name, "step_number": number, "total_steps": len(STEPS)}
        yield {"type": "node_started", **place, "message": (step.__doc__ or name).strip()}
        started = time.perf_counter()
        job.figures[name] = await asyncio.to_thread(step, job)
        took = round((time.perf_counter() - started) * 1000, 1)
        yield {"type": "node_completed", **place, "status": "completed", "took_ms": took, "figures": job.figures[name]}


async def watch(socket: ClientConnection) -> list[bytes]:
    """The viewer: show every frame as it arrives, until the run's last; all of them. LocalError if the last is lost."""
    frames: list[bytes] = []
    delays: list[float] = []
    width = shutil.get_terminal_size((120, 24)).columns
    while True:
        try:
            frame = await asyncio.wait_for(socket.recv(decode=False), SILENCE_SECONDS)
        except TimeoutError:
            raise LocalError(f"no frame for {SILENCE_SECONDS:.0f} s, and the run's last has not come") from None
        frames.append(frame)
        event = json.loads(frame)
        delays.append((time.time() - event["recorded_at"]) * 1000)
        for line in shown(event, frame, width):
            print(line, flush=True)
        if event["type"] in TERMINAL:
            print(f"\nrecorded to received: median {statistics.median(delays):.1f} ms, slowest {max(delays):.1f} ms")
            return frames


def shown(event: dict[str, Any], frame: bytes, width: int) -> list[str]:
    """One frame on a terminal: where the run is, and the frame as it came, cut to the terminal's width."""
    total = event.get("total_steps", 1)
    done = total if event["type"] in TERMINAL else event.get("step_number", 0) - (event["type"] == "node_started")
    done = max(done, 0)
    bar = "#" * (BAR * done // total)
    figures = " ".join(f"{name}={value}" for name, value in event.get("figures", {}).items())
    place = f"[{bar:.<{BAR}}] {100 * done // total:3} %  {event['type']} {event.get('node_id', '')} {figures}".rstrip()
    return [line if len(line) <= width else line[: width - 3] + "..." for line in (place, frame.decode())]


def conclude(received: list[bytes], history: list[bytes]) -> int:
    """Say whether the socket and the history agree; the exit code."""
    print(f"{len(received)} frames came on the socket, {len(history)} are in GET /runs/<id>/events: ", end="")
    if received == history:
        print("the same, frame by frame and byte for byte")
        return 0
    differs = next(
        (number for number, pair in enumerate(zip(received, history, strict=False), 1) if pair[0] != pair[1]),
        min(len(received), len(history)) + 1,
    )
    print(f"they DIFFER, first in frame {differs}")
    return 1
