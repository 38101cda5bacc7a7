"""./dev test says which tests it did not run, and why."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from deploy.local import check


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The commands that `./dev test` runs, as text; every one of them passes."""
    commands: list[str] = []

    def run(command: list[str | Path], **_: Any) -> "subprocess.CompletedProcess[bytes]":
        commands.append(" ".join(map(str, command)))
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr("deploy.local.check.subprocess.run", run)
    return commands


def installed(client: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Node.js and the client's packages are there."""
    (client / "node_modules" / "vitest").mkdir(parents=True)
    monkeypatch.setattr(check, "CLIENT", client)
    monkeypatch.setattr("deploy.local.check.shutil.which", lambda name: f"/bin/{name}")


def test_the_javascript_tests_are_a_part(
    ran: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where Node.js and its packages are, they are run, but not for someone who asks pytest for something."""
    installed(tmp_path, monkeypatch)

    assert check.main([]) == 0
    assert ran[-1] == f"npm test --silent --prefix {tmp_path}"
    assert check.main(["--full"]) == 0
    assert ran[-1].startswith("npm test")
    assert check.main(["tests/unit"]) == 0
    assert ran[-1].endswith("pytest tests/unit")
    assert "SKIPPED" not in capsys.readouterr().out


def test_missing_packages_are_said_loudly(
    ran: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without the client's packages nothing fails, and the last line says what was not run and how to get it."""
    installed(tmp_path / "elsewhere", monkeypatch)
    monkeypatch.setattr(check, "CLIENT", tmp_path)

    assert check.main([]) == 0
    assert not any(command.startswith("npm") for command in ran)
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.endswith("SKIPPED: no Node test was run; the JavaScript client's need (cd clients/js && npm ci)")


def test_missing_node_is_said_loudly(
    ran: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without Node.js nothing fails, and the last line says so."""
    installed(tmp_path, monkeypatch)
    monkeypatch.setattr("deploy.local.check.shutil.which", lambda name: None)

    assert check.main([]) == 0
    assert not any(command.startswith("npm") for command in ran)
    assert "SKIPPED: no Node test was run" in capsys.readouterr().out.splitlines()[-1]
