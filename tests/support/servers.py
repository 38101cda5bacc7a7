"""Servers of a test's own, which it may stop, kill and freeze."""

import os
import signal
import subprocess
from pathlib import Path

from deploy.local.postgres import Postgres
from deploy.local.valkey import Valkey
from tests.support.waiting import eventually_sync

GONE_SECONDS = 10.0  # a killed PostgreSQL's children notice within milliseconds


def family(pid: int) -> list[int]:
    """A process and all that descend from it, parents first. Linux only."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                # "pid (name) state ppid ...", and the name may hold anything, parentheses included
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            children.setdefault(parent, []).append(int(entry.name))
    found = [pid]
    for member in found:
        found.extend(children.get(member, []))
    return found


def signal_all(pids: list[int], number: signal.Signals) -> None:
    """Send a signal to each; one that is gone already is left out."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def alive(pid: int) -> bool:
    """Whether a process lives; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


class Faults:
    """kill, freeze and thaw for a server with a `process`; PostgreSQL's sessions are its family."""

    process: "subprocess.Popen[bytes] | None"

    def freeze(self) -> None:
        """SIGSTOP: connections stay open and nothing answers, as with a paused machine; no packet is lost."""
        signal_all(family(self._running().pid), signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        signal_all(family(self._running().pid), signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL to all its processes, as with a crash. The kernel closes its connections, so peers see an end."""
        process = self._running()
        members = family(process.pid)
        signal_all(members, signal.SIGKILL)
        process.wait()
        self.process = None
        eventually_sync(lambda: not any(alive(pid) for pid in members), within=GONE_SECONDS)

    def thaw_if_running(self) -> None:
        """Before a stop: a frozen process does not hear it, and PostgreSQL's children would stay frozen for ever."""
        if self.process is not None:
            self.thaw()

    def _running(self) -> "subprocess.Popen[bytes]":
        assert self.process is not None, "the server does not run"
        return self.process


class OwnPostgres(Faults, Postgres):
    """A PostgreSQL with `.url(database)`, `.port`, `.start()`, `.stop()`, `.kill()`, `.freeze()`, `.thaw()`."""

    def stop(self) -> None:
        """Stop it, frozen or not."""
        self.thaw_if_running()
        super().stop()


class OwnRedis(Faults, Valkey):
    """A Valkey or Redis with `.url`, `.port`, `.start()`, `.stop()`, `.kill()`, `.freeze()`, `.thaw()`."""

    def stop(self) -> None:
        """Stop it, frozen or not."""
        self.thaw_if_running()
        super().stop()
