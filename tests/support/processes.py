"""Programs of ours as processes: the Procfile's commands, `./dev run`, and whether one left anything behind."""

import http.client
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from deploy.local.place import CHECKOUT, Account
from deploy.local.process import spawn
from deploy.local.supervise import procfile
from fanout.auth_config import DOCUMENTED
from tests.support.answers import VARIABLE
from tests.support.ports import steady_port
from tests.support.secrets import look_at_log, secrets_of
from tests.support.servers import alive, family, signal_all
from tests.support.waiting import eventually_sync

BIN_DIR = Path(sys.executable).parent
PLAIN, CHECKED = "python -m orchestrator_api", "python -m tests.support.checked_api"
MARK = "RUNFEED_TEST_PROGRAM"  # by this name in its environment a program's processes are found again
PORT_NAMES = ("API_PORT", "API_ADMIN_PORT", "FANOUT_PORT", "FANOUT_ADMIN_PORT")
READY_SECONDS = 60.0  # a loaded machine; 2 s otherwise
STOP_SECONDS = 30.0  # the supervisor's own bounds lie below


def free_ports() -> dict[str, str]:
    """A free port for each of the names that the services read."""
    return {name: str(steady_port()) for name in PORT_NAMES}


def clean_environ(**names: str) -> dict[str, str]:
    """Ours without anything that configures Runfeed, `.venv`'s programs first in PATH, and `names`."""
    ours = (
        *PORT_NAMES,
        "PORT",
        "BIND",
        "ADMIN_BIND",
        "API_REUSE_PORT",
        "FANOUT_REUSE_PORT",
        "DATABASE_URL",
        "REDIS_URL",
        "FANOUT_HISTORY_URL",
        "PUBLIC_HUB_URL",
        "PAGE",
        "RUNFEED_DATA",
        "LOG_FORMAT",
        *(name for name, _, _ in DOCUMENTED),
    )
    environ = {name: value for name, value in os.environ.items() if name not in ours}
    environ["PATH"] = f"{BIN_DIR}{os.pathsep}{environ.get('PATH', os.defpath)}"
    return {**environ, **names}


class Program:
    """A running process whose output goes to a file; killed with all that it started at the end of its `with`."""

    def __init__(
        self,
        command: Sequence[str | Path],
        environ: Mapping[str, str],
        log: Path,
        cwd: Path,
        account: Account | None = None,
    ) -> None:
        self.mark = secrets.token_hex(8)
        secrets_of(environ)
        self._log = log
        with log.open("wb") as output:
            self.process = spawn(
                command,
                stdin=subprocess.PIPE,  # open and silent, as a terminal is; some clients end with their input
                output=output,
                environ={**environ, MARK: self.mark},
                cwd=cwd,
                account=account,
            )
        self._family: set[int] = set()

    def output(self) -> str:
        """What it has written until now, stdout and stderr."""
        return self._log.read_text(errors="replace")

    def says(self, text: str, within: float = READY_SECONDS) -> str:
        """Wait until the output holds `text`; the output. AssertionError with the output if it does not or ends."""
        ended = False
        while text not in (output := self.output()):
            assert not ended, f"ended without saying {text!r}:\n{output}"
            try:
                ended = eventually_sync(lambda: self._said_or_ended(text), within=within) == "ended"
            except AssertionError as exc:
                raise AssertionError(f"did not say {text!r} within {within} s:\n{self.output()}") from exc
        return output

    def _said_or_ended(self, text: str) -> str:
        if text in self.output():
            return "said"
        return "ended" if self.process.poll() is not None else ""

    def members(self) -> set[int]:
        """Every process that belongs to this program: its descendants, and whoever carries its mark."""
        if self.process.poll() is None:
            self._family.update(family(self.process.pid))
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with suppress(OSError):
                    if f"{MARK}={self.mark}".encode() in (entry / "environ").read_bytes():
                        self._family.add(int(entry.name))
        return {pid for pid in self._family if alive(pid)}

    def end(self, number: signal.Signals) -> int:
        """Send a signal to the first process alone, wait for its end; its exit code."""
        self.members()
        self.process.send_signal(number)
        return self.process.wait(STOP_SECONDS)

    def assert_nothing_left(self) -> None:
        """No process of this program lives, at the latest a moment after its first one ended."""
        eventually_sync(lambda: not self.members(), within=STOP_SECONDS)

    def close(self) -> None:
        """Kill what is left; what it has said is looked through for secrets."""
        signal_all(sorted(self.members()), signal.SIGKILL)
        self.process.wait()
        if self.process.stdin is not None:
            self.process.stdin.close()
        look_at_log(self._log)


@contextmanager
def program(
    command: Sequence[str | Path],
    environ: Mapping[str, str],
    log: Path,
    cwd: Path = CHECKOUT,
    account: Account | None = None,
) -> Iterator[Program]:
    """Run a program; kill what is left of it at the end."""
    running = Program(command, environ, log, cwd, account)
    try:
        yield running
    finally:
        running.close()


@contextmanager
def procfile_command(name: str, environ: Mapping[str, str], log: Path) -> Iterator[Program]:
    """Run a command of the Procfile by its name, as a Procfile runner would. The API's answers are checked."""
    command = procfile(CHECKOUT / "Procfile")[name]
    if name == "api" and VARIABLE in environ:
        command = command.replace(PLAIN, CHECKED)
    with program(["/bin/sh", "-c", f"exec {command}"], environ, log) as running:
        yield running


def ready(port: str | int) -> bool:
    """Whether /readyz of this admin port answers 200."""
    connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=2)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


@contextmanager
def services(database_url: str, redis_url: str, directory: Path, **names: str) -> Iterator[dict[str, str]]:
    """Both services of the Procfile on free ports, ready, their logs in `directory`; the environment they have.

    The database must have been migrated. `names` are further variables.
    """
    environ = clean_environ(**free_ports(), DATABASE_URL=database_url, REDIS_URL=redis_url)
    environ["FANOUT_HISTORY_URL"] = f"http://127.0.0.1:{environ['API_PORT']}"
    environ.update(names)
    with (
        procfile_command("api", environ, directory / "api.log") as api,
        procfile_command("fanout", environ, directory / "fanout.log") as fanout,
    ):
        for running, port in ((api, "API_ADMIN_PORT"), (fanout, "FANOUT_ADMIN_PORT")):
            ready_or_say_why(running, environ[port])
        yield environ


def ready_or_say_why(running: Program, port: str) -> None:
    """Wait for /readyz; AssertionError with the program's output when it ends before."""
    outcome = eventually_sync(
        lambda: "ready" if ready(port) else "ended" if running.process.poll() is not None else "", within=READY_SECONDS
    )
    assert outcome == "ready", f"ended before it was ready:\n{running.output()}"
