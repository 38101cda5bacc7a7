"""`./dev demo` as a user has it."""

import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.local.place import CHECKOUT, DataDirectory
from tests.support.client import call
from tests.support.processes import clean_environ, free_ports, program, services


def test_demo_starts_a_stack(data_directories: Callable[[str], DataDirectory]) -> None:
    """Without a running stack it starts one for the time, shows a job of seven steps, and leaves nothing behind."""
    data = data_directories("demo")
    data.create()
    environ = clean_environ(**free_ports(), RUNFEED_DATA=str(data.path))
    with program([CHECKOUT / "dev", "demo"], environ, data.path / "out") as running:
        running.says("event by event")
        assert running.process.wait(30) == 0
        running.assert_nothing_left()
    output = running.output()

    assert len(re.findall(r"step_completed \w+ ", output)) == 7
    assert "16 events were watched, 16 are in GET /runs/<id>/events: the same" in output


def test_demo_uses_a_running_stack(migrated_database_url: str, redis_url: str, tmp_path: Path) -> None:
    """With a running stack it uses that one; the run is there to be read afterwards."""
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a.py").write_text("def a(): ...\n")
    with services(migrated_database_url, redis_url, tmp_path) as environ:
        with program([CHECKOUT / "dev", "demo", folder], environ, tmp_path / "out") as running:
            running.says("event by event")
            assert running.process.wait(30) == 0
        run_id = re.findall(r"^run (\S+), watched by", running.output(), re.MULTILINE)[0]
        run = call(environ["API_PORT"], "GET", f"/api/v1/runs/{run_id}").json()

    assert running.output().startswith("using the stack on ")
    assert (run["status"], run["username"], run["last_seq"]) == ("completed", "demo", 16)


@pytest.mark.any_server
def test_failed_job_is_reported(migrated_database_url: str, redis_url: str, tmp_path: Path) -> None:
    """A job that fails is a failed run with its reason, and exit code 1."""
    (tmp_path / "empty").mkdir()
    with services(migrated_database_url, redis_url, tmp_path) as environ:
        with program([CHECKOUT / "dev", "demo", tmp_path / "empty"], environ, tmp_path / "out") as running:
            running.says("event by event")
            assert running.process.wait(30) == 1

    assert "workflow_failed" in running.output()


@pytest.mark.any_server
def test_interrupted_demo(data_directories: Callable[[str], DataDirectory]) -> None:
    """Ctrl-C while its stack runs leaves no process behind."""
    data = data_directories("demo")
    data.create()
    environ = clean_environ(**free_ports(), RUNFEED_DATA=str(data.path))
    with program([CHECKOUT / "dev", "demo"], environ, data.path / "out") as running:
        running.says("step_started scan")
        running.end(signal.SIGINT)
        running.assert_nothing_left()


@pytest.mark.any_server
def test_wrong_folder(tmp_path: Path) -> None:
    """A folder that is none is named in one line, and nothing is started."""
    with program([CHECKOUT / "dev", "demo", tmp_path / "nowhere"], clean_environ(), tmp_path / "out") as running:
        assert running.process.wait(30) == 1

    assert running.output() == f"dev: FOLDER: {tmp_path / 'nowhere'} is not a directory\n"
