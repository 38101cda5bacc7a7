"""fanout.settings: read once, checked at the start."""

import socket
import sys

import pytest

from fanout.errors import SettingsError
from fanout.settings import Settings


def test_defaults() -> None:
    """Without any variable the design's defaults hold."""
    settings = Settings.from_env({})

    assert (settings.bind, settings.port, settings.admin_port) == ("127.0.0.1", 8085, 8086)
    assert settings.redis_url == "redis://127.0.0.1:6379/0"
    assert (settings.history_url, settings.allowed_origins, settings.log_format) == (None, None, None)
    assert (settings.hold, settings.ping_interval, settings.ping_grace, settings.drain) == (0.05, 25, 10, 5)
    assert settings.handshakes_per_s == 200
    assert settings.compression is False
    assert settings.reuse_port is False


def test_values() -> None:
    """Every variable is read, in its unit."""
    settings = Settings.from_env(
        {
            "BIND": "0.0.0.0",
            "ALLOW_INSECURE_USERNAME": "1",
            "FANOUT_PORT": "1",
            "FANOUT_ADMIN_PORT": "2",
            "REDIS_URL": "rediss://u:p@h:6380/1",
            "FANOUT_HISTORY_URL": "http://api:8081/",
            "ALLOWED_ORIGINS": "https://a.example, http://b.example:8080,",
            "FANOUT_COMPRESSION": "1",
            "FANOUT_HOLD_MS": "120",
            "PING_INTERVAL": "30.5",
            "LOG_LEVEL": "WARNING",
            "LOG_FORMAT": "console",
        }
    )

    assert (settings.bind, settings.port, settings.admin_port) == ("0.0.0.0", 1, 2)
    assert settings.redis_url == "rediss://u:p@h:6380/1"
    assert settings.history_url == "http://api:8081"
    assert settings.allowed_origins == ("https://a.example", "http://b.example:8080")
    assert (settings.compression, settings.hold, settings.ping_interval) == (True, 0.12, 30.5)
    assert (settings.log_level, settings.log_format) == ("warning", "console")


def test_empty_is_unset() -> None:
    """An empty variable, as compose files make them, counts as not set."""
    assert Settings.from_env({"REDIS_URL": "", "FANOUT_HISTORY_URL": " ", "PORT": ""}) == Settings()


def test_port_stands_in() -> None:
    """PORT stands in for FANOUT_PORT alone, and only when that is not set."""
    assert (Settings.from_env({"PORT": "5"}).port, Settings.from_env({"PORT": "5"}).admin_port) == (5, 8086)
    assert Settings.from_env({"PORT": "5", "FANOUT_PORT": "6"}).port == 6


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("FANOUT_PORT", "65536"),
        ("FANOUT_PORT", "-1"),
        ("FANOUT_PORT", "\uff18\uff10"),
        ("PORT", "http"),
        ("FANOUT_ADMIN_PORT", "8085"),
        ("BIND", "a b"),
        ("REDIS_URL", "127.0.0.1:6379"),
        ("REDIS_URL", "redis://h:port/0"),
        ("REDIS_URL", "unix://"),
        ("FANOUT_HISTORY_URL", "api:8081"),
        ("FANOUT_HISTORY_URL", "ftp://api"),
        ("FANOUT_COMPRESSION", "yes"),
        ("ALLOWED_ORIGINS", "*"),
        ("ALLOWED_ORIGINS", "https://a.example/"),
        ("ALLOWED_ORIGINS", ","),
        ("FANOUT_REUSE_PORT", "yes"),
        ("FANOUT_REUSE_PORT", "2"),
        ("FANOUT_HOLD_MS", "0.5"),
        ("FANOUT_HOLD_MS", "99999"),
        ("PING_INTERVAL", "nan"),
        ("PING_INTERVAL", "inf"),
        ("PING_INTERVAL", "0"),
        ("PING_GRACE", "26"),
        ("FANOUT_DRAIN", "-1"),
        ("FANOUT_HANDSHAKES_PER_S", "-1"),
        ("FANOUT_HANDSHAKES_PER_S", "1.5"),
        ("FANOUT_SOCKETS_PER_USER", "many"),
        ("FANOUT_SOCKETS_PER_ADDRESS", "-1"),
        ("FANOUT_MESSAGES_PER_MIN", "1e3"),
        ("FANOUT_MAX_SOCKETS", "0"),
        ("FANOUT_AUTH_TIMEOUT", "0"),
        ("FANOUT_AUTH_GRACE", "x"),
        ("LOG_LEVEL", "verbose"),
        ("LOG_FORMAT", "xml"),
    ],
)
def test_bad_value(variable: str, value: str) -> None:
    """A bad value is named with its variable, its rule and itself."""
    with pytest.raises(SettingsError) as bad:
        Settings.from_env({variable: value})

    assert (bad.value.variable, bad.value.value) == (variable, value)
    assert bad.value.rule.startswith("must ")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux shares a port's connections out")
