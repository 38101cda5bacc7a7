"""runfeed.tail against the real services."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import pytest

from runfeed.commands import tail
from tests.integration.clients.watching.worker import DONE, WITHIN, Worker, lines
from tests.support import eventually

pytestmark = pytest.mark.any_server  # about a client, whatever the stores' versions
CLIENT = Path(__file__).parents[4] / "clients" / "python"
PROGRAM = """
import argparse, sys
from runfeed.commands import tail
parser = argparse.ArgumentParser()
tail.add(parser.add_subparsers())
said = parser.parse_args()
sys.exit(said.call(said))
"""


def where(worker: Worker) -> list[str]:
    """The services, as arguments."""
    return ["--url", worker.places.api, "--hub", worker.places.hub]


def parsed(worker: Worker, *arguments: str) -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser()
    tail.add(parser.add_subparsers())
    return parser.parse_args(["tail", *arguments, *where(worker)])


@pytest.mark.parametrize("end", ["workflow_completed", "workflow_failed", "workflow_cancelled"])
async def test_run(worker: Worker, capsys: pytest.CaptureFixture[str], end: str) -> None:
    """tail RUN finds the owner, prints a line an event, and its exit code says how the run ended."""
    run_id = await worker.run()
    await worker.append(run_id, {"type": "step", "timestamp": 0, "name": "load it", "ok": True, "n": None})
    await worker.append(run_id, {"type": end, "reason": "\\x1b[31mé"})

    assert await asyncio.to_thread(tail.main, parsed(worker, run_id)) == (end != "workflow_completed")
    first, last = capsys.readouterr().out.splitlines()
    assert first.endswith(f'.000 {run_id} step id=1 name="load it" ok=true n=null')
    assert last.endswith(f'{run_id} {end} id=2 reason="\\\\x1b[31mé"')


async def test_json(worker: Worker, capsys: pytest.CaptureFixture[str]) -> None:
    """tail --json prints the frames, those behind --after; of a run that is not there yet with its --username."""
    run_id = f"{worker.username}-later"
    arguments = parsed(worker, run_id, "--username", worker.username, "--after", "1", "--json")
    tailing = asyncio.create_task(asyncio.to_thread(tail.main, arguments))
    await eventually(lambda: watched(worker))
    await worker.run(run_id)
    await worker.append(run_id, {"type": "a"}, {"type": "b", "x": "\u009b1"}, DONE)

    assert await tailing == 0
    out = capsys.readouterr().out
    assert [(frame["id"], frame["type"]) for frame in lines(out)] == [(2, "b"), (3, "workflow_completed")]
    assert "\\u009b1" in out


async def watched(worker: Worker) -> bool:
    """Whether anybody watches."""
    return await worker.sockets() > 0


async def test_unknown_run(worker: Worker, capsys: pytest.CaptureFixture[str]) -> None:
    """tail RUN of a run that nobody knows says so, and exits with 2."""
    assert await asyncio.to_thread(tail.main, parsed(worker, "nobody-has-this")) == 2
    assert capsys.readouterr().err.startswith("runfeed: there is no run nobody-has-this")


async def test_user(worker: Worker) -> None:
    """tail --username prints what happens in all runs until Ctrl-C, then exits with 130."""
    run_id = await worker.run()
    environ = {**os.environ, "PYTHONPATH": str(CLIENT), "PYTHONWARNINGS": "error"}
    command = [sys.executable, "-c", PROGRAM, "tail", "--username", worker.username, "--after", "0", "--json"]
    command += where(worker)
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, env=environ, stdout=pipe, stderr=pipe)
    assert process.stdout is not None
    try:
        await worker.append(run_id, {"type": "a"}, DONE)
        async with asyncio.timeout(WITHIN):
            said = [await process.stdout.readline() for _ in range(2)]
            process.send_signal(signal.SIGINT)
            rest = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()

    assert (process.returncode, rest) == (130, (b"", b""))
    assert [json.loads(line)["id"] for line in said] == [1, 2]


def test_line() -> None:
    """A line holds nothing that a terminal obeys, whatever the producer wrote; a reset is said in words."""
    event = {"run_id": "r\x1b[2J", "type": "a\n", "username": "u", "timestamp": 1e300, "a b": "\x7f", "c": "\x9b"}

    assert tail.line(event) == '- "r\\u001b[2J" "a\\n" "a b"="\\u007f" c="\\u009b"'
    assert tail.line(event).isprintable()
    assert tail.line({"control": True, "type": "reset", "epoch": "E", "head": 0}).startswith("-- the server's")
