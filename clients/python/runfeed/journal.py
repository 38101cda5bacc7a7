"""One journal file: what was reported, until the API has acknowledged it. It survives its process, not its machine.

The first line is 20 digits: up to which byte everything is acknowledged. The second says whose events they are (no key
is ever in it). Then a line an event. Whoever sends it, its writer or its finder, holds the file's flock; so a journal
whose flock is free is a leftover. A call's line is one write(): what a SIGKILL cut off has no newline, and its call had
not returned.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from .config import Run
from .content import is_terminal

if sys.platform != "win32":  # where spill.directory refuses
    import fcntl

SUFFIX = ".journal"
DIGITS = 20  # of the acknowledged offset: any file's
BATCH_EVENTS = 1000  # the API's own bound
BATCH_BYTES = 1024 * 1024  # a quarter of the API's: a slow line takes it within a request's time
HEADER_BYTES = 512 * 1024  # metadata of 64 KiB, written with escapes, fits

held: set[Journal] = set()  # all that are open in this process
# A file that is open but not yet among `held` would stay open, and locked, in a child that is forked at that moment.
opening = threading.RLock()


@dataclass
class Batch:
    """Lines in order, without their newlines; `end` is the offset that is acknowledged when all of them are done."""

    lines: list[bytes]
    end: int


class Unreadable(Exception):
    """The file is no journal; the text says why."""


class Journal:
    """An open journal whose flock we hold.

    Attributes:
        path: where it is.
        run: whose events they are.
        acked: bytes that need not be sent any more.
    """

    def __init__(self, path: Path, fd: int, run: Run, acked: int) -> None:
        self.path = path
        self.run = run
        self.acked = acked
        self._fd = fd
        held.add(self)

    def __repr__(self) -> str:
        return f"<Journal {self.path.name} of {self.run.run_id}, acknowledged to {self.acked}>"

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return os.fstat(self._fd).st_size

    def append(self, line: bytes) -> None:
        """Writes a line with one write(); OSError when it could not, and then nothing of it is left."""
        written = os.write(self._fd, line + b"\n")
        if written <= len(line):
            end = os.lseek(self._fd, -written, os.SEEK_CUR)
            os.ftruncate(self._fd, end)
            raise OSError("no space for the whole line")

    def read(self) -> Batch | None:
        """The next lines that are not acknowledged: 1,000 or 1 MiB, none behind a terminal event. None: there are none.

        A line that is no event (the disk's doing) is returned as it is: the API refuses it, and that is said.
        """
        data = os.pread(self._fd, BATCH_BYTES, self.acked)
        lines: list[bytes] = []
        end = self.acked
        for line in data[: data.rfind(b"\n") + 1].split(b"\n")[:-1]:
            lines.append(line)
            end += len(line) + 1
            if len(lines) == BATCH_EVENTS or is_terminal(line):
                break
        return Batch(lines, end) if lines else None

    def acknowledge(self, batch: Batch) -> None:
        """Notes that a batch of ours is done. Not to be able to is no harm: events have their keys."""
        self.acked = batch.end
        with contextlib.suppress(OSError):
            os.pwrite(self._fd, b"%0*d\n" % (DIGITS, batch.end), 0)

    def remove(self) -> None:
        """Deletes the file and lets go of it."""
        with contextlib.suppress(OSError):
            self.path.unlink()
        self.release()

    def set_aside(self) -> None:
        """Renames the file, so that nobody reads it again and a person can, and lets go of it."""
        with contextlib.suppress(OSError):
            self.path.rename(self.path.with_suffix(".unreadable"))
        self.release()

    def release(self) -> None:
        """Lets go of the file as it is: whoever comes next may send it. In a forked child the parent keeps it."""
        held.discard(self)
        fd, self._fd = self._fd, -1
        if fd >= 0:
            with contextlib.suppress(OSError):
                os.close(fd)


def create(directory: Path, run: Run) -> Journal:
    """A new journal of this run. Raises OSError."""
    header = json.dumps({"runfeed": 1, **run.__dict__}, separators=(",", ":")).encode() + b"\n"
    start = DIGITS + 1 + len(header)
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    while True:
        path = directory / f"{time.time_ns():020d}-{os.getpid()}-{secrets.token_hex(4)}{SUFFIX}"
        with opening:
            fd = os.open(path, flags, 0o600)
            journal = Journal(path, fd, run, start)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            head = b"%0*d\n" % (DIGITS, start) + header
            if os.fstat(fd).st_nlink:  # else somebody who looked for leftovers found it empty
                if os.write(fd, head) != len(head):
                    raise OSError("no space for a journal")
                return journal
            journal.release()
        except BlockingIOError:  # the same somebody, a moment earlier
            journal.release()
        except BaseException:
            journal.remove()
            raise


def adopt(path: Path, wanted: Callable[[Run, float], bool]) -> Journal | None:
    """The journal, when its owner is dead and it is wanted: its flock is ours then. Else None.

    wanted(run, age): age is how many seconds ago it was last written to. What is no journal is set aside, and raises
    Unreadable.
    """
    try:
        with opening:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            journal = Journal(path, fd, Run("", ""), 0)
    except OSError:
        return None
    try:
        # Looked at before it is locked: the lock of one that is not for us would keep away whom it is for.
        if not _ours(journal, fd, wanted):
            journal.release()
            return None
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        status = os.fstat(fd)
        if status.st_nlink == 0:  # whoever had it is done with it
            journal.release()
            return None
        if status.st_size == 0:  # its writer died before it wrote
            journal.remove()
            return None
        journal.run, journal.acked = _read_head(os.pread(fd, HEADER_BYTES, 0), status.st_size)
    except OSError:  # in use
        journal.release()
        return None
    except Unreadable:
        journal.set_aside()
        raise
    return journal


def _ours(journal: Journal, fd: int, wanted: Callable[[Run, float], bool]) -> bool:
    """Whether to try for this journal: what its head says, or that it must be looked at more closely."""
    status = os.fstat(fd)
    if status.st_uid != os.geteuid():  # planted by somebody, in a directory that others can write to
        return False
    try:
        run, _ = _read_head(os.pread(fd, HEADER_BYTES, 0), status.st_size)
    except Unreadable:
        return True
    return wanted(run, time.time() - status.st_mtime)


def _read_head(data: bytes, size: int) -> tuple[Run, int]:
    """(whose, acknowledged offset) of a journal that begins so. Raises Unreadable."""
    lines = data.split(b"\n", 2)
    try:
        said = json.loads(lines[1])
        if len(lines) < 3 or said.pop("runfeed") != 1:
            raise ValueError("not of this version")
        start = len(lines[0]) + len(lines[1]) + 2
        acked = int(lines[0]) if lines[0].isdigit() else 0
        return Run(**said), min(max(acked, start), size)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise Unreadable(f"{error}") from None


def found(directory: Path) -> Iterator[Path]:
    """Every journal of a directory, the oldest first; none when it cannot be read."""
    with contextlib.suppress(OSError):
        yield from sorted(path for path in directory.iterdir() if path.name.endswith(SUFFIX))
