"""orchestrator_api/migrate.py: which files are applied."""

import pytest

from orchestrator_api import migrate
from orchestrator_api.errors import StartError
from orchestrator_api.migrate import Migration


def migration(version: str, text: str = "SELECT 1") -> Migration:
    return migrate.parse(version, f"{version}_x.sql", f"-- migrate:up\n{text}\n-- migrate:down\n")


def test_parse() -> None:
    """A file's upward part is what stands between its two markers."""
    assert migration("1", "CREATE TABLE t ();").up == "CREATE TABLE t ();"


def test_parse_refuses_a_file_without_markers() -> None:
    """A file without dbmate's markers is refused by name."""
    with pytest.raises(ValueError, match=r"1_x\.sql: needs '-- migrate:up'"):
        migrate.parse("1", "1_x.sql", "SELECT 1")


def test_pending() -> None:
    """What was applied is left out; the rest comes in order."""
    first, second = migration("1"), migration("2")

    assert migrate.pending({"1": first.sha256}, [first, second]) == [second]
    assert migrate.pending({}, [first, second]) == [first, second]


def test_pending_refuses_a_changed_file() -> None:
    """A file that was applied and has changed since is refused by name."""
    with pytest.raises(StartError, match=r"1_x\.sql was applied and has changed"):
        migrate.pending({"1": migration("1").sha256}, [migration("1", "SELECT 2")])


def test_pending_refuses_a_file_that_comes_too_late() -> None:
    """A new file with a number below the last applied one is refused: databases would differ in order."""
    with pytest.raises(StartError, match="older than what was applied last"):
        migrate.pending({"2": migration("2").sha256}, [migration("1"), migration("2")])


def test_load() -> None:
    """This release's files are in order, and each has both its parts."""
    versions = [each.version for each in migrate.load()]

    assert versions == sorted(versions)
    assert len(versions) >= 2
