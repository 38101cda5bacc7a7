"""What the demo shows where tokens are wanted: an API key for its worker and a watch token for its viewer, both made as
./dev api makes them."""

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from deploy.local.api import called
from deploy.local.ask import NO_ANSWER, ask
from deploy.local.environment import Environment
from deploy.local.errors import LocalError
from deploy.local.keys import lent_key
from deploy.local.psql import database_url
from deploy.local.told import check_terminal

LIFE = ("1d", "86400")  # of the key and of the token: longer than a job, and no key of a killed demo is good for ever


@dataclass(frozen=True)
class Passes:
    """None: nothing is shown, and nobody asks."""

    key: str | None = field(default=None, repr=False)
    get_token: Callable[[], str] | None = field(default=None, repr=False)


@contextlib.contextmanager
def passes(environment: Environment, username: str) -> Iterator[Passes]:
    """What this user needs at the running stack, which takes it; the key is revoked at the end.

    LocalError before anything is made when this terminal cannot make it.
    """
    if not wants_tokens(environment):
        yield Passes()
        return
    if not environment.proven:
        raise LocalError("the running stack wants tokens: use a terminal that has its AUTH_HMAC_KEY")
    if not environment.mints:
        raise LocalError("the demo needs a watch token, and only AUTH_HMAC_KEY or WATCH_TOKEN_KEY make one")
    url = database_url(environment)
    check_terminal(environment, url)
    environ = {**environment.given, "DATABASE_URL": url}
    whose = ("--user", username)
    made = ("--may", "write", *whose, "--name", "./dev demo", "--expires-in", LIFE[0])
    with lent_key(environ, *made, left="the demo's key {} is left, until it ends in a day", say=_warn) as key:
        token = called(environ, "watch-token", *whose, "--ttl", LIFE[1]).strip()
        check_taken(environment, key, token)
        yield Passes(key, lambda: token)


def wants_tokens(environment: Environment) -> bool:
    """Whether the running API asks who comes. LocalError when it does not say."""
    url = environment.url("API_PORT", "/healthz")
    try:
        mode = json.loads(ask(environment, "API_PORT", "/healthz")[1])["auth"]
    except NO_ANSWER as error:
        raise LocalError(f"{url} does not answer: {error!r}") from error
    except (ValueError, LookupError, TypeError):
        raise LocalError(f"what answers on {url} is no API of ours") from None
    return bool(mode != "insecure-username")


def check_taken(environment: Environment, *credentials: str) -> None:
    """LocalError when the running API takes one of them for a stranger's: its database or its key is another."""
    for credential in credentials:
        headers = {"Authorization": f"Bearer {credential}"}
        try:
            status, _ = ask(environment, "API_PORT", "/runs/none", headers=headers)
        except NO_ANSWER as error:
            raise LocalError(f"{environment.url('API_PORT')} does not answer: {error!r}") from error
        if status == 401:
            raise LocalError(
                f"the stack on {environment.url('API_PORT')} does not take what is made here: use a terminal that has"
                " its AUTH_HMAC_KEY, and its RUNFEED_DATA or DATABASE_URL"
            )


def _warn(text: str) -> None:
    print(f"dev: {text}", file=sys.stderr)
