"""deploy/local/run.py: what ./dev run says when it is ready."""

from pathlib import Path

import pytest

from deploy.local.environment import Environment
from deploy.local.errors import LocalError
from deploy.local.run import Stores, banner
from orchestrator_api.auth_config import AuthConfig, AuthConfigError
from tests.support.proving import HMAC_KEY

STORES = Stores(
    "postgresql://runfeed:secret@127.0.0.1:5432/runfeed", "redis://:secret@127.0.0.1:6379/0", "PostgreSQL", "Valkey"
)


@pytest.mark.parametrize(("page", "first"), [("", "page"), ("on", "page"), ("off", "watch")])
def test_the_page_comes_first(page: str, first: str) -> None:
    """The first thing to try is the page, at the API's address; with PAGE=off there is none to be named."""
    shown = banner(Environment.from_env({"API_PORT": "9081", "PAGE": page}), STORES)
    tried = shown.partition("Try it")[2].split("\n\n")[1].splitlines()

    assert tried[0].split()[0] == first
    assert ("  page       http://127.0.0.1:9081/" in tried) is (first == "page")
    assert not any(line.startswith("  page") for line in tried[1:])


def test_tokens() -> None:
    """With a key the page is not there unless it is asked for; without one of ours the token is the issuer's."""
    shown = banner(Environment.from_env({"AUTH_HMAC_KEY": "k"}), STORES)
    assert "watch-token --user alice" in shown
    assert "  page " not in shown
    assert "  page " in banner(Environment.from_env({"AUTH_HMAC_KEY": "k", "PAGE": "on"}), STORES)
    assert "watch-token" not in banner(Environment.from_env({"AUTH_JWKS_URL": "https://id.example/keys"}), STORES)


BINDS = (
    *("127.0.0.1", "127.9.9.9", "::1", "localhost", "LOCALHOST", "::ffff:127.0.0.1", "::1%lo", "[::1]"),
    *("localhost.", "a.localhost", "0.0.0.0", "::", "::ffff:192.0.2.1", "fe80::1%lo", "192.0.2.1", "host.example"),
)
GIVEN: tuple[dict[str, str], ...] = (
    {},
    {"AUTH_HMAC_KEY": HMAC_KEY},
    {"AUTH_HMAC_KEY": " "},
    {"WATCH_TOKEN_KEY": HMAC_KEY},
    {"AUTH_JWKS_URL": "https://id.example/keys", "AUTH_ISSUER": "https://id.example"},
    {"ALLOW_INSECURE_USERNAME": "1"},
    {"ALLOW_INSECURE_USERNAME": " 1 "},
    {"ALLOW_INSECURE_USERNAME": "0"},
)


@pytest.mark.parametrize("bind", BINDS)
def test_as_the_services_decide(bind: str) -> None:
    """Who is asked for proof, and where nobody starts without a key, is as the services have it; we import neither."""
    for given in GIVEN:
        environment = Environment.from_env({"BIND": bind, **given})
        try:
            config = AuthConfig.from_env(given, bind)
        except AuthConfigError:  # of BIND: nothing else is wrong
            with pytest.raises(LocalError):
                environment.check_bind()
            assert not environment.proven
        else:
            environment.check_bind()
            assert (environment.proven, environment.mints) == (not config.insecure, config.watch_key is not None)


@pytest.mark.parametrize("bind", ["0.0.0.0", "192.0.2.1", "::", "host.example"])
def test_beyond_loopback(bind: str) -> None:
    """Beyond it a key is needed, or a word that says what is left without one."""
    with pytest.raises(
        LocalError, match=f"^BIND={bind} is reachable by others .* set AUTH_HMAC_KEY, or ALLOW_INSECURE"
    ):
        Environment.from_env({"BIND": bind}).check_bind()
    for names in ({"ALLOW_INSECURE_USERNAME": "1"}, {"AUTH_HMAC_KEY": "k"}, {"WATCH_TOKEN_KEY": "k"}):
        Environment.from_env({"BIND": bind, **names}).check_bind()


def test_admin_ports_stay() -> None:
    """The admin ports are on loopback, wherever the public ones are, unless ADMIN_BIND says otherwise."""
    environment = Environment.from_env({"BIND": "192.0.2.1"})
    assert environment.url("API_PORT") == "http://192.0.2.1:8081"
    assert environment.url("API_ADMIN_PORT") == "http://127.0.0.1:8082"
    given = Environment.from_env({"BIND": "::", "ADMIN_BIND": "0.0.0.0"})
    assert given.url("FANOUT_PORT") == "http://[::1]:8085"
    assert given.url("FANOUT_ADMIN_PORT") == "http://127.0.0.1:8086"
    assert given.for_services("d", "r", terminal=False, bin_dir=Path("/"))["ADMIN_BIND"] == "0.0.0.0"


def test_no_password() -> None:
    """No password of a store is shown."""
    assert "secret" not in banner(Environment.from_env({}), STORES)
