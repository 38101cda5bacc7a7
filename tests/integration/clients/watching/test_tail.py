"""runfeed.tail against the real services."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from runfeed.commands import tail
from tests.integration.clients.watching.serving import END, EVENTS, Serve, Server, history
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


class Asking:
    """Services that ask who comes: `minted` answers POST /watch-tokens, and what carries `token` may read run r1.

    Attributes:
        asked: (path, token) of each request.
    """

    def __init__(self, token: str, *minted: tuple[int, dict[str, Any]]) -> None:
        self._token = token
        self._minted = list(minted)
        self.asked: list[tuple[str, str]] = []

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        """Any request."""
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        self.asked.append((request.path.removeprefix("/api/v1"), token))
        if request.method == "POST":
            assert await request.json() == {"username": "alice"}
            status, said = self._minted.pop(0)
            return web.json_response(said, status=status)
        if request.path == "/api/v1/runs/r1":
            return web.json_response({"run_id": "r1", "username": "alice"})
        if token != self._token:
            return web.json_response({"code": "token_invalid", "detail": "no"}, status=401)
        return history(*EVENTS, END, status="completed")


async def tailed(server: Server, *arguments: str) -> int:
    """What `runfeed tail` comes to there."""
    parser = argparse.ArgumentParser()
    tail.add(parser.add_subparsers())
    said = parser.parse_args(["tail", "r1", *arguments, "--url", server.base, "--hub", server.base])
    return await asyncio.to_thread(tail.main, said)


async def test_minted(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """An API key finds the run's owner and mints a token to watch with; an API that is busy is asked again."""
    monkeypatch.setenv("RUNFEED_API_KEY", "rfk_1_s3cret")
    monkeypatch.setattr("runfeed.core.link.FIRST_WAIT", 20)
    asking = Asking("t1", (503, {"code": "busy"}), (201, {"token": "t1", "expires_at": 1}))

    assert await tailed(await serve(asking)) == 0
    assert asking.asked[:3] == [("/runs/r1", "rfk_1_s3cret"), *[("/watch-tokens", "rfk_1_s3cret")] * 2]
    assert ("/runs/r1/events", "t1") in asking.asked


async def test_token(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """RUNFEED_TOKEN is what is watched with, whether there is a key beside it or not."""
    monkeypatch.setenv("RUNFEED_API_KEY", "rfk_1_s3cret")
    monkeypatch.setenv("RUNFEED_TOKEN", "t1")
    asking = Asking("t1")

    assert await tailed(await serve(asking)) == 0
    assert {token for _, token in asking.asked} == {"t1"}


@pytest.mark.parametrize("answer", [(403, {"code": "not_configured"}), (404, {"code": "not_found"})])
async def test_nobody_asks(serve: Serve, monkeypatch: pytest.MonkeyPatch, answer: tuple[int, dict[str, Any]]) -> None:
    """An API that mints no tokens asks nobody who they are: the key is shown to it as ever."""
    monkeypatch.setenv("RUNFEED_API_KEY", "any")

    assert await tailed(await serve(Asking("any", answer)), "--username", "alice") == 0


async def test_may_not_mint(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """A key that may not mint is said to be one, without it, and the exit code is 2."""
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("RUNFEED_API_KEY", "rfk_1_s3cret")
    refusal = {"code": "forbidden", "detail": "this key may not mint"}
    server = await serve(Asking("t1", *[(403, refusal)] * 9))

    assert await tailed(server, "--username", "alice") == 2
    said = capsys.readouterr().err
    assert said == "runfeed: no token with RUNFEED_API_KEY: 403 forbidden: this key may not mint\n"
    assert "s3cret" not in said + caplog.text


def test_line() -> None:
    """A line holds nothing that a terminal obeys, whatever the producer wrote; a reset is said in words."""
    event = {"run_id": "r\x1b[2J", "type": "a\n", "username": "u", "timestamp": 1e300, "a b": "\x7f", "c": "\x9b"}

    assert tail.line(event) == '- "r\\u001b[2J" "a\\n" "a b"="\\u007f" c="\\u009b"'
    assert tail.line(event).isprintable()
    assert tail.line({"control": True, "type": "reset", "epoch": "E", "head": 0}).startswith("-- the server's")
