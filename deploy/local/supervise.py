"""Named processes under one roof: if one dies all are stopped, and a signal to us stops all in reverse order.

Why not a Procfile runner: none of them knows an order, readiness, or what to do when it is killed itself.
"""

import contextlib
import itertools
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Self

from deploy.local.errors import LocalError
from deploy.local.process import STOP_SIGNALS, spawn

STOP_SECONDS = 15.0  # a service drains for 5 s and finishes what it took in 5 s; then it is killed
READ_BYTES = 65536  # one turn's worth of one process's output: a pipe holds no more
NAME_WIDTH = 7  # "release"; a longer name widens the column from its first line on
LAST_WORDS_SECONDS = 1.0  # what a dead process wrote is in the pipe already, unless a grandchild holds it open


class StopRequested(Exception):
    """INT, TERM or HUP came."""


def procfile(path: Path) -> dict[str, str]:
    """Commands by name, in the file's order."""
    lines = (line.strip() for line in path.read_text().splitlines())
    pairs = (line.partition(":") for line in lines if line and not line.startswith("#"))
    return {name.strip(): command.strip() for name, _, command in pairs}


class Supervisor:
    """Starts commands in sessions of their own and passes on what they write, each line after its name.

    A context manager: while in it, INT, TERM and HUP make pump() raise StopRequested; on leaving it, all are stopped.
    Who has servers to stop after the services calls stop() earlier.
    """

    def __init__(self, cwd: Path, write: Callable[[bytes], object] | None = None) -> None:
        self._cwd = cwd
        self._write = write or _to_stdout()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._watched: dict[str, subprocess.Popen[bytes]] = {}
        self._pending: dict[str, bytes] = {}
        self._selector = selectors.DefaultSelector()
        self._requested = False
        self._width = NAME_WIDTH
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        self._stack.enter_context(self._selector)
        self._stack.enter_context(self._signals())
        self._stack.callback(self.stop)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def watch(self, name: str, process: "subprocess.Popen[bytes]") -> None:
        """Also end when this process dies, which somebody else starts and stops."""
        self._watched[name] = process

    def expect(self, names: Iterable[str]) -> None:
        """Make room for the names of what will be started: the column is as wide from their first line on."""
        self._width = max(self._width, *map(len, names))

    def start(self, name: str, command: str, environ: Mapping[str, str]) -> None:
        """Start a shell command; `exec`, so that the process that we signal is the service itself."""
        process = spawn(["/bin/sh", "-c", f"exec {command}"], output=subprocess.PIPE, environ=environ, cwd=self._cwd)
        assert process.stdout is not None  # noqa: S101 - we asked for a pipe
        os.set_blocking(process.stdout.fileno(), False)
        self._processes[name] = process
        self.expect([name])
        self._selector.register(process.stdout, selectors.EVENT_READ, name)

    def finish(self, name: str, seconds: float) -> int:
        """Wait until a command that ends by itself has ended; its exit code. LocalError after `seconds`."""
        process, deadline = self._processes[name], time.monotonic() + seconds
        while process.poll() is None:
            if time.monotonic() > deadline:
                raise LocalError(f"{name} has not ended after {seconds:.0f} s")
            self.pump(deadline - time.monotonic())
        self._last_words(name)
        del self._processes[name]
        return process.returncode

    def dead(self) -> str | None:
        """The name and exit code of a process that ended, or None."""
        for name, process in {**self._watched, **self._processes}.items():
            if process.poll() is not None:
                return f"{name} {ending(process.returncode)}"
        return None

    def wait(self) -> LocalError:
        """Until a process dies: which one, as an error."""
        while (dead := self.dead()) is None:
            self.pump(60.0)  # SIGCHLD wakes us; the bound only limits what a lost one could cost
        return LocalError(dead)

    def pump(self, seconds: float) -> None:
        """Pass output on until something happened, or for `seconds`; StopRequested if a signal came."""
        self._turn(seconds)
        if self._requested:
            raise StopRequested

    def say(self, text: str) -> None:
        """Show something of our own among the output."""
        self._write(text.encode() + b"\n")

    def stop(self) -> None:
        """Stop all, the last started first: TERM to the whole group, KILL when the time is over.

        Those of one service (fanout.1, fanout.2) leave together: one after the other, each would hand its clients to
        the next that has to go, and each would take its time.
        """
        for _, service in itertools.groupby(reversed(self._processes), key=lambda name: name.partition(".")[0]):
            names = list(service)
            leaving = [self._processes[name] for name in names]
            deadline = time.monotonic() + STOP_SECONDS
            for process in leaving:
                _signal_group(process, signal.SIGTERM)
            while any(process.poll() is None for process in leaving) and time.monotonic() < deadline:
                self._turn(deadline - time.monotonic())
            for name, process in zip(names, leaving, strict=True):
                _signal_group(process, signal.SIGKILL)
                process.wait()
                self._last_words(name)
        self._processes.clear()

    def _turn(self, seconds: float) -> None:
        for key, _ in self._selector.select(max(0.0, seconds)):
            if key.data is None:
                self._wakeup.recv(READ_BYTES)
            else:
                self._pass_on(key.data)

    def _pass_on(self, name: str) -> bool:
        """Read once what a process wrote; False when there was nothing, or it wrote its last."""
        stdout = self._processes[name].stdout
        if stdout is None or stdout.closed:
            return False
        try:
            data = os.read(stdout.fileno(), READ_BYTES)
        except BlockingIOError:
            return False
        *lines, rest = (self._pending.pop(name, b"") + data).split(b"\n")
        if not data:
            self._selector.unregister(stdout)
            stdout.close()
            lines, rest = ([rest] if rest else []), b""
        if rest:
            self._pending[name] = rest
        for line in lines:
            self._write(f"{name:<{self._width}} | ".encode() + line + b"\n")
        return bool(data)

    def _last_words(self, name: str) -> None:
        """What a dead process had written before it died."""
        deadline = time.monotonic() + LAST_WORDS_SECONDS
        while self._pass_on(name) and time.monotonic() < deadline:
            pass
        stdout = self._processes[name].stdout
        if stdout is not None and not stdout.closed:
            self._selector.unregister(stdout)
            stdout.close()

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """Have signals noted and wake us; set explicitly, because a shell's `&` starts us with SIGINT ignored."""
        self._wakeup, write_end = socket.socketpair()
        with self._wakeup, write_end:
            write_end.setblocking(False)
            self._selector.register(self._wakeup, selectors.EVENT_READ, None)
            wakeup_before = signal.set_wakeup_fd(write_end.fileno(), warn_on_full_buffer=False)
            before = {number: signal.getsignal(number) for number in (*STOP_SIGNALS, signal.SIGCHLD)}
            for number in STOP_SIGNALS:
                if not (number == signal.SIGHUP and before[number] == signal.SIG_IGN):  # nohup means it
                    signal.signal(number, self._request_stop)
            signal.signal(signal.SIGCHLD, lambda *_: None)
            try:
                yield
            finally:
                for number, handler in before.items():
                    signal.signal(number, handler)
                signal.set_wakeup_fd(wakeup_before)

    def _request_stop(self, *_: object) -> None:
        self._requested = True


def ending(code: int) -> str:
    """A subprocess return code in words."""
    return f"ended with exit code {code}" if code >= 0 else f"was ended by {signal.Signals(-code).name}"


def _signal_group(process: "subprocess.Popen[bytes]", number: signal.Signals) -> None:
    """To the process and what it started; its session is its own, so the group has its number."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def _to_stdout() -> Callable[[bytes], object]:
    """Write to our stdout until it goes away (a closed terminal, `| head`): that must not end the services."""
    stdout = sys.stdout.buffer

    def write(line: bytes) -> None:
        with contextlib.suppress(OSError, ValueError):
            stdout.write(line)
            stdout.flush()

    return write
