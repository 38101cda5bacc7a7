"""The hub's API key where ./dev run makes it itself: good while the stack stands, and in nobody's environment but the
hub's."""

import contextlib
import json
import socket
from collections.abc import Iterator, Mapping

from deploy.local.api import called
from deploy.local.environment import Environment
from deploy.local.keys import lent_key
from deploy.local.supervise import Supervisor

VARIABLE = "FANOUT_HISTORY_KEY"
NAME = "./dev run"  # of the key, for people


@contextlib.contextmanager
def hub_key(environment: Environment, environ: Mapping[str, str], supervisor: Supervisor) -> Iterator[dict[str, str]]:
    """What the hub's environment is to have beside `environ`; nothing where no key is needed, or one is given.

    The key has no end, as nobody knows how long a stack stands. It is revoked when the services have been stopped, and
    that of a stack which was killed before the next one is made.
    """
    if not environment.proven or environ.get(VARIABLE, "").strip():
        yield {}
        return
    name = name_of(environment)
    wait = supervisor.pump  # SIGCHLD wakes it, and a signal ends us
    for key_id in left_behind(called(environ, "keys", "list", "--all", "--json", wait=wait), name):
        called(environ, "keys", "revoke", key_id, wait=wait)
    left = "the hub's key {} is left, until the next ./dev run"
    with lent_key(environ, "--may", "hub", "--name", name, left=left, say=supervisor.say, wait=wait) as key:
        try:
            yield {VARIABLE: key}
        finally:
            supervisor.stop()


def name_of(environment: Environment) -> str:
    """The key's name, which no other stack's key has while we hold our data directory or our ports."""
    if environment.database_url is None:
        return NAME
    return f"{NAME} on {socket.gethostname()[:32]}:{environment.ports['API_PORT']}"


def left_behind(listed: str, name: str) -> list[str]:
    """The ids of the hub's keys of this name in what `keys list --json` says: an object a line."""
    rows = [json.loads(line) for line in listed.splitlines()]
    return [row["key_id"] for row in rows if (row["may"], row["name"]) == (["hub"], name)]
