"""One Valkey (or Redis) server of our own. It keeps nothing: pub/sub is all that Runfeed asks of it."""

import os
import secrets
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Self

from deploy.local.binaries import RedisBinary
from deploy.local.errors import LocalError
from deploy.local.place import DataDirectory, open_log, write_secret
from deploy.local.postgres import PORT_TRIES, free_port
from deploy.local.process import command_line, spawn, stop, tail

START_SECONDS = 20.0  # a start takes 0.05 s
STALE_SECONDS = 5.0  # how long a left-over server may take to end before it is killed
POLL_SECONDS = 0.01  # nothing tells us that the server is ready but its answer
STOP_LADDER = ((signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0))


class Valkey:
    """A server on 127.0.0.1 with a password; a context manager from start to stop.

    Port and password are random at the first start and stay for the object's life. Runs as whoever we are: it has no
    quarrel with root.
    """

    def __init__(self, data: DataDirectory, binary: RedisBinary) -> None:
        self.name = binary.name
        self.version = binary.version
        self.port = 0
        self.process: subprocess.Popen[bytes] | None = None
        self._data = data
        self._binary = binary
        self._password = secrets.token_urlsafe(24)
        self._config = data.redis_directory / "redis.conf"
        self._pid_file = data.redis_directory / "pid"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """The connection URL, the password in it."""
        return f"redis://:{self._password}@127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Stop what an earlier launcher left, start, wait until it answers us."""
        self._data.create()
        self._data.redis_directory.mkdir(mode=0o700, exist_ok=True)
        self._stop_stale()
        tries = 1 if self.port else PORT_TRIES
        for attempt in range(1, tries + 1):
            port = self.port or free_port()
            if self._try_start(port):
                self.port = port
                return
            if attempt == tries:
                log = self._data.redis_log
                raise LocalError(f"{self.name} does not start; {log} ends with:\n{tail(log)}")

    @property
    def running(self) -> "subprocess.Popen[bytes]":
        """The server's process; RuntimeError when it does not run."""
        if self.process is None:
            raise RuntimeError("the server does not run")
        return self.process

    def stop(self) -> None:
        """Stop the server; does nothing when it does not run."""
        if self.process is not None:
            stop(self.process, STOP_LADDER)
            self.process = None

    def _try_start(self, port: int) -> bool:
        """Start on this port; False when the server ended at once, as it does when the port was taken."""
        lines = [
            "bind 127.0.0.1",
            f"port {port}",
            f"requirepass {self._password}",  # in a file of ours, never on a command line
            f"pidfile {self._pid_file.name}",
            "daemonize no",
            'save ""',
            "appendonly no",
            "set-proc-title no",  # the command line is how a left-over server is known as ours
        ]
        write_secret(self._config, "\n".join(lines) + "\n")
        # "-": the file comes as stdin. The server takes [ ] and * in a file's path for a pattern, and when that matches
        # nothing it starts bare: on port 6379, without a password.
        command: list[str | Path] = [self._binary.path, "-", "--dir", self._data.redis_directory]
        with open_log(self._data.redis_log) as log, self._config.open("rb") as config:
            cwd = self._data.redis_directory
            self.process = spawn(command, stdin=config, output=log, environ=os.environ, cwd=cwd)
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                self.process = None
                return False
            if answers(port, self._password):
                return True
            time.sleep(POLL_SECONDS)
        self.stop()
        raise LocalError(f"{self.name} was not ready after {START_SECONDS:.0f} s; see {self._data.redis_log}")

    def _stop_stale(self) -> None:
        """End the server that a launcher left which was killed where no death signal exists."""
        try:
            pid = int(self._pid_file.read_text())
        except (OSError, ValueError):
            return
        deadline = time.monotonic() + STALE_SECONDS
        number = signal.SIGTERM
        while str(self._data.redis_directory) in command_line(pid):
            os.kill(pid, number)
            if time.monotonic() > deadline:
                number = signal.SIGKILL
            time.sleep(POLL_SECONDS)
        self._pid_file.unlink(missing_ok=True)


def answers(port: int, password: str) -> bool:
    """Whether a server on this port takes our password and answers PING: so it is ours, and ready."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1.0) as connection:
            connection.sendall(f"AUTH {password}\r\nPING\r\n".encode())
            expected = b"+OK\r\n+PONG\r\n"
            received = b""
            while len(received) < len(expected):
                data = connection.recv(len(expected) - len(received))
                if not data:
                    break
                received += data
            return received == expected
    except OSError:
        return False
