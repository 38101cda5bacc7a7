"""A page's own backend, as far as it gives the page its tokens."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

from tests.support.proving import token


class Tokens:
    """Runs on a free port of 127.0.0.1 while its `with` lasts.

    Attributes:
        given: every token, in order.
        kept: given to everybody from now on, instead of a new one.
        url: where a page gets one.
    """

    def __init__(self, username: str, seconds: float) -> None:
        self.given: list[str] = []
        self.kept: str | None = None
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.given.append(outer.kept or token(username, seconds))
                self.send_response(200)
                self.send_header("Access-Control-Allow-Origin", "*")
                self.end_headers()
                self.wfile.write(outer.given[-1].encode())

            def log_message(self, format: str, *args: object) -> None:
                """Says nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
