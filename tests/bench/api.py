"""The API's cases: appends and polls, beside one transaction a request and beside an HTTP server that does nothing."""

from __future__ import annotations

import http.client
import json
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from deploy.local.binaries import find_postgres
from deploy.local.postgres import Postgres, free_port
from tests.bench import call, machine
from tests.bench.hub import Figures, summed
from tests.bench.servers import Bench, Server, on_cores

CALLERS = 64
FEEDS = 1000  # users, each with one run, of the spread case; runs of the hot user
# A frame of 250 bytes.
EVENT = {"type": "node_completed", "node_id": "fetch_flights", "status": "completed", "pad": "x" * 60}
BATCH, BATCH_CALLERS = 100, 8
POLLED = 30  # events of the run that is polled


@dataclass
class Apis:
    """Ours, the naive one (which answers /empty, too), and their database."""

    ours: Server
    naive: Server
    url: str


@contextmanager
def apis(bench: Bench) -> Iterator[Apis]:
    """Both on the server's core, the one that is not asked being idle; the database on the load's."""
    with ExitStack() as stack:
        with on_cores(machine.LOAD_CORE):
            postgres = stack.enter_context(Postgres(bench.data, find_postgres(os.environ)))
        url = postgres.url()
        port, admin, other = free_port(), free_port(), free_port()
        names = {
            "DATABASE_URL": url, "REDIS_URL": bench.redis, "LOG_LEVEL": "warning", "API_PORT": str(port),
            "API_ADMIN_PORT": str(admin), "PORT": str(other),
        }  # fmt: skip
        module = [sys.executable, "-m", "orchestrator_api"]
        with bench.server("migrate", [*module, "migrate"], 0, names, ends=True):
            pass
        ours = stack.enter_context(bench.server("runfeed-api", module, port, names, admin=admin))
        naive_api = [sys.executable, "-m", "tests.bench.naive_api"]
        naive = stack.enter_context(bench.server("naive-api", naive_api, other, names))
        yield Apis(ours, naive, url)


def make_runs(port: int, runs: list[tuple[str, str]], events: int = 0) -> None:
    """(username, run_id) each."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    for username, run_id in runs:
        body: dict[str, object] = {"username": username, "run_id": run_id}
        if events:
            body["events"] = [EVENT] * events
        connection.request("POST", "/runs", json.dumps(body))
        with connection.getresponse() as answer:
            answer.read()
            if answer.status != 201:
                raise RuntimeError(f"POST /runs: {answer.status}")
    connection.close()


def asked(bench: Bench, server: Server, requests: list[str], callers: int, seconds: float, **more: Any) -> Figures:
    """One measurement: answers a second, waiting times, CPU of the server for each."""
    plan = call.Plan(server.port, requests, callers, seconds, **more)
    before = server.cpu()
    with bench.tool("call", json.dumps(asdict(plan))) as caller:
        said = caller.says()
    spent = server.cpu() - before
    return said | {"cpu_us": spent / max(said["answered"], 1) * seconds / (seconds + plan.warm) * 1e6}


def appends(runs: list[str], count: int = 1) -> list[str]:
    """A request for each run."""
    body: object = EVENT if count == 1 else {"events": [EVENT] * count}
    return [call.post(f"/runs/{run}/events", body) for run in runs]


def measure(bench: Bench, rounds: int, seconds: float) -> dict[str, dict[str, Any]]:
    """Every case, in turn: {case: {server: {"median": figures, "rounds": [figures]}}}."""
    with apis(bench) as both:
        spread = [(f"u{n}", f"r{n}") for n in range(FEEDS)]
        hot = [("hot", f"hot{n}") for n in range(FEEDS)]
        make_runs(both.ours.port, [*spread, *hot, ("one", "one"), ("batch", "batch")])
        make_runs(both.naive.port, spread)
        make_runs(both.ours.port, [("polled", "polled")], POLLED)
        tag = etag(both.ours.port, "/runs/polled/events")
        runs = [run for _, run in spread]
        polled = "/runs/polled/events"
        cases: list[tuple[str, str, list[str], int]] = [
            ("empty", "aiohttp", [call.get("/empty")], CALLERS),
            ("one caller", "naive", appends(runs), 1),
            ("one caller", "runfeed", appends(runs), 1),
            ("64 callers", "naive", appends(runs), CALLERS),
            ("64 callers", "runfeed", appends(runs), CALLERS),
            ("one hot run", "runfeed", appends(["one"]), CALLERS),
            ("one hot user", "runfeed", appends([run for _, run in hot]), CALLERS),
            ("batches of 100", "runfeed", appends(runs[:BATCH_CALLERS], BATCH), BATCH_CALLERS),
            ("poll, unchanged", "runfeed", [call.get(polled, f"If-None-Match: {tag}")], CALLERS),
            ("poll, 30 events", "runfeed", [call.get(polled)], CALLERS),
        ]
        found: dict[str, dict[str, list[Figures]]] = {}
        for _ in range(rounds):
            for name, server, requests, callers in cases:
                figures = asked(bench, both.ours if server == "runfeed" else both.naive, requests, callers, seconds)
                found.setdefault(name, {}).setdefault(server, []).append(figures)
        return {name: {server: summed(of) for server, of in servers.items()} for name, servers in found.items()}


def etag(port: int, path: str) -> str:
    """Of a history."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("GET", path)
    with connection.getresponse() as answer:
        answer.read()
        tag = answer.headers["ETag"]
    connection.close()
    return str(tag)
