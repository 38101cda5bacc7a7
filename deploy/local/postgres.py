"""One PostgreSQL server of our own: made, started, asked until ready, and stopped."""

import os
import re
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from deploy.local.binaries import PostgresBinaries
from deploy.local.errors import LocalError
from deploy.local.place import Account, DataDirectory, open_log, open_tree, server_account, write_secret
from deploy.local.process import command_line, spawn, stop, tail

USER = "runfeed"
DATABASE = "runfeed"
START_SECONDS = 60.0  # a start takes 0.1 s; recovery after a crash on a slow disk may take long
INITDB_SECONDS = 120.0  # takes 0.5 s here; slow disks were seen to need far more
POLL_SECONDS = 0.01  # nothing tells us that the server is ready but its pid file
PORT_TRIES = 5  # a free port may be taken between our asking and the server's binding
# Fast shutdown, then immediate (recovery at the next start), then none.
STOP_LADDER = ((signal.SIGINT, 15.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0))


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Postgres:
    """A server on 127.0.0.1 with its data in `data`; a context manager from start to stop.

    `settings` are server settings by name ("max_connections": "200"). The port is random at the first start and stays
    for the object's life, so that clients find a restarted server where it was.
    """

    def __init__(
        self, data: DataDirectory, binaries: PostgresBinaries, settings: Mapping[str, str] | None = None
    ) -> None:
        self.version = binaries.version
        self.port = 0
        self.process: subprocess.Popen[bytes] | None = None
        self._data = data
        self._binaries = binaries
        self._settings = dict(settings or {})
        self._account: Account | None = None
        self._bin_dir = binaries.bin_dir
        self._password = ""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def url(self, database: str = DATABASE) -> str:
        """The connection URL of a database, the password in it."""
        return f"postgresql://{USER}:{self._password}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Make the data directory if there is none, stop what an earlier launcher left, start, wait until ready."""
        self._data.create()
        self._account = server_account()
        self._bin_dir = open_tree(self._binaries.bin_dir) if self._account else self._binaries.bin_dir
        self._make_data()
        self._password = self._read_password()
        self._stop_stale()
        tries = 1 if self.port else PORT_TRIES
        for attempt in range(1, tries + 1):
            port = self.port or free_port()
            if self._try_start(port):
                self.port = port
                return
            if attempt == tries:
                raise self._failure("PostgreSQL does not start")

    @property
    def running(self) -> "subprocess.Popen[bytes]":
        """The server's process; RuntimeError when it does not run."""
        if self.process is None:
            raise RuntimeError("the server does not run")
        return self.process

    def stop(self) -> None:
        """Stop the server, fast at first; does nothing when it does not run."""
        if self.process is not None:
            stop(self.process, STOP_LADDER)
            self.process = None

    @property
    def data(self) -> Path:
        """PostgreSQL's own data directory."""
        return self._data.postgres_directory / "data"

    def _failure(self, what: str) -> LocalError:
        return LocalError(f"{what}; {self._data.postgres_log} ends with:\n{tail(self._data.postgres_log)}")

    def _environ(self) -> dict[str, str]:
        # PGDATA, PGOPTIONS and their like belong to some other server.
        environ = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        return {**environ, "LC_ALL": "C"}

    @contextmanager
    def _program(self, *command: str | Path, signal_at_death: signal.Signals) -> Iterator["subprocess.Popen[bytes]"]:
        """A program of ours as PostgreSQL's account, writing to the log.

        The log lies in a directory of ours, never of that account: it could make a link of it.
        """
        with open_log(self._data.postgres_log) as log:
            yield spawn(
                command,
                output=log,
                environ=self._environ(),
                cwd=Path("/"),
                death_signal=signal_at_death,
                account=self._account,
            )

    def _run(self, *command: str | Path) -> None:
        """Run one of the programs to its end; LocalError with the log's last lines when it fails."""
        with self._program(*command, signal_at_death=signal.SIGKILL) as process:
            try:
                code = process.wait(INITDB_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                code = process.wait()
        if code != 0:
            raise self._failure(f"{Path(command[0]).name} failed")

    def _make_data(self) -> None:
        """initdb beside, then rename: an interrupted one leaves nothing that looks like a data directory."""
        if (self.data / "PG_VERSION").exists():
            found = (self.data / "PG_VERSION").read_text().strip()
            if found != self._binaries.major:
                raise LocalError(
                    f"{self.data} was made by PostgreSQL {found}, and this is {self._binaries.version}; "
                    f"remove {self.data} (its data are lost) or set PG_BIN_DIR"
                )
            return
        top = self._data.postgres_directory
        top.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._account:
            top.chmod(0o711)  # in a step of its own: the umask has no say
        unfinished = top / "data.tmp"
        if unfinished.exists():
            shutil.rmtree(unfinished)
        unfinished.mkdir(mode=0o700)
        if self._account:
            os.chown(unfinished, self._account.uid, self._account.gid)
        self._initdb(unfinished, top / "pwfile")
        unfinished.rename(self.data)

    def _read_password(self) -> str:
        path = self._data.postgres_password
        try:
            return path.read_text()
        except FileNotFoundError:
            raise LocalError(f"{path} is gone; remove {path.parent} (its data are lost)") from None

    def _initdb(self, directory: Path, pwfile: Path) -> None:
        password = secrets.token_urlsafe(24)
        write_secret(pwfile, password, self._account)
        try:
            self._run(
                self._bin_dir / "initdb",
                f"--pgdata={directory}",
                f"--username={USER}",
                f"--pwfile={pwfile}",
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                "--locale=C",  # never a collation of the machine's: order must not depend on it
                "--no-instructions",
                # Seconds on a busy disk. What the server writes afterwards it does sync; only a power cut within half a
                # minute of the very first start could cost a directory that has nothing in it yet.
                "--no-sync",
            )
        finally:
            pwfile.unlink(missing_ok=True)
        # The wheel may come without psql, and single-user mode needs no server, no port and no password.
        statement = f"CREATE DATABASE {DATABASE}"
        single = shlex.join([str(self._bin_dir / "postgres"), "--single", "-D", str(directory), "postgres"])
        self._run("/bin/sh", "-c", f"echo '{statement}' | {single}")
        write_secret(self._data.postgres_password, password)

    def _try_start(self, port: int) -> bool:
        """Start on this port; False when the server ended because the port was taken."""
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(port),
            "unix_socket_directories": "",  # a socket's path has room for 107 bytes, a checkout's may be longer
            **self._settings,
        }
        options = [option for name, value in settings.items() for option in ("-c", f"{name}={value}")]
        before = self._data.postgres_log.stat().st_size if self._data.postgres_log.exists() else 0
        command: list[str | Path] = [self._bin_dir / "postgres", "-D", self.data, *options]
        with self._program(*command, signal_at_death=signal.SIGINT) as process:
            self.process = process
        if self._wait_until_ready(process):
            return True
        self.process = None
        said = self._data.postgres_log.read_bytes()[before:]
        if b"could not bind" in said:
            return False
        raise self._failure("PostgreSQL does not start")

    def _wait_until_ready(self, process: "subprocess.Popen[bytes]") -> bool:
        """False when the process ended first; LocalError when it takes too long."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if process.poll() is not None:
                return False
            lines = self._pid_file()
            if len(lines) > 7 and lines[0].strip() == str(process.pid) and lines[7].strip() == "ready":
                return True
            time.sleep(POLL_SECONDS)
        self.stop()
        raise LocalError(f"PostgreSQL was not ready after {START_SECONDS:.0f} s; see {self._data.postgres_log}")

    def _pid_file(self) -> list[str]:
        """Lines of postmaster.pid: pid, directory, start, port, socket, address, memory key, status."""
        try:
            return (self.data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return []

    def _stop_stale(self) -> None:
        """Stop the server that a launcher left which was killed where no death signal exists."""
        lines = self._pid_file()
        if lines and str(self.data) in command_line(int(lines[0])):
            self._run(self._bin_dir / "pg_ctl", "stop", "-D", self.data, "-m", "fast", "-w", "-t", "15")


def running_url(data: DataDirectory) -> str | None:
    """The URL of the database of a server that another process runs on `data`; None when there is none."""
    try:
        lines = (data.postgres_directory / "data" / "postmaster.pid").read_text().splitlines()
        password = data.postgres_password.read_text()
    except OSError:
        return None
    if len(lines) < 4 or not re.fullmatch(r"\d+", lines[3]) or not command_line(int(lines[0])):
        return None
    return f"postgresql://{USER}:{password}@127.0.0.1:{lines[3]}/{DATABASE}"
