"""Asking the services over HTTP, without a library: their health, and whether they take a credential."""

import http.client
from collections.abc import Mapping

from deploy.local.environment import Environment

ANSWER_SECONDS = 2.0  # an answer that takes longer is none
MOST_BYTES = 1000  # of a body: health says less

# What there is in place of an answer.
NO_ANSWER: tuple[type[Exception], ...] = (OSError, http.client.HTTPException)


def ask(
    environment: Environment, port: str, path: str, process: int = 0, headers: Mapping[str, str] | None = None
) -> tuple[int, str]:
    """Status and body of GET `path` on the port of this name. Raises one of NO_ANSWER."""
    address = environment.host(port), environment.port(port, process)
    connection = http.client.HTTPConnection(*address, timeout=ANSWER_SECONDS)
    try:
        connection.request("GET", path, headers=dict(headers or {}))
        response = connection.getresponse()
        return response.status, response.read(MOST_BYTES).decode(errors="replace").strip()
    finally:
        connection.close()
