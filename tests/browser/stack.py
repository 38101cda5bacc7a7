"""The running services as a worker, a page and an operator see them."""

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from prometheus_client.parser import text_string_to_metric_families

from tests.support.processes import READY_SECONDS, ready
from tests.support.waiting import eventually_sync

EVENTS_ROUTE = "/runs/{run_id}/events"


def call(port: str, method: str, path: str, body: object = None, key: str = "") -> bytes:
    """A request to a port of ours, with an API key if there is one; the answer's body. AssertionError unless 2xx."""
    connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=10)
    try:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        response = connection.getresponse()
        said = response.read()
        assert 200 <= response.status < 300, (method, path, response.status, said)
        return said
    finally:
        connection.close()


@dataclass(frozen=True)
class Stack:
    """Both services, known by the environment that they were started with."""

    environ: Mapping[str, str]
    site: str  # the origin that serves the page, and nothing of ours
    key: str = ""  # a worker's, where the services ask who comes

    def page(self, run_id: str, username: str, *, of: str = "", **names: str) -> str:
        """The URL of the page that watches a run. of: "" for the seed's hook, `client.html` for our own."""
        query = {
            "api": f"http://127.0.0.1:{self.environ['API_PORT']}",
            "ws": f"ws://127.0.0.1:{self.environ['FANOUT_PORT']}",
            "run_id": run_id,
            "username": username,
            **names,
        }
        return f"{self.site}/{of}?{urlencode(query)}"

    def live_page(self, path: str = "") -> str:
        """The URL of the page that the API serves; path: behind the `#`."""
        return f"http://127.0.0.1:{self.environ['API_PORT']}/{path and '#'}{path}"

    def docs(self, call: str = "") -> str:
        """The URL of the page that shows the API's document; call: its tag and name, to have it open."""
        return f"http://127.0.0.1:{self.environ['API_PORT']}/api/v1/docs{call and '#/'}{call}"

    def new_run(self, run_id: str, username: str) -> None:
        """A worker begins a run."""
        self._post("/runs", {"run_id": run_id, "username": username})

    def append(self, run_id: str, *types: str) -> None:
        """A worker reports events, one request each."""
        for kind in types:
            self._post(f"/runs/{run_id}/events", {"type": kind, "node_id": "fetch"})

    def _post(self, path: str, body: object) -> None:
        call(self.environ["API_PORT"], "POST", f"/api/v1{path}", body, self.key)

    def history(self, run_id: str) -> bytes:
        """What a poll answers."""
        return call(self.environ["API_PORT"], "GET", f"/api/v1/runs/{run_id}/events")

    def seqs(self, run_id: str) -> list[int]:
        """The events that a poll answers, by their numbers in the run."""
        return [event["seq"] for event in json.loads(self.history(run_id))["events"]]

    def sockets(self, count: int) -> None:
        """Wait until the hub has so many sockets: what is appended from then on reaches them."""
        port = self.environ["FANOUT_ADMIN_PORT"]

        def connections() -> Any:
            return json.loads(call(port, "GET", "/stats"))["connections"]

        eventually_sync(lambda: connections() == count, within=15)

    def ready(self) -> None:
        """Wait until the API has its database again."""
        eventually_sync(lambda: ready(self.environ["API_ADMIN_PORT"]), within=READY_SECONDS)

    def answered(self, method: str) -> dict[str, int]:
        """How many requests for a run's events the API says it has answered, by status."""
        counts: dict[str, int] = {}
        metrics = call(self.environ["API_ADMIN_PORT"], "GET", "/metrics").decode()
        for family in text_string_to_metric_families(metrics):
            for sample in family.samples:
                labels = sample.labels
                if sample.name != "orchestrator_request_duration_seconds_count" or labels["method"] != method:
                    continue
                if labels["route"].endswith(EVENTS_ROUTE):
                    counts[labels["status"]] = counts.get(labels["status"], 0) + int(sample.value)
        return counts
