"""A server that answers as it is told: what the API never says by itself, and what is no API at all."""

import json
import threading
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Said = tuple[int, dict[str, Any], dict[str, str]]  # status, body, headers


class Answering:
    """Runs on a free port of 127.0.0.1. What `say` gave is said once each, then every event is stored.

    Attributes:
        asked: (method, path, headers, body) of each request, in order.
        url: its base.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, dict[str, str], Any]] = []
        self._said: deque[Said] = deque()
        self._always: Said | None = None
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._answer({})

            def do_POST(self) -> None:
                self._answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

            def _answer(self, body: Any) -> None:
                outer.asked.append((self.command, self.path, dict(self.headers), body))
                status, said, headers = outer.answer(body)
                content = json.dumps(said).encode()
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(content))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: Any) -> None:
                """Says nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> "Answering":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def say(self, status: int, said: dict[str, Any] | None = None, **headers: str) -> None:
        """One answer; an underscore in a header's name is a hyphen."""
        self._said.append((status, said or {}, {name.replace("_", "-"): value for name, value in headers.items()}))

    def always(self, status: int | None) -> None:
        """The answer to everything, when nothing else is to be said; None: everything is stored."""
        self._always = None if status is None else (status, {}, {})

    def answer(self, body: Any) -> Said:
        """What to say to this body."""
        if self._said:
            return self._said.popleft()
        if self._always is not None:
            return self._always
        numbers = [{"id": index, "seq": index} for index, _ in enumerate(body.get("events", []), 1)]
        return 201, {"run_id": "r", "status": "running", "events": numbers}, {}

    def types(self) -> list[list[str]]:
        """The types of the events in each request."""
        return [[event["type"] for event in body["events"]] for _, _, _, body in self.asked if "events" in body]
