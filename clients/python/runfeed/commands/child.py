"""A command as a child process: its output passed through as it comes, our signals passed on to it."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from types import FrameType
from typing import IO, Callable

TICK_SECONDS = 0.1  # how late the command's end, or a line that waits to share an event, may be noticed
GRACE_SECONDS = 1.0  # for output of processes that outlive the command
PIECE_BYTES = 64 * 1024  # what a pipe holds
FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

Hear = Callable[[str, bytes], None]


class Child:
    """A running command. hear(stream, bytes) gets its output; tick() is called some times a second."""

    def __init__(
        self, command: Sequence[str], environ: Mapping[str, str], hear: Hear, tick: Callable[[], None]
    ) -> None:
        self._hear = hear
        self._tick = tick
        self._process = subprocess.Popen(  # noqa: S603 - the command is what we were asked to run
            command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
        )

    def signal(self, number: int) -> None:
        """Passes a signal on, unless the terminal has sent it to the command already."""
        if number == signal.SIGINT and of_terminal():
            return
        with contextlib.suppress(OSError):
            self._process.send_signal(number)

    def wait(self) -> int:
        """Passes output on until the command has ended; its exit code, or minus the signal that ended it."""
        pipes = {"stdout": (self._process.stdout, 1), "stderr": (self._process.stderr, 2)}
        with selectors.DefaultSelector() as selector:
            for stream, (pipe, target) in pipes.items():
                assert pipe is not None  # noqa: S101 - for the type alone
                selector.register(pipe, selectors.EVENT_READ, (stream, target))
            last = None
            while selector.get_map() and (last is None or time.monotonic() < last):
                for key, _ in selector.select(TICK_SECONDS):
                    if not self._pass(key.fd, *key.data):
                        selector.unregister(key.fileobj)
                        close(key.fileobj)  # type: ignore[arg-type]
                self._tick()
                if last is None and self._process.poll() is not None:
                    last = time.monotonic() + GRACE_SECONDS
        while True:
            try:
                return self._process.wait(TICK_SECONDS)
            except subprocess.TimeoutExpired:  # it closed its output and works on
                self._tick()

    def _pass(self, fd: int, stream: str, target: int) -> bool:
        """Passes a piece on; False at the end. When nobody reads ours, the command hears that as if it were its own."""
        data = os.read(fd, PIECE_BYTES)
        taken = bool(data) and write(target, data)
        if data:
            self._hear(stream, data)
        return taken


@contextlib.contextmanager
def forwarding(pass_on: Callable[[int], None]) -> Iterator[None]:
    """While it lasts, signals that would end us are passed on. Ignored ones stay ignored, for the command too."""

    def handle(number: int, frame: FrameType | None) -> None:
        pass_on(number)

    before = {number: signal.getsignal(number) for number in FORWARDED}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def of_terminal() -> bool:
    """Whether Ctrl-C on the terminal reaches the command too: it is in the terminal's foreground, with us."""
    for stream in (sys.__stdin__, sys.__stderr__):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            if stream is not None and os.tcgetpgrp(stream.fileno()) == os.getpgrp():
                return True
    return False


def write(fd: int, data: bytes) -> bool:
    """Writes all of it, whatever that takes; False when nobody reads."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:
            with selectors.DefaultSelector() as selector:
                selector.register(fd, selectors.EVENT_WRITE)
                selector.select()
        except OSError:
            return False
    return True


def close(pipe: IO[bytes]) -> None:
    """Closes our end."""
    with contextlib.suppress(OSError):
        pipe.close()
