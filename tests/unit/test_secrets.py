"""Whoever prints a secret is found out, and nobody else."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import secrets

CHECKOUT = Path(__file__).resolve().parents[2]
# Made of parts, so that this file may be printed.
TOKEN = "ey" + "JhbGciOiJIUzI1NiJ9.ey" + "JzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl"
KEY = "rf" + "k_0123456789abcdef_" + "A" * 43
TICKET = "rf" + "t_" + "b" * 32
CONFTEST = "from tests.support.no_secrets import no_secret_is_shown, pytest_runtest_makereport\n"


@pytest.mark.parametrize(
    ("said", "kinds"),
    [
        (f"GET /ws?token={TOKEN} 400", ["a token"]),
        (f"Authorization: Bearer {KEY}", ["an API key"]),
        (f'{{"ticket":"{TICKET}"}}', ["a ticket"]),
        (f"{TICKET} {KEY}", ["a ticket", "an API key"]),
        ("bearer.eyJhbGciOiJIUzI1NiJ9, the header alone", []),
        ("rfk_<id>_<secret>, rft_..., eyJ", []),
        ("rfk_0123456789abcdef: the id of a key is no secret", []),
    ],
)
def test_forms(said: str, kinds: list[str]) -> None:
    """A token, an API key and a ticket are known by their form; what only begins so is none."""
    assert secrets.kinds_in(said) == kinds


def test_what_processes_are_told_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys and passwords of an environment are secrets from then on; names, paths and numbers in it are not."""
    monkeypatch.setattr(secrets, "_known", {})
    secrets.secrets_of({
        "AUTH_HMAC_KEY": "k" * 40, "DATABASE_URL": "postgresql://u:pass%20word@h/db", "AUTH_PUBLIC_KEY": "p" * 40,
        "API_PORT": "8080", "SOME_KEY": "short", "REDIS_URL": "redis://127.0.0.1:6379/0",
    })  # fmt: skip

    assert secrets.kinds_in(f"x {'k' * 40} y") == ["AUTH_HMAC_KEY"]
    assert secrets.kinds_in("pass%20word") == secrets.kinds_in("'pass word'") == ["DATABASE_URL"]
    assert secrets.kinds_in("postgresql://u:***@h/db 8080 short " + "p" * 40) == []


@pytest.mark.parametrize(
    ("said", "is_inside"),
    [
        ('Traceback (most recent call last):\n  File "serve.py", line 3', True),
        ('{"detail":"relation does not exist: SELECT * FROM runs"}', True),
        ('{"detail":"cannot connect to postgresql://runfeed@db/runfeed"}', True),
        ('{"detail":"<fanout.hub.Hub object at 0x7f>"}', True),
        ('{"detail":"asyncpg: connection reset"}', True),
        ('{"detail":"username must match ^[A-Za-z0-9]","field":"username"}', False),
        ('{"detail":"select a run from the list, and update it"}', False),
    ],
)
def test_our_inside_is_known(monkeypatch: pytest.MonkeyPatch, said: str, is_inside: bool) -> None:
    """A stack, a statement, an object or an address of ours in an answer 4xx or 5xx that a test has read fails it."""
    monkeypatch.setattr(secrets, "_found", [])
    secrets.look_at_refusal(said.encode(), "GET /")

    assert bool(secrets.found()) is is_inside


LEAKS = {
    "printed": f"print({TOKEN!r})",
    "logged": f"import logging; logging.getLogger('x').warning('refused %s', {KEY!r})",
    "remembered": "from tests.support.secrets import secret; print(secret('only tests know this'))",
    "of_an_environment": (
        "import os, subprocess, sys; command = [sys.executable, '-c', 'import os; print(os.environ[\"MY_KEY\"])'];"
        " told = subprocess.run(command, env={**os.environ, 'MY_KEY': 'm' * 32}, stdout=-1, check=True); print(told)"
    ),
    "kept": "from tests.support.secrets import secret; secret('only tests know that'); print('bearer.eyJ')",
    "in_a_log_file": f"(tmp_path / 'hub.log').write_text('a line\\n{TICKET}\\n')",
}


def test_a_session_that_shows_a_secret_fails(tmp_path: Path) -> None:
    """A deliberate leak of each kind fails its test, that in a log file the session, and a kept secret nothing."""
    (tmp_path / "conftest.py").write_text(CONFTEST)
    tests = "".join(f"def test_{name}(tmp_path):\n    {body}\n" for name, body in LEAKS.items())
    (tmp_path / "test_leaks.py").write_text(tests)
    (tmp_path / "none.ini").write_text("[pytest]\n")
    command = [sys.executable, "-m", "pytest", "-q", "-rA", "-p", "no:cacheprovider", "-c", "none.ini"]
    done = subprocess.run(
        [*command, "--rootdir=.", f"--basetemp={tmp_path / 'temporary'}"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(CHECKOUT), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    shutil.rmtree(tmp_path / "temporary")  # or this session would find what was shown there

    lines = re.findall(r"^(\w+) test_leaks.py::test_(\w+)", done.stdout, re.MULTILINE)
    found = {name: outcome for outcome, name in sorted(lines, reverse=True)}
    assert found == {
        "printed": "FAILED", "logged": "FAILED", "remembered": "FAILED", "of_an_environment": "FAILED",
        "kept": "PASSED", "in_a_log_file": "ERROR",
    }, done.stdout  # fmt: skip
    assert done.stdout.count("SECRETS SHOWN") >= 5
