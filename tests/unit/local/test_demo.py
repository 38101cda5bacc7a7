"""The demo's own judgement: what it compares, and that it says so when the two differ."""

import tarfile
from pathlib import Path

import pytest

from deploy.local.demo import Event, conclude, shown
from deploy.local.job import STEPS, Job, JobError, verify


def events(ids: list[int]) -> list[Event]:
    """Events that differ in their ids."""
    return [{"id": each, "type": "node_completed"} for each in ids]


@pytest.mark.parametrize(
    ("received", "history", "code", "said"),
    [
        ([1, 2], [1, 2], 0, "the same"),
        ([1, 2], [1, 3], 1, "they DIFFER, first in event 2"),
        ([1], [1, 2], 1, "they DIFFER, first in event 2"),
        ([1, 2], [1], 1, "they DIFFER, first in event 2"),
        ([1, 1], [1], 1, "they DIFFER, first in event 2"),
    ],
)
def test_conclude(
    received: list[int], history: list[int], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """An event that differs, is missing or came twice fails the demo, and is named."""
    assert conclude(events(received), events(history)) == code
    assert said in capsys.readouterr().out


def test_shown_fits_the_terminal() -> None:
    """An event is shown in two lines that are no wider than the terminal."""
    event = {"type": "step_completed", "step_name": "scan", "step_number": 1, "total_steps": 2, "details": {"files": 3}}
    lines = shown({**event, "more": "x" * 500}, 60)

    assert lines[0].startswith("[##########..........]  50 %  step_completed scan files=3"[:57])
    assert [len(line) <= 60 for line in lines] == [True, True]


def test_job_does_real_work(tmp_path: Path) -> None:
    """The seven steps read, parse, count, index, pack, unpack and report real files."""
    folder, workspace = tmp_path / "folder", tmp_path / "workspace"
    folder.mkdir()
    workspace.mkdir()
    (folder / "one.py").write_text("class Alpha:\n    def beta(self): ...\n")
    (folder / "two.txt").write_text("alpha gamma gamma\n")
    (folder / "blob").write_bytes(b"\xff\xfe\x00")
    job = Job(folder, workspace)
    for step in STEPS:
        job.figures[step.__name__] = step(job)

    assert job.figures["scan"]["files"] == 3
    assert job.figures["scan"]["text_files"] == 2
    assert job.figures["parse"] == {"modules": 1, "functions": 1, "classes": 1, "not_python": 0}
    assert job.figures["count"]["lines"] == 3
    assert job.figures["index"]["most_widespread"] == "alpha"
    assert job.figures["verify"] == {"files_verified": 3, "algorithm": "sha256"}
    assert (workspace / "report.json").stat().st_size == job.figures["report"]["report_bytes"]


def test_verify_finds_a_changed_file(tmp_path: Path) -> None:
    """A file that changed between reading and packing fails the job by its name."""
    (tmp_path / "one").write_text("before")
    job = Job(tmp_path, tmp_path)
    job.files, job.hashes = [tmp_path / "one"], {"one": "0" * 64}
    with tarfile.open(job.archive, "w:gz") as archive:
        archive.add(tmp_path / "one", "one")

    with pytest.raises(JobError, match="one is not what it was"):
        verify(job)
