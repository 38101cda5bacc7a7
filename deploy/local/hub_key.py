"""The hub's API key where ./dev run makes it itself: good while the stack stands, and in nobody's environment but the
hub's."""

import contextlib
import json
import socket
from collections.abc import Iterator, Mapping

from deploy.local.api import called
from deploy.local.environment import Environment
from deploy.local.errors import LocalError
from deploy.local.supervise import Supervisor

VARIABLE = "FANOUT_HISTORY_KEY"
NAME = "./dev run"  # of the key, for people
MAKE_SECONDS = 60.0  # a command takes 0.5 s
REVOKE_SECONDS = 10.0  # the same, of a database that may be gone by then


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
    for key_id in left_behind(_keys(environ, supervisor, "list", "--all", "--json"), name):
        _keys(environ, supervisor, "revoke", key_id)
    key = _keys(environ, supervisor, "create", "--may", "hub", "--name", name).strip()
    try:
        yield {VARIABLE: key}
    finally:
        supervisor.stop()
        key_id = key.split("_")[1]
        try:
            _keys(environ, None, "revoke", key_id)
        except LocalError as error:
            supervisor.say(f"the hub's key {key_id} is left, until the next ./dev run: {error}")


def name_of(environment: Environment) -> str:
    """The key's name, which no other stack's key has while we hold our data directory or our ports."""
    if environment.database_url is None:
        return NAME
    return f"{NAME} on {socket.gethostname()[:32]}:{environment.ports['API_PORT']}"


def left_behind(listed: str, name: str) -> list[str]:
    """The ids of the hub's keys of this name in what `keys list --json` says: an object a line."""
    rows = [json.loads(line) for line in listed.splitlines()]
    return [row["key_id"] for row in rows if (row["may"], row["name"]) == (["hub"], name)]


def _keys(environ: Mapping[str, str], supervisor: Supervisor | None, *words: str) -> str:
    """What `keys ..` says. supervisor: passes output on meanwhile, and ends us when a signal comes; None: none does.

    Raises LocalError when it fails or takes too long.
    """
    if supervisor is None:
        return called(environ, "keys", *words, seconds=REVOKE_SECONDS)
    return called(environ, "keys", *words, seconds=MAKE_SECONDS, wait=supervisor.pump)  # SIGCHLD wakes it
