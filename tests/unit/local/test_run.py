"""deploy/local/environment.py: what ./dev run was asked for, and whether it may be."""

from pathlib import Path

import pytest

from deploy.local.environment import Environment
from deploy.local.errors import LocalError
from orchestrator_api.auth_config import AuthConfig, AuthConfigError
from orchestrator_api.settings import Settings
from tests.support.proving import HMAC_KEY

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


@pytest.mark.parametrize(("given", "told"), [({}, "on"), ({"PAGE": " "}, "on"), ({"PAGE": "off"}, "off")])
@pytest.mark.parametrize("key", [{}, {"AUTH_HMAC_KEY": HMAC_KEY}])
def test_page(given: dict[str, str], told: str, key: dict[str, str]) -> None:
    """The services show the page unless it was declined, with a key as well; by themselves they would not."""
    environment = Environment.from_env({**given, **key})
    names = environment.for_services("postgresql://h/d", "redis://h", terminal=False, bin_dir=Path("/"))
    assert names["PAGE"] == told
    assert environment.shows_page is Settings.from_env(names).shows_page is (told == "on")
