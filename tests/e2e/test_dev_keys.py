"""`./dev run` with a key, and what other terminals get from it."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deploy.local.place import CHECKOUT, DataDirectory
from tests.support.client import call
from tests.support.dev import READY, dev, examples, shell
from tests.support.processes import Program, clean_environ, free_ports, program
from tests.support.proving import HMAC_KEY

OTHER_KEY = "another secret of the tests, thirty-two bytes long"


@pytest.fixture(scope="module")
def stack(data_directories: Callable[[str], DataDirectory]) -> Iterator[tuple[Program, dict[str, str]]]:
    """`./dev run` with a key and everything of its own, ready; its environment."""
    data = data_directories("dev-keys")
    data.create()
    environ = clean_environ(**free_ports(), RUNFEED_DATA=str(data.path), AUTH_HMAC_KEY=HMAC_KEY)
    with program([CHECKOUT / "dev", "run"], environ, data.path / "run.log") as running:
        running.says(READY)
        yield running, environ
        said = running.output()
    assert HMAC_KEY not in said
    assert "/api/v1/revocations" not in said, "what the hub asks every second buries what happens"
    assert "history_away" not in said, "the hub came before the API"
    assert "rfk_" not in said


def test_examples_work(stack: tuple[Program, dict[str, str]], tmp_path: Path) -> None:
    """What it shows works as it stands in one terminal, in its order: a token, a worker's key, a page, a stream."""
    running, given = stack
    there = clean_environ(AUTH_HMAC_KEY=HMAC_KEY)
    shown = examples(running.output())
    assert list(shown) == ["token", "key", "page", "watch", "create", "append", "poll", "metrics", "psql"]
    assert shown["page"].split()[0] == f"http://127.0.0.1:{given['API_PORT']}/"
    assert call(given["API_PORT"], "GET", "/").headers["content-type"].startswith("text/html")
    proofs = f"{shown['token']}\n{shown['key']}\n"
    with program(["/bin/sh", "-c", f"{proofs}exec {shown['watch']}"], there, tmp_path / "watch.log") as watching:
        watching.says(": connected")
        said = shell(f"{proofs}{shown['create']}\necho\n{shown['append']}\necho\n{shown['poll']}", there)
        watching.says('"type":"node_completed"')
        (tmp_path / "watch.log").write_text("")  # a token stands in it, as it is to be pasted
    token, created, appended, polled = said.splitlines()
    assert re.fullmatch(r"eyJ[\w-]+\.[\w-]+\.[\w-]+", token)
    assert '"run_id":"hello"' in created
    assert '"events":[{"id":1,"seq":1}]' in appended
    assert '"node_id":"first"' in polled
    assert call(given["API_PORT"], "GET", "/runs/hello").status == 401
    assert "fanout_" in shell(shown["metrics"], there)
    assert shell(f"{shown['psql']} -Atc 'SELECT count(*) FROM runs'", there) == "1\n"


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"AUTH_HMAC_KEY": OTHER_KEY}, "this terminal's AUTH_HMAC_KEY is not the one that ./dev run has"),
        ({}, "this terminal has no AUTH_HMAC_KEY, and ./dev run has one"),
        (
            {"AUTH_HMAC_KEY": HMAC_KEY, "WATCH_TOKEN_KEY": OTHER_KEY},
            "this terminal has WATCH_TOKEN_KEY, and ./dev run has none",
        ),
    ],
)
def test_another_terminal(stack: tuple[Program, dict[str, str]], given: dict[str, str], line: str) -> None:
    """A terminal with another key makes nothing that the hub would refuse: one line says which variable it is."""
    environ = clean_environ(RUNFEED_DATA=stack[1]["RUNFEED_DATA"], **given)

    assert dev(environ, "api", "watch-token", "--user", "alice") == (1, f"dev: {line}\n")


def test_usage(stack: tuple[Program, dict[str, str]]) -> None:
    """Usage lines and advice name what was typed; help is there for any terminal."""
    environ = clean_environ(RUNFEED_DATA=stack[1]["RUNFEED_DATA"])
    status, said = dev(environ, "api", "keys", "--help")
    assert (status, said.startswith("usage: ./dev api keys ")) == (0, True)
    status, said = dev(environ | {"AUTH_HMAC_KEY": HMAC_KEY}, "api", "keys", "revoke", "0" * 16)
    assert (status, "(revoked before, or never made): see `./dev api keys list --all`" in said) == (1, True)


def test_demo(stack: tuple[Program, dict[str, str]], tmp_path: Path) -> None:
    """The demo makes what it needs, shows the same as ever, and takes its key back."""
    (tmp_path / "a.py").write_text("def a(): ...\n")
    status, said = dev({**stack[1], "RUNFEED_SPILL": str(tmp_path / "spill")}, "demo", str(tmp_path))
    assert status == 0, said
    assert "16 events were watched, 16 are in GET /runs/<id>/events: the same" in said
    assert not (tmp_path / "spill").exists()
    status, listed = dev(stack[1], "api", "keys", "list", "--all")
    assert (status, "./dev demo" in listed, "./dev run" in listed) == (0, False, True)


@pytest.mark.parametrize(
    ("key", "line"),
    [
        ("", "the running stack wants tokens: use a terminal that has its AUTH_HMAC_KEY"),
        (OTHER_KEY, "this terminal's AUTH_HMAC_KEY is not the one that ./dev run has"),
    ],
)
def test_demo_from_another_terminal(stack: tuple[Program, dict[str, str]], tmp_path: Path, key: str, line: str) -> None:
    """Without the stack's key the demo is one line, and nothing is left for the next worker to send."""
    environ = {**stack[1], "AUTH_HMAC_KEY": key, "RUNFEED_SPILL": str(tmp_path / "spill")}
    status, said = dev(environ, "demo", str(tmp_path))

    assert (status, said.splitlines()[1:]) == (1, [f"dev: {line}"])
    assert not (tmp_path / "spill").exists()
