"""deploy/local/told.py: a terminal that was told otherwise than the running stack is noticed."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local.environment import Environment
from deploy.local.errors import LocalError
from deploy.local.place import DataDirectory
from deploy.local.told import FILE, check_terminal, told

KEY, OTHER = "a secret of thirty-two bytes and more", "another secret of thirty-two bytes, and more"
DATABASE = "postgresql://127.0.0.1:5432/d"


@pytest.fixture
def data(tmp_path: Path) -> Iterator[DataDirectory]:
    """A data directory that a stack has taken."""
    made = DataDirectory(tmp_path)
    made.lock()
    yield made
    made.unlock()


def terminal(data: DataDirectory, **given: str) -> Environment:
    """What a terminal says that works on this data."""
    return Environment.from_env({"RUNFEED_DATA": str(data.path), **given})


ISSUER = {"AUTH_JWKS_URL": "https://id.example/keys", "AUTH_ISSUER": "https://id.example"}


@pytest.mark.parametrize(
    ("there", "here", "says"),
    [
        ({}, {}, None),
        ({"AUTH_HMAC_KEY": KEY}, {"AUTH_HMAC_KEY": KEY}, None),
        ({"AUTH_HMAC_KEY": KEY}, {"AUTH_HMAC_KEY": f" {KEY}"}, None),  # as the services read it
        ({"AUTH_HMAC_KEY": KEY, "AUTH_HMAC_PREVIOUS_KEY": OTHER}, {"AUTH_HMAC_KEY": KEY}, None),
        ({"AUTH_HMAC_KEY": KEY}, {"AUTH_HMAC_KEY": KEY, "AUTH_AUDIENCE": "runfeed", "AUTH_ISSUER": "runfeed"}, None),
        ({"AUTH_HMAC_KEY": "\udcff" * 40}, {"AUTH_HMAC_KEY": "\udcff" * 40}, None),
        (
            {"AUTH_HMAC_KEY": KEY},
            {"AUTH_HMAC_KEY": OTHER},
            "this terminal's AUTH_HMAC_KEY is not the one that ./dev run has",
        ),
        ({"AUTH_HMAC_KEY": KEY}, {}, "this terminal has no AUTH_HMAC_KEY, and ./dev run has one"),
        ({"AUTH_HMAC_KEY": KEY}, {"AUTH_HMAC_KEY": " "}, "this terminal has no AUTH_HMAC_KEY, and ./dev run has one"),
        ({}, {"AUTH_HMAC_KEY": KEY}, "this terminal has AUTH_HMAC_KEY, and ./dev run has none"),
        (
            {"WATCH_TOKEN_KEY": KEY},
            {"WATCH_TOKEN_KEY": OTHER},
            "this terminal's WATCH_TOKEN_KEY is not the one that ./dev run has",
        ),
        (ISSUER, {}, "this terminal has no AUTH_JWKS_URL, and ./dev run has one"),
        (
            {"AUTH_HMAC_KEY": KEY, "AUTH_AUDIENCE": "a"},
            {"AUTH_HMAC_KEY": KEY},
            "this terminal's AUTH_AUDIENCE is not the one that ./dev run has",
        ),
    ],
)
def test_terminals(data: DataDirectory, there: dict[str, str], here: dict[str, str], says: str | None) -> None:
    """Each of the variables that a token depends on is compared as the services read it, and the first is named."""
    with told(terminal(data, **there), data, DATABASE):
        if says is None:
            check_terminal(terminal(data, **here), DATABASE)
            return
        with pytest.raises(LocalError) as error:
            check_terminal(terminal(data, **here), DATABASE)
    assert str(error.value) == says


def test_no_secret_is_kept(data: DataDirectory) -> None:
    """The file is its owner's alone, has no secret, says nothing twice, and goes with the stack."""
    kept = []
    for _ in range(2):
        with told(terminal(data, AUTH_HMAC_KEY=KEY), data, DATABASE):
            assert (data.path / FILE).stat().st_mode & 0o777 == 0o600
            kept.append((data.path / FILE).read_text())
        assert not (data.path / FILE).exists()

    assert not any(KEY in text or DATABASE in text for text in kept)
    first, second = (json.loads(text)["proof"]["AUTH_HMAC_KEY"] for text in kept)
    assert first != second


def test_another_stack(data: DataDirectory) -> None:
    """A database that is not this stack's, a stack that was killed, and a file of nobody's say nothing."""
    here = terminal(data)
    path = data.path / FILE
    with told(terminal(data, AUTH_HMAC_KEY=KEY), data, DATABASE):
        check_terminal(here, DATABASE + "2")
        with pytest.raises(LocalError):
            check_terminal(here, DATABASE)
        path.write_text(json.dumps(json.loads(path.read_text()) | {"pid": 2**22 + 1}))
        check_terminal(here, DATABASE)
        path.write_text("{")
        check_terminal(here, DATABASE)


def test_not_ours(tmp_path: Path) -> None:
    """With both stores given the data's directory is not taken, and may be another stack's: it stays as it is."""
    data = DataDirectory(tmp_path)
    with told(terminal(data, AUTH_HMAC_KEY=KEY), data, DATABASE):
        assert not list(tmp_path.iterdir())
