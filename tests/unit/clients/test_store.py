"""Journals and the bounds of what waits, on real files."""

import json
import os
import time
from pathlib import Path

import pytest

from runfeed import journal, store
from runfeed.config import Run
from runfeed.content import line
from runfeed.journal import Batch
from runfeed.store import Store

RUN = Run("http://127.0.0.1:1", "r1", "alice", "w", {"a": "x\n"})
END = line("workflow_completed", {}, "r1", "end", 1.0)


def note(number: int, size: int = 0) -> bytes:
    """A line of at least so many bytes."""
    return line("note", {"number": number, "text": "x" * size}, "r1", f"key-{number}", 1.0)


def drain(kept: Store) -> list[bytes]:
    """Everything that is to be sent, acknowledged batch by batch."""
    lines: list[bytes] = []
    while (batch := kept.read()) is not None:
        lines += batch.lines
        kept.acknowledge(batch)
    return lines


class Lost(list[bytes]):
    """What a store says that it lost."""

    def take(self, line: bytes, why: str) -> None:
        """A line is lost."""
        self.append(line)


def wanted(run: Run, age: float) -> bool:
    """Every journal."""
    return True


def test_a_journal_says_whose_it_is(tmp_path: Path) -> None:
    """A journal holds its run, and after its owner is gone, what was not acknowledged."""
    ours = journal.create(tmp_path, RUN)
    for number in range(3):
        ours.append(note(number))
    batch = ours.read()
    assert batch is not None
    ours.acknowledge(Batch([], batch.end - len(note(2)) - 1))

    assert journal.adopt(ours.path, wanted) is None  # in use
    ours.release()
    found = journal.adopt(ours.path, wanted)
    assert found is not None
    assert found.run == RUN
    left = found.read()
    assert left is not None
    assert left.lines == [note(2)]
    assert oct(ours.path.stat().st_mode & 0o777) == "0o600"
    found.remove()
    assert list(tmp_path.iterdir()) == []


def test_a_journal_that_is_not_wanted_stays_free(tmp_path: Path) -> None:
    """Who does not want a journal is told whose it is and how old, and does not lock it."""
    ours = journal.create(tmp_path, RUN)
    os.utime(ours.path, (0, 0))
    ages: list[float] = []

    def refuse(run: Run, age: float) -> bool:
        assert run == RUN
        ages.append(age)
        return False

    ours.release()
    assert journal.adopt(ours.path, refuse) is None
    assert ages[0] == pytest.approx(time.time(), rel=0.01)
    again = journal.adopt(ours.path, wanted)
    assert again is not None
    again.release()


@pytest.mark.parametrize("head", [b"", b"xx\n", b"-5\n", b"99999999999999999999\n"])
def test_a_spoilt_offset(tmp_path: Path, head: bytes) -> None:
    """An acknowledged offset that cannot be is no offset beyond the file and none before its events."""
    ours = journal.create(tmp_path, RUN)
    ours.append(note(1))
    ours.release()
    text = ours.path.read_bytes()
    ours.path.write_bytes((head or text[:21]) + text[21:])
    found = journal.adopt(ours.path, wanted)

    assert found is not None
    batch = found.read()
    assert (batch is None) == head.startswith(b"9")
    assert batch is None or batch.lines == [note(1)]
    found.release()


def test_batches(tmp_path: Path) -> None:
    """A batch has 1,000 lines or 1 MiB at most, and ends with the run's end."""
    kept = Store(RUN, str(tmp_path), Lost().take)
    said = [*(note(number) for number in range(1500)), *(note(number, 60_000) for number in range(30)), END, note(1)]
    for each in said:
        kept.append(each)
    batches: list[list[bytes]] = []
    while (batch := kept.read()) is not None:
        assert kept.read() == batch  # the same until it is acknowledged
        batches.append(batch.lines)
        kept.acknowledge(batch)

    assert [each for lines in batches for each in lines] == said
    assert len(batches[0]) == 1000
    assert all(sum(map(len, lines)) <= journal.BATCH_BYTES for lines in batches)
    assert batches[-1] == [note(1)]
    kept.close()


def test_journals_are_deleted_as_they_are_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long run's journals do not pile up: full ones go when they are acknowledged."""
    monkeypatch.setattr(store, "SEGMENT_BYTES", 10_000)
    kept = Store(RUN, str(tmp_path), Lost().take)
    said = [note(number, 1000) for number in range(100)]
    for each in said:
        kept.append(each)

    assert len(list(tmp_path.iterdir())) > 5
    assert drain(kept) == said
    assert len(list(tmp_path.iterdir())) == 1
    kept.close()
    assert list(tmp_path.iterdir()) == []


def test_beyond_the_journals_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is beyond the journals' bound goes on in memory and then in journals again, in order."""
    monkeypatch.setattr(store, "SEGMENT_BYTES", 1000)
    monkeypatch.setattr(store, "SEGMENTS", 2)
    monkeypatch.setattr(store, "RETRY_SECONDS", 0.0)
    kept = Store(RUN, str(tmp_path), Lost().take)
    for number in range(20):
        kept.append(note(number, 200))

    assert kept.in_memory > 0
    first = kept.read()
    assert first is not None
    kept.acknowledge(first)
    second = kept.read()  # deletes the first file: there is room for another
    assert second is not None
    kept.append(note(20))
    assert first.lines + drain(kept) == [*(note(number, 200) for number in range(20)), note(20)]
    kept.append(note(21))
    assert kept.in_memory == 0
    assert drain(kept) == [note(21)]
    kept.close()


def test_memory_is_bounded(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """In memory the oldest events give way, each is named, and the run's end is not among them."""
    (tmp_path / "file").touch()
    lost = Lost()
    kept = Store(RUN, str(tmp_path / "file" / "x"), lost.take)
    kept.append(END)
    for number in range(store.MEMORY_EVENTS + 9):
        kept.append(note(number))

    assert lost == [note(number) for number in range(10)]
    assert (kept.taken, kept.lost, kept.in_memory) == (store.MEMORY_EVENTS + 10, 10, store.MEMORY_EVENTS)
    assert drain(kept) == [END, *(note(number) for number in range(10, store.MEMORY_EVENTS + 9))]
    assert len(caplog.records) == 1


def test_memory_is_bounded_in_bytes(tmp_path: Path) -> None:
    """Great events are bounded by their bytes."""
    (tmp_path / "file").touch()
    lost = Lost()
    kept = Store(RUN, str(tmp_path / "file" / "x"), lost.take)
    for number in range(300):
        kept.append(note(number, 60_000))

    assert 0 < kept.in_memory * 60_000 < store.MEMORY_BYTES
    assert len(lost) + kept.in_memory == 300


def test_a_link_is_no_journal(tmp_path: Path) -> None:
    """A link in the directory is not followed."""
    (tmp_path / "elsewhere").write_text("0\n{}\n")
    (tmp_path / "1.journal").symlink_to(tmp_path / "elsewhere")

    assert journal.adopt(tmp_path / "1.journal", wanted) is None
    assert (tmp_path / "elsewhere").exists()


def test_the_head_holds_no_key(tmp_path: Path) -> None:
    """A journal's head is its run and nothing else."""
    ours = journal.create(tmp_path, RUN)
    head = json.loads(ours.path.read_bytes().split(b"\n")[1])

    assert head == {"runfeed": 1, **RUN.__dict__}
    ours.remove()
