"""A worker, a viewer and a poller, as simple as they come: blocking, one request at a time."""

import http.client
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from websockets.sync.client import connect

ANSWER_SECONDS = 10.0  # any of these takes milliseconds


@dataclass(frozen=True)
class Answer:
    """What came back: status, headers by lower-case name, body."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)


def call(port: str | int, method: str, path: str, body: object = None, **headers: str) -> Answer:
    """One HTTP request to a port of 127.0.0.1; `body` is sent as JSON, an underscore in a header's name as a hyphen."""
    connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=ANSWER_SECONDS)
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    if body is not None:
        fields["Content-Type"] = "application/json"
    try:
        connection.request(method, path, None if body is None else json.dumps(body), fields)
        response = connection.getresponse()
        return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())
    finally:
        connection.close()


def new_run(api_port: str | int, username: str) -> str:
    """A new run of this user; its id."""
    answer = call(api_port, "POST", "/api/v1/runs", {"username": username})
    assert answer.status == 201, answer
    run_id: str = answer.json()["run_id"]
    return run_id


def append(api_port: str | int, run_id: str, **event: object) -> None:
    """Append one event; it is stored when this returns."""
    answer = call(api_port, "POST", f"/api/v1/runs/{quote(run_id)}/events", event)
    assert answer.status == 201, answer


def unique_username() -> str:
    """A username that no other test has: they share one Redis."""
    return f"user-{secrets.token_hex(6)}"


def round_trip(api_port: str | int, fanout_port: str | int, events: int = 3) -> None:
    """What a worker reports is on its user's socket as the very bytes that the poll returns, in order."""
    username = unique_username()
    with connect(f"ws://127.0.0.1:{fanout_port}/ws?username={username}", proxy=None) as socket:
        run_id = new_run(api_port, username)
        for number in range(events):
            append(api_port, run_id, type="node_completed", node_id=f"node-{number}", note="é \N{SNOWMAN}")
        frames = [socket.recv(timeout=ANSWER_SECONDS, decode=False) for _ in range(events)]
    polled = call(api_port, "GET", f"/runs/{quote(run_id)}/events")

    assert polled.status == 200
    assert polled.body.endswith(b'"events":[' + b",".join(frames) + b"]}")
    assert [json.loads(frame)["id"] for frame in frames] == list(range(1, events + 1))
