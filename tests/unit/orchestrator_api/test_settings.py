"""orchestrator_api/settings.py: what can be set, and what is said of a bad value."""

import socket
import sys

import pytest

from orchestrator_api.errors import StartError
from orchestrator_api.settings import Settings

REQUIRED = {"DATABASE_URL": "postgresql://u:secret@h/d"}


def test_defaults() -> None:
    """Only DATABASE_URL is required; the ports are the contract's."""
    settings = Settings.from_env(REQUIRED)

    assert (settings.bind, settings.port, settings.admin_port) == ("127.0.0.1", 8081, 8082)
    assert settings.allowed_origins is None
    assert settings.reuse_port is False
    assert (settings.hub_url, settings.hub_port, settings.page) == (None, 8085, None)


def test_port_stands_in() -> None:
    """PORT stands in for API_PORT, and only when that is not set."""
    assert Settings.from_env({**REQUIRED, "PORT": "5000"}).port == 5000
    assert Settings.from_env({**REQUIRED, "PORT": "5000", "API_PORT": "6000"}).port == 6000
    assert Settings.from_env({**REQUIRED, "PORT": "5000"}).admin_port == 8082
    assert Settings.from_env({**REQUIRED, "PORT": "5000"}).hub_port == 8085
    assert Settings.from_env({**REQUIRED, "PORT": "5000", "FANOUT_PORT": "6000"}).port == 5000


@pytest.mark.parametrize(
    ("variable", "value", "rule"),
    [
        ("API_PORT", "http", "must be a port"),
        ("API_PORT", "65536", "must be a port"),
        ("API_ADMIN_PORT", "-1", "must be a port"),
        ("API_REUSE_PORT", "yes", "must be 0 or 1"),
        ("DATABASE_URL", "mysql://h", "must be a URL that begins with postgresql://"),
        ("REDIS_URL", "http://h", "must be a URL that begins with redis://"),
        ("ALLOWED_ORIGINS", "app.example.com", "must be origins like"),
        ("ALLOWED_ORIGINS", "https://app.example.com/path", "must be origins like"),
        ("PUBLIC_HUB_URL", "http://hub.example.com", "must be a URL like wss://"),
        ("FANOUT_PORT", "ws", "must be a port"),
        ("FANOUT_PORT", "0", "must be a port, 1 to 65535"),
        ("PAGE", "1", "must be on or off"),
        ("LOG_LEVEL", "loud", "must be one of debug"),
        ("LOG_FORMAT", "xml", "must be one of json"),
    ],
)
def test_bad_value(variable: str, value: str, rule: str) -> None:
    """A bad value is refused with its variable, the rule and the value."""
    with pytest.raises(StartError) as caught:
        Settings.from_env({**REQUIRED, variable: value})

    assert str(caught.value).startswith(f"{variable} {rule}")
    assert str(caught.value).endswith(f"not {value!r}")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux shares a port's connections out")
def test_shared_port() -> None:
    """API_REUSE_PORT is 1 or 0."""
    assert Settings.from_env({**REQUIRED, "API_REUSE_PORT": "1"}).reuse_port is True
    assert Settings.from_env({**REQUIRED, "API_REUSE_PORT": "0"}).reuse_port is False


@pytest.mark.parametrize("missing", ["the option", "its meaning"])
def test_shared_port_elsewhere(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    """Where no port can be shared, or sharing gives one process all, API_REUSE_PORT=1 is refused by its name."""
    if missing == "the option":
        monkeypatch.delattr(socket, "SO_REUSEPORT")
    else:
        monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(StartError, match=r"^API_REUSE_PORT must be 0 here: only Linux .*, not '1'$"):
        Settings.from_env({**REQUIRED, "API_REUSE_PORT": "1"})


def test_missing() -> None:
    """A required variable that is missing is named."""
    with pytest.raises(StartError, match="DATABASE_URL is not set"):
        Settings.from_env({})


def test_no_password_in_the_refusal() -> None:
    """The line about a bad URL does not hold its password."""
    with pytest.raises(StartError) as caught:
        Settings.from_env({"DATABASE_URL": "mysql://user:secret@host/d"})

    assert "secret" not in str(caught.value)


def test_page() -> None:
    """PAGE is on or off; unset, the page is there where no token is needed."""
    proven = {**REQUIRED, "AUTH_HMAC_KEY": "x" * 32}

    assert Settings.from_env(REQUIRED).shows_page is True
    assert Settings.from_env(proven).shows_page is False
    assert Settings.from_env({**REQUIRED, "PAGE": "off"}).shows_page is False
    assert Settings.from_env({**proven, "PAGE": "on"}).shows_page is True


def test_public_hub_url() -> None:
    """PUBLIC_HUB_URL is taken without its last slash; a password in it is refused and not shown."""
    assert Settings.from_env({**REQUIRED, "PUBLIC_HUB_URL": "wss://h/hub/"}).hub_url == "wss://h/hub"
    with pytest.raises(StartError) as caught:
        Settings.from_env({**REQUIRED, "PUBLIC_HUB_URL": "wss://user:secret@h"})

    assert "secret" not in str(caught.value)


def test_documented() -> None:
    """Every setting has its row: variable, default, meaning."""
    rows = Settings.documented()

    assert [row[0] for row in rows][:2] == ["DATABASE_URL", "REDIS_URL"]
    assert all(all(row) for row in rows)


def test_beyond_loopback() -> None:
    """Where others reach the API it starts with a key, or with the word of the operator that it needs none."""
    with pytest.raises(StartError) as caught:
        Settings.from_env({**REQUIRED, "BIND": "::"})

    assert str(caught.value).startswith("BIND: :: is reachable by others and no key is configured: set AUTH_HMAC_KEY")
    assert Settings.from_env({**REQUIRED, "BIND": "::", "ALLOW_INSECURE_USERNAME": "1"}).auth.insecure
    assert not Settings.from_env({**REQUIRED, "BIND": "::", "AUTH_HMAC_KEY": "k" * 32}).auth.insecure


def test_secrets_are_not_shown() -> None:
    """No secret is in the settings' repr, nor in what is said of one that breaks its rule."""
    shown = repr(Settings.from_env({**REQUIRED, "AUTH_HMAC_KEY": "s3cret" * 6, "REDIS_URL": "redis://:s3cret@h"}))
    with pytest.raises(StartError) as caught:
        Settings.from_env({**REQUIRED, "AUTH_HMAC_KEY": "s3cret"})

    assert "secret@h" not in shown
    assert "s3cret" not in shown
    assert "s3cret" not in str(caught.value)
