"""What ./dev run was asked for, read once from the environment and checked before anything is started."""

import errno
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from deploy.local.errors import LocalError
from deploy.local.place import CHECKOUT

PORTS = {"API_PORT": 8081, "API_ADMIN_PORT": 8082, "FANOUT_PORT": 8085, "FANOUT_ADMIN_PORT": 8086}  # the design's
DEFAULT_BIND = "127.0.0.1"  # a developer's stack is nobody else's business
DEFAULT_DATA = ".data"  # below the checkout, git-ignored


@dataclass(frozen=True)
class Environment:
    """Ports by name, the address that they are bound to, the stores that were given and the data directory."""

    ports: Mapping[str, int]
    bind: str
    database_url: str | None
    redis_url: str | None
    data: Path
    given: Mapping[str, str]

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Self:
        """LocalError names the variable that cannot be used."""
        return cls(
            ports={name: _port(environ, name, default) for name, default in PORTS.items()},
            bind=environ.get("BIND") or DEFAULT_BIND,
            database_url=environ.get("DATABASE_URL") or None,
            redis_url=environ.get("REDIS_URL") or None,
            data=CHECKOUT / (environ.get("RUNFEED_DATA") or DEFAULT_DATA),
            given=environ,
        )

    @property
    def host(self) -> str:
        """Where we reach the services ourselves."""
        loopback = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}
        return loopback.get(self.bind, self.bind)

    def url(self, port: str, path: str = "", scheme: str = "http") -> str:
        """A URL of the service whose port has this name: url("API_PORT", "/readyz")."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{scheme}://{host}:{self.ports[port]}{path}"

    def check_ports(self) -> None:
        """LocalError if two ports are the same or one cannot be listened on."""
        seen: dict[int, str] = {}
        for name, port in self.ports.items():
            if port in seen:
                raise LocalError(f"{seen[port]} and {name} are both {port}; set one of them to another port")
            seen[port] = name
        for name, port in self.ports.items():
            self._check_port(name, port)

    def _check_port(self, name: str, port: int) -> None:
        family = socket.AF_INET6 if ":" in self.bind else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            # As the services do: a port that only has old connections in TIME_WAIT is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((self.bind, port))
                probe.listen(1)
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    raise LocalError(
                        f"port {port} is in use; stop what listens there, or set {name} to another port"
                    ) from None
                raise LocalError(f"cannot listen on BIND={self.bind}, {name}={port}: {error.strerror}") from None

    def for_services(self, database_url: str, redis_url: str, *, terminal: bool, bin_dir: Path) -> dict[str, str]:
        """The environment of the Procfile's commands: every name that the services read for where they are.

        `bin_dir` comes first in PATH, so that the Procfile's `python` is the one of `.venv`.
        """
        environ = dict(self.given)
        environ.pop("PORT", None)  # it would stand in for a port that has a name here
        environ.update({name: str(port) for name, port in self.ports.items()})
        environ.update(BIND=self.bind, DATABASE_URL=database_url, REDIS_URL=redis_url)
        environ.setdefault("FANOUT_HISTORY_URL", self.url("API_PORT"))
        environ.setdefault("PYTHONUNBUFFERED", "1")  # a line is shown when it is said
        if terminal:
            environ.setdefault("LOG_FORMAT", "console")  # the services see our pipe, not the terminal
        environ["PATH"] = f"{bin_dir}{os.pathsep}{environ.get('PATH', os.defpath)}"
        return environ


def _port(environ: Mapping[str, str], name: str, default: int) -> int:
    text = environ.get(name) or str(default)
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 65535:
        raise LocalError(f"{name} is {text!r}; it must be a port, 1 to 65535")
    return int(text)
