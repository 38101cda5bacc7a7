"""orchestrator_api/settings.py: what can be set, and what is said of a bad value."""

import pytest

from orchestrator_api.errors import StartError
from orchestrator_api.settings import Settings

REQUIRED = {"DATABASE_URL": "postgresql://u:secret@h/d"}


def test_defaults() -> None:
    """Only DATABASE_URL is required; the ports are the contract's."""
    settings = Settings.from_env(REQUIRED)

    assert (settings.bind, settings.port, settings.admin_port) == ("127.0.0.1", 8081, 8082)
    assert settings.allowed_origins is None


def test_port_stands_in() -> None:
    """PORT stands in for API_PORT, and only when that is not set."""
    assert Settings.from_env({**REQUIRED, "PORT": "5000"}).port == 5000
    assert Settings.from_env({**REQUIRED, "PORT": "5000", "API_PORT": "6000"}).port == 6000
    assert Settings.from_env({**REQUIRED, "PORT": "5000"}).admin_port == 8082


@pytest.mark.parametrize(
    ("variable", "value", "rule"),
    [
        ("API_PORT", "http", "must be a port"),
        ("API_PORT", "65536", "must be a port"),
        ("API_ADMIN_PORT", "-1", "must be a port"),
        ("DATABASE_URL", "mysql://h", "must be a URL that begins with postgresql://"),
        ("REDIS_URL", "http://h", "must be a URL that begins with redis://"),
        ("ALLOWED_ORIGINS", "app.example.com", "must be origins like"),
        ("ALLOWED_ORIGINS", "https://app.example.com/path", "must be origins like"),
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


def test_missing() -> None:
    """A required variable that is missing is named."""
    with pytest.raises(StartError, match="DATABASE_URL is not set"):
        Settings.from_env({})


def test_no_password_in_the_refusal() -> None:
    """The line about a bad URL does not hold its password."""
    with pytest.raises(StartError) as caught:
        Settings.from_env({"DATABASE_URL": "mysql://user:secret@host/d"})

    assert "secret" not in str(caught.value)


def test_documented() -> None:
    """Every setting has its row: variable, default, meaning."""
    rows = Settings.documented()

    assert [row[0] for row in rows][:2] == ["DATABASE_URL", "REDIS_URL"]
    assert all(all(row) for row in rows)
