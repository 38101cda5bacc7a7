"""Child processes that end with us: how they are started, asked about and stopped."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from deploy.local.place import Account

EXEC_CHILD = Path(__file__).with_name("exec_child.py")
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def spawn(
    command: Sequence[str | Path],
    *,
    output: IO[bytes] | int,
    stdin: IO[bytes] | int = subprocess.DEVNULL,
    environ: Mapping[str, str],
    cwd: Path,
    death_signal: signal.Signals = signal.SIGTERM,
    account: Account | None = None,
) -> "subprocess.Popen[bytes]":
    """Start `command` in a session of its own, its stdout and stderr going to `output`.

    In its own session Ctrl-C reaches only the launcher, which then stops all in its order. On Linux the child gets
    `death_signal` when the launcher (the thread that called this) dies of whatever cause.
    """
    uid, gid = ("-", "-") if account is None else (str(account.uid), str(account.gid))
    shim = [sys.executable, "-I", "-S", str(EXEC_CHILD), str(os.getpid()), str(int(death_signal)), uid, gid]
    with signals_held_back():
        return subprocess.Popen(
            [*shim, *map(str, command)],
            stdin=stdin,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(environ),
            cwd=cwd,
            start_new_session=True,
        )


@contextmanager
def signals_held_back() -> Iterator[None]:
    """Between fork and the caller's knowing of the child no signal may raise: the child would belong to nobody."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def stop(process: "subprocess.Popen[bytes]", ladder: Sequence[tuple[signal.Signals, float]]) -> int:
    """Send the ladder's signals one after the other, each with its seconds, until the process is gone; its exit code.

    The last rung should be SIGKILL; subprocess.TimeoutExpired if even that did not end it.
    """
    for number, seconds in ladder[:-1]:
        process.send_signal(number)
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            continue
    number, seconds = ladder[-1]
    process.send_signal(number)
    return process.wait(seconds)


def command_line(pid: int) -> str:
    """The command line of a living process, its arguments joined by spaces; "" when there is none."""
    proc = Path("/proc")
    if (proc / "self").exists():
        try:
            return (proc / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            return ""
    done = subprocess.run(  # macOS; every argument is ours
        ["ps", "-o", "command=", "-p", str(pid)],  # noqa: S607
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip()


def tail(log: Path, lines: int = 8) -> str:
    """The last lines of a server's log, for an error message."""
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return ""
