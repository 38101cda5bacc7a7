"""What ./dev run was asked for, read once from the environment and checked before anything is started."""

import errno
import ipaddress
import os
import socket
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from deploy.local.errors import LocalError
from deploy.local.place import CHECKOUT

PORTS = {"API_PORT": 8081, "API_ADMIN_PORT": 8082, "FANOUT_PORT": 8085, "FANOUT_ADMIN_PORT": 8086}  # the design's
ADMIN_STEP = 10  # from the admin port of one process to that of the next of its kind
# An API process has up to 11 connections to PostgreSQL (8 readers, 2 lanes, readiness), which takes 97 by default.
MOST_PROCESSES = 8
ISSUER_KEYS = ("AUTH_HMAC_KEY", "AUTH_PUBLIC_KEY", "AUTH_JWKS_URL")
MINTS = ("AUTH_HMAC_KEY", "WATCH_TOKEN_KEY")  # with one of these the API makes tokens itself
DEFAULT_BIND = "127.0.0.1"  # a developer's stack is nobody else's business
DEFAULT_DATA = ".data"  # below the checkout, git-ignored


@dataclass(frozen=True)
class Environment:
    """Ports by name, the addresses that they are bound to, the stores that were given and the data directory.

    processes: how many there are of each service. All share its public port, and process i, from 0, has the admin port
    plus 10 * i.
    """

    ports: Mapping[str, int]
    bind: str
    admin_bind: str
    database_url: str | None
    redis_url: str | None
    data: Path
    given: Mapping[str, str]
    processes: int = 1

    @classmethod
    def from_env(cls, environ: Mapping[str, str], processes: int = 1) -> Self:
        """LocalError names the variable that cannot be used."""
        return cls(
            ports={name: _port(environ, name, default) for name, default in PORTS.items()},
            bind=environ.get("BIND") or DEFAULT_BIND,
            admin_bind=environ.get("ADMIN_BIND") or DEFAULT_BIND,
            database_url=environ.get("DATABASE_URL") or None,
            redis_url=environ.get("REDIS_URL") or None,
            data=CHECKOUT / (environ.get("RUNFEED_DATA") or DEFAULT_DATA),
            given=environ,
            processes=processes,
        )

    @property
    def proven(self) -> bool:
        """Tokens say who asks: some key is given."""
        return any(self.said(name) for name in (*ISSUER_KEYS, *MINTS))

    @property
    def mints(self) -> bool:
        """The API can make tokens."""
        return any(self.said(name) for name in MINTS)

    @property
    def open_to_all(self) -> bool:
        """Whoever reaches us from elsewhere is believed to be whoever they say."""
        return not (_is_loopback(self.bind) or self.proven)

    @property
    def shows_page(self) -> bool:
        """The live page is there. With a key the services have it only when they are asked to, and we ask."""
        return self.said("PAGE") != "off"

    def said(self, name: str) -> str:
        """What a variable says to the services, "" when it says nothing."""
        return self.given.get(name, "").strip()

    def check_bind(self) -> None:
        """LocalError where everybody who reaches us would be believed to be whoever they say, and nobody wants that.

        The services decide the same, which a test holds against this, but only once the databases stand.
        """
        if self.open_to_all and self.said("ALLOW_INSECURE_USERNAME") != "1":
            raise LocalError(
                f"BIND={self.bind} is reachable by others and no key is configured: set AUTH_HMAC_KEY,"
                " or ALLOW_INSECURE_USERNAME=1 to let everybody be whoever they say they are"
            )

    def host(self, port: str) -> str:
        """Where we reach the port of this name ourselves."""
        bind = self._bound(port)[1]
        return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(bind, bind)

    def _bound(self, port: str) -> tuple[str, str]:
        """The variable that says what the port of this name is bound to, and what it says."""
        return ("ADMIN_BIND", self.admin_bind) if port.endswith("_ADMIN_PORT") else ("BIND", self.bind)

    def url(self, port: str, path: str = "", scheme: str = "http", process: int = 0) -> str:
        """A URL of the service whose port has this name: url("API_PORT", "/readyz")."""
        host = self.host(port)
        host = f"[{host}]" if ":" in host else host
        return f"{scheme}://{host}:{self.port(port, process)}{path}"

    def port(self, name: str, process: int) -> int:
        """The port of this name that a process has: the public ones are everybody's."""
        return self.ports[name] + (ADMIN_STEP * process if name.endswith("_ADMIN_PORT") else 0)

    def check_ports(self) -> None:
        """LocalError if several processes cannot share a port, two ports are the same or one cannot be listened on."""
        if self.processes > 1 and (sys.platform != "linux" or not hasattr(socket, "SO_REUSEPORT")):
            raise LocalError("--processes must be 1 here: only Linux shares a port's connections out among processes")
        seen: dict[int, str] = {}
        for _, shown, port in self._all_ports():
            if port in seen:
                raise LocalError(f"{seen[port]} and {shown} are both {port}; set one of them to another port")
            seen[port] = shown
        for name, shown, port in self._all_ports():
            self._check_port(name, shown, port)

    def _all_ports(self) -> Iterator[tuple[str, str, int]]:
        """(name, name with what is added to it, port) of every port that is listened on."""
        for name in self.ports:
            for process in range(self.processes if name.endswith("_ADMIN_PORT") else 1):
                yield name, f"{name} + {ADMIN_STEP * process}" if process else name, self.port(name, process)

    def _check_port(self, name: str, shown: str, port: int) -> None:
        if port > 65535:
            raise LocalError(f"{shown} is {port}; it must be a port, 1 to 65535: set {name} to a lower one")
        what = f"port {port}" if shown == name else f"port {port} ({shown})"
        variable, bind = self._bound(name)
        family = socket.AF_INET6 if ":" in bind else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            # As the services do: a port that only has old connections in TIME_WAIT is free. But never shared, not even
            # with --processes: what listens there already is another stack.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((bind, port))
                probe.listen(1)
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    raise LocalError(
                        f"{what} is in use; stop what listens there, or set {name} to another port"
                    ) from None
                raise LocalError(f"cannot listen on {variable}={bind}, {shown}={port}: {error.strerror}") from None

    def for_services(self, database_url: str, redis_url: str, *, terminal: bool, bin_dir: Path) -> dict[str, str]:
        """The environment of the Procfile's commands: every name that the services read for where they are.

        See `for_process` for what is each one's own. `bin_dir` comes first in PATH, so that the Procfile's `python` is
        the one of `.venv`.
        """
        environ = dict(self.given)
        environ.pop("PORT", None)  # it would stand in for a port that has a name here
        environ.update({name: str(port) for name, port in self.ports.items()})
        environ.update(BIND=self.bind, ADMIN_BIND=self.admin_bind, DATABASE_URL=database_url, REDIS_URL=redis_url)
        if not self.said("PAGE"):
            environ["PAGE"] = "on"  # who tries it on a machine of their own wants to see it, with a key as well
        environ.setdefault("FANOUT_HISTORY_URL", self.url("API_PORT"))
        environ.setdefault("PYTHONUNBUFFERED", "1")  # a line is shown when it is said
        if terminal:
            environ.setdefault("LOG_FORMAT", "console")  # the services see our pipe, not the terminal
        environ["PATH"] = f"{bin_dir}{os.pathsep}{environ.get('PATH', os.defpath)}"
        return environ

    def for_process(self, environ: Mapping[str, str], process: int) -> dict[str, str]:
        """`environ`, made by `for_services`, for the process of this number: its own admin ports, shared public ones.

        One that is alone does not share: then a second stack on its ports is refused.
        """
        shared = {"API_REUSE_PORT": "1", "FANOUT_REUSE_PORT": "1"} if self.processes > 1 else {}
        return {**environ, **{name: str(self.port(name, process)) for name in self.ports}, **shared}


def _is_loopback(host: str) -> bool:
    """True for a host that only this machine reaches; an address with a zone counts as none."""
    try:
        address = ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        return host.lower() == "localhost"
    mapped = getattr(address, "ipv4_mapped", None) or address
    return "%" not in host and bool(mapped.is_loopback)


def _port(environ: Mapping[str, str], name: str, default: int) -> int:
    text = environ.get(name) or str(default)
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 65535:
        raise LocalError(f"{name} is {text!r}; it must be a port, 1 to 65535")
    return int(text)