def test_shared_port() -> None:
    """FANOUT_REUSE_PORT is 1 or 0."""
    assert Settings.from_env({"FANOUT_REUSE_PORT": "1"}).reuse_port is True
    assert Settings.from_env({"FANOUT_REUSE_PORT": "0"}).reuse_port is False


@pytest.mark.parametrize("missing", ["the option", "its meaning"])
def test_shared_port_elsewhere(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    """Where no port can be shared, or sharing gives one process all, FANOUT_REUSE_PORT=1 is refused by its name."""
    if missing == "the option":
        monkeypatch.delattr(socket, "SO_REUSEPORT")
    else:
        monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(SettingsError, match=r"^FANOUT_REUSE_PORT: must be 0 here: only Linux .*, not '1'$"):
        Settings.from_env({"FANOUT_REUSE_PORT": "1"})

    assert Settings.from_env({"FANOUT_REUSE_PORT": "0"}).reuse_port is False


def test_bad_url_is_masked() -> None:
    """A bad URL is named without its user and password."""
    with pytest.raises(SettingsError) as bad:
        Settings.from_env({"REDIS_URL": "http://user:pass@word@h/0"})

    assert bad.value.value == "http://***@h/0"


def test_unknown() -> None:
    """Names that begin with FANOUT_ and mean nothing are found; others are none of our business."""
    assert Settings.unknown({"FANOUT_PROT": "1", "FANOUT_PORT": "1", "API_X": "1"}) == ["FANOUT_PROT"]


def test_documented() -> None:
    """Every variable is documented once, with the default that holds without it."""
    rows = Settings.documented()

    assert len({variable for variable, _, _ in rows}) == len(rows) >= 14
    assert Settings.from_env({variable: default for variable, default, _ in rows}) == Settings()
    assert all(meaning and "|" not in meaning for _, _, meaning in rows)


def test_beyond_loopback() -> None:
    """Where others reach the hub it starts with a key, or with the word of the operator that it needs none."""
    with pytest.raises(SettingsError) as bad:
        Settings.from_env({"BIND": "0.0.0.0"})

    assert str(bad.value).startswith("BIND: 0.0.0.0 is reachable by others and no key is configured: set AUTH_HMAC_KEY")
    assert str(bad.value).endswith("or ALLOW_INSECURE_USERNAME=1 to let everybody be whoever they say they are")
    assert Settings.from_env({"BIND": "0.0.0.0", "ALLOW_INSECURE_USERNAME": "1"}).auth.insecure
    assert not Settings.from_env({"BIND": "0.0.0.0", "AUTH_HMAC_KEY": "k" * 32}).auth.insecure


def test_secrets_are_not_shown() -> None:
    """No secret is in the settings' repr, nor in what is said of one that breaks its rule."""
    shown = repr(Settings.from_env({"AUTH_HMAC_KEY": "s3cret" * 6, "REDIS_URL": "redis://:s3cret@h"}))
    with pytest.raises(SettingsError) as bad:
        Settings.from_env({"AUTH_HMAC_KEY": "s3cret"})

    assert "s3cret" not in shown
    assert "s3cret" not in str(bad.value)


def test_history_key() -> None:
    """Where tokens say who asks, the hub shows history a key of its own; a bad one is named and not shown."""
    history = {"FANOUT_HISTORY_URL": "http://api:8081"}
    proven = {"AUTH_HMAC_KEY": "k" * 32}
    assert Settings.from_env(history).history_key is None
    assert Settings.from_env(proven).history_key is None
    settings = Settings.from_env({**history, **proven, "FANOUT_HISTORY_KEY": "rfk_a_secret"})
    assert settings.history_key == "rfk_a_secret"
    assert "rfk_a_secret" not in repr(settings)
    with pytest.raises(SettingsError, match=r"^FANOUT_HISTORY_KEY: must be set .* keys create --may hub"):
        Settings.from_env({**history, **proven})
    with pytest.raises(SettingsError, match=r"^FANOUT_HISTORY_KEY: must be an API key") as bad:
        Settings.from_env({"FANOUT_HISTORY_KEY": "rfk_a secret"})

    assert "secret" not in str(bad.value)


def test_limits() -> None:
    """The limits as they are without a word; 0 is none, but for the process."""
    settings = Settings()
    assert (settings.max_sockets, settings.sockets_per_user, settings.sockets_per_address) == (20_000, 20, 100)
    assert (settings.handshakes_per_s, settings.messages_per_min) == (200, 100)
    assert (settings.auth_timeout, settings.auth_grace) == (5, 25)
    assert Settings.from_env({"FANOUT_SOCKETS_PER_USER": "0"}).sockets_per_user == 0
