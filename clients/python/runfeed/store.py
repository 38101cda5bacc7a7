"""What a process has reported and the API has not acknowledged: journals, and memory where there can be none.

Order is kept across the two: while anything is in memory, everything goes there, and journals are sent first.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Callable

from . import journal, spill
from .config import Run
from .content import is_terminal
from .journal import Batch, Journal

log = logging.getLogger("runfeed")

SEGMENT_BYTES = 8 * 1024 * 1024  # a journal's size, about; done ones are deleted, so that a long run's do not pile up
SEGMENTS = 32  # 256 MiB: hours of an API that is away, and no full disk
MEMORY_EVENTS = 10_000
MEMORY_BYTES = 16 * 1024 * 1024
RETRY_SECONDS = 10.0  # between two looks whether a disk has space again: each is a failed write


class Store:
    """Bounded, for many writers and one reader. A writer waits for a write() at most.

    on_drop(line, reason) is called, without the lock, for each event that the bounds cost.
    """

    def __init__(self, run: Run, directory: str | None, on_drop: Callable[[bytes, str], None]) -> None:
        self._run = run
        self._directory = directory
        self._on_drop = on_drop
        # Reentrant: a signal's handler may report, and may have interrupted a report.
        self._lock = threading.RLock()
        self._journals: deque[Journal] = deque()
        self._memory: deque[bytes] = deque()
        self._memory_bytes = 0
        self._retry_at = 0.0  # time.monotonic
        self._said = False
        self.taken = 0  # events, ever
        self.lost = 0  # of those, what the bounds cost

    @property
    def in_memory(self) -> int:
        """Events that would be lost with the process."""
        return len(self._memory)

    def append(self, line: bytes) -> None:
        """Keeps a line. When this returns, it is in the journal, or in memory if there can be none."""
        dropped: list[bytes] = []
        trouble: OSError | None = None
        with self._lock:
            self.taken += 1
            if not self._memory and time.monotonic() >= self._retry_at:
                try:
                    self._writable().append(line)
                    return
                except OSError as error:
                    trouble = error
                    self._retry_at = time.monotonic() + RETRY_SECONDS
            self._remember(line, dropped)
        if trouble is not None and not self._said:
            self._said = True
            log.warning("no journal (%s): events are kept in memory, and lost if this process is killed", trouble)
        for lost in dropped:
            self._on_drop(lost, "too many wait, and there is no journal")

    def read(self) -> Batch | None:
        """The next events to send; the same ones until they are acknowledged. None: there are none.

        Lines from memory are taken out of it: they are the reader's until it is done with them, and are not dropped.
        """
        while True:
            with self._lock:
                done = [one.acked >= one.size for one in self._journals]
                if all(done):  # looked at together with the memory: a line must not overtake one before it
                    return self._recall()
                if done[0]:
                    self._journals.popleft().remove()
                    continue
                first, last = self._journals[0], len(done) == 1
            batch = first.read()
            if batch is not None or last:
                return batch
            first.acknowledge(Batch([], first.size))  # a torn end, which a full disk may leave: no call's

    def acknowledge(self, batch: Batch) -> None:
        """Notes that a batch from `read` is done."""
        if batch.end:
            self._journals[0].acknowledge(batch)

    def close(self) -> None:
        """Deletes what is done and lets go of the rest."""
        with self._lock:
            while self._journals:
                one = self._journals.popleft()
                if one.read() is None:
                    one.remove()
                else:
                    one.release()

    def _writable(self) -> Journal:
        """The journal to write to. Raises OSError when there can be none."""
        if not self._journals or self._journals[-1].size > SEGMENT_BYTES:
            if len(self._journals) >= SEGMENTS:
                raise OSError(f"{SEGMENTS * SEGMENT_BYTES >> 20} MiB of journal wait already")
            self._journals.append(journal.create(spill.ready(self._directory), self._run))
        return self._journals[-1]

    def _remember(self, line: bytes, dropped: list[bytes]) -> None:
        self._memory.append(line)
        self._memory_bytes += len(line)
        while len(self._memory) > MEMORY_EVENTS or self._memory_bytes > MEMORY_BYTES:
            # The event that ends the run is worth more than any other.
            index = next((at for at, each in enumerate(self._memory) if not is_terminal(each)), 0)
            dropped.append(self._memory[index])
            del self._memory[index]
            self.lost += 1
            self._memory_bytes -= len(dropped[-1])

    def _recall(self) -> Batch | None:
        lines: list[bytes] = []
        size = 0
        with self._lock:
            while self._memory and len(lines) < journal.BATCH_EVENTS and size < journal.BATCH_BYTES // 2:
                lines.append(self._memory.popleft())
                size += len(lines[-1])
                if is_terminal(lines[-1]):
                    break
            self._memory_bytes -= size
        return Batch(lines, 0) if lines else None


def leftovers(directory: str | None, wanted: Callable[[Run, float], bool]) -> Iterator[Journal]:
    """Journals of dead owners that are wanted (see journal.adopt), the oldest first; each is ours when it is given."""
    for each in paths(directory):
        try:
            one = journal.adopt(each, wanted)
        except journal.Unreadable as error:
            log.warning("%s is no journal (%s): set aside as .unreadable", each, error)
            continue
        if one is not None and one.read() is None:  # all of it was acknowledged
            one.remove()
        elif one is not None:
            yield one


def paths(directory: str | None) -> list[Path]:
    """Every journal in a directory, the oldest first. In the default place, only if it is this user's own."""
    try:
        path = spill.directory(directory)
        if directory is None and (path.is_symlink() or path.stat().st_uid != os.geteuid()):
            return []
    except OSError:
        return []
    return list(journal.found(path))
