"""deploy/local/banner.py: what ./dev run says when it is ready."""

from dataclasses import replace
from pathlib import Path

import pytest

from deploy.local.banner import Stores, banner
from deploy.local.environment import Environment

STORES = Stores(
    "postgresql://runfeed:secret@127.0.0.1:5432/runfeed", "redis://:secret@127.0.0.1:6379/0", "PostgreSQL", "Valkey"
)
KEY = {"AUTH_HMAC_KEY": "k"}
END = "Ctrl-C stops everything."


def shown(**given: str) -> str:
    """What is said in this environment."""
    return banner(Environment.from_env(given), STORES)


def to_try(**given: str) -> dict[str, str]:
    """The commands by the word before them, in their order."""
    lines = shown(**given).partition("Try it")[2].split("\n\n")[1].splitlines()
    return dict(line.split(maxsplit=1) for line in lines)


@pytest.mark.parametrize(("page", "first"), [("", "page"), ("on", "page"), ("off", "watch")])
def test_the_page_comes_first(page: str, first: str) -> None:
    """The first thing to try is the page, at the API's address; with PAGE=off there is none to be named."""
    tried = to_try(API_PORT="9081", PAGE=page)
    assert next(iter(tried)) == first
    assert tried.get("page") == ("http://127.0.0.1:9081/" if first == "page" else None)
    assert ("in a browser" in shown(PAGE=page)) is (first == "page")


def test_tokens() -> None:
    """With a key the token that the page asks for comes first; without a key of ours the token is the issuer's."""
    assert "Try it, in another terminal that has this one's keys:\n" in shown(**KEY)
    tried = to_try(**KEY)
    assert list(tried)[:3] == ["token", "key", "page"]
    assert tried["token"] == 'TOKEN=$(./dev api watch-token --user alice); echo "$TOKEN"'
    assert tried["page"] == "http://127.0.0.1:8081/ (it asks for that token)"
    assert "page" not in to_try(**KEY, PAGE="off")
    assert "watch-token" not in shown(AUTH_JWKS_URL="https://id.example/keys")
    assert "issuer's" in to_try(AUTH_JWKS_URL="https://id.example/keys")["token"]
    assert to_try(WATCH_TOKEN_KEY="k") == tried


def test_a_directory_with_a_space() -> None:
    """A command is one for a shell, whatever the data's directory is called."""
    assert to_try(RUNFEED_DATA="/a b")["psql"] == "RUNFEED_DATA='/a b' ./dev psql"


@pytest.mark.parametrize(
    ("given", "last"),
    [
        ({}, END),
        ({"ALLOW_INSECURE_USERNAME": "1"}, END),
        ({"BIND": "0.0.0.0", **KEY, "ALLOW_INSECURE_USERNAME": "1"}, END),
        (
            {"BIND": "0.0.0.0", "ALLOW_INSECURE_USERNAME": "1"},
            "Anybody who reaches 0.0.0.0:8081 and 0.0.0.0:8085 can read and write as anybody"
            " (ALLOW_INSECURE_USERNAME).",
        ),
        (
            {"BIND": "::", "ALLOW_INSECURE_USERNAME": "1", "API_PORT": "9081"},
            "Anybody who reaches [::]:9081 and [::]:8085 can read and write as anybody (ALLOW_INSECURE_USERNAME).",
        ),
    ],
)
def test_open_to_all(given: dict[str, str], last: str) -> None:
    """Where everybody who reaches us is believed, that is the last line, and nowhere else."""
    assert shown(**given).splitlines()[-1] == last


def test_what_to_delete() -> None:
    """PostgreSQL's directory is named where the data's has it not: others' stand beside it, with names alike."""
    apart = replace(STORES, apart=Path("/somewhere/runfeed-0-1/pg-2"))
    said = banner(Environment.from_env({"RUNFEED_DATA": "/d"}), apart)
    assert f"{END} To begin again, delete /d and /somewhere/runfeed-0-1/pg-2, which has its PostgreSQL.\n" in said


def test_no_password() -> None:
    """No password of a store is shown."""
    assert "secret" not in shown()
