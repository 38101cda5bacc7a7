"""The table says what was measured, and what was not."""

from pathlib import Path

import pytest

from tests.fault import report
from tests.fault.checker import FOREIGN, LOST, UNCOMMITTED
from tests.fault.rows import ROWS
from tests.fault.runner import Result


def results() -> list[Result]:
    rows = list(ROWS.values())
    good, bad = Result(rows[0], took=0.25), Result(rows[1], took=99.0, again=98.0)
    good.verdict.events = 4000
    bad.verdict.found(LOST, "alice: 17", 3)
    bad.verdict.found(UNCOMMITTED, "a frame")
    return [good, bad]


def test_complaints() -> None:
    """A failed row says all that was wrong with it, with examples."""
    _, bad = results()
    text = report.shown(bad)

    for piece in ("FAILED", "lost: alice: 17", "seen but never committed: 1", "took 99.0 s", "again alone 98.0"):
        assert piece in text


def test_readme_section(tmp_path: Path) -> None:
    """The README's table is replaced, and rows that are missing are named below it."""
    readme = tmp_path / "README.md"
    readme.write_text(f"above\n{report.BEGIN}old\n{report.END}below\n")
    report.write(results(), "PostgreSQL 0, Valkey 0", ["99"], readme)
    text = readme.read_text()

    assert text.startswith("above\n")
    assert text.endswith("below\n")
    assert "old" not in text
    assert "| 4000 |" in text
    assert "Rows that are missing: 99." in text


def test_foreign_frames_are_counted() -> None:
    """The table says how many frames were looked at, and how many of them were somebody else's."""
    good, bad = results()
    good.verdict.frames = 23_000
    bad.verdict.frames = 70
    bad.verdict.found(FOREIGN, "alic/plain1: a frame of alice's")

    assert "0 of 23000 frames" in report.shown(good)
    assert "1 of 70 frames" in report.shown(bad)
    assert "! foreign: alic/plain1: a frame of alice's" in report.shown(bad)


def test_readme_needs_its_markers(tmp_path: Path) -> None:
    """A README without the markers is not written over."""
    readme = tmp_path / "README.md"
    readme.write_text("nothing")
    with pytest.raises(ValueError, match="the README must have"):
        report.write(results(), "", [], readme)
