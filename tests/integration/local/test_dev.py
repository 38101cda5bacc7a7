"""`./dev` itself: which Python it takes, what it says when there is none, and its commands."""

import subprocess
import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from typing import Any

import pytest

from deploy.local.place import CHECKOUT

pytestmark = pytest.mark.any_server


@pytest.fixture
def dev(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The script as a module, on a machine that has no Python but those that `python` makes."""
    loader = SourceFileLoader("dev", str(CHECKOUT / "dev"))
    spec = spec_from_loader("dev", loader)
    assert spec is not None
    module = module_from_spec(spec)
    loader.exec_module(module)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "none"))
    return module


def python(directory: Path, name: str, version: str, code: int = 0) -> Path:
    """A program that answers as a Python of this version does; `code` 1: one without venv, 127: a shim that fails."""
    path = directory / name
    answer = "" if code == 127 else f"echo {version}; "
    path.write_text(f"#!/bin/sh\n{answer}exit {code}\n")
    path.chmod(0o755)
    return path


def test_newest_that_works(dev: Any, tmp_path: Path) -> None:
    """The newest Python with venv is taken; a shim that fails, one without venv and a 3.15 are passed over."""
    python(tmp_path, "python3.15", "3.15.0")
    python(tmp_path, "python3.14", "", 127)
    python(tmp_path, "python3.13", "3.13.1", 1)
    expected = python(tmp_path, "python3.12", "3.12.4")
    python(tmp_path, "python3.11", "3.11.2")
    python(tmp_path, "python3", "3.11.2")

    assert dev.find_python() == (str(expected), (3, 12, 4))


@pytest.mark.parametrize(
    ("name", "version", "code", "line"),
    [
        (
            "python3.11",
            "3.11.2",
            1,
            "dev: {path} has no venv; install it (Debian, Ubuntu: apt-get install python3.11-venv)\n",
        ),
        (
            "python3.15",
            "3.15.0",
            0,
            "dev: needs Python 3.11, 3.12, 3.13 or 3.14 with venv; found 3.15.0 ({path})\n",
        ),
        ("python3", "3.9.2", 0, "dev: needs Python 3.11, 3.12, 3.13 or 3.14 with venv; found 3.9.2 ({path})\n"),
        ("python3", "", 127, "dev: needs Python 3.11, 3.12, 3.13 or 3.14 with venv; found none\n"),
    ],
)
def test_no_python(
    dev: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, version: str, code: int, line: str
) -> None:
    """No venv, only a 3.15, only an old one or none at all is one clear line and exit code 1."""
    path = python(tmp_path, name, version, code)
    with pytest.raises(SystemExit) as ended:
        dev.find_python()

    assert ended.value.code == 1
    assert capsys.readouterr().err == line.format(path=path)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["serve"], "dev: unknown command serve; ./dev help lists them\n"),
    ],
)
def test_commands_that_are_not_there(arguments: list[str], line: str) -> None:
    """A command that is not there yet, or never, is one line and exit code 2."""
    done = subprocess.run([CHECKOUT / "dev", *arguments], capture_output=True, text=True, timeout=20, check=False)

    assert (done.returncode, done.stdout, done.stderr) == (2, "", line)


def test_help() -> None:
    """Without a command it lists all of them."""
    done = subprocess.run([CHECKOUT / "dev"], capture_output=True, text=True, timeout=20, check=True)

    for command in ("setup", "run", "demo", "test", "api", "psql", "fault", "bench"):
        assert f"./dev {command}" in done.stdout
