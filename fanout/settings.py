"""Every setting of the hub: read once, checked at the start, frozen.

A field carries its variable, its default as the operator would write it, and its meaning with unit and reason;
`Settings.documented()` is the table in the README. auth_config.py reads what both services have.
"""

from __future__ import annotations

import math
import re
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields, replace
from typing import Any, Self
from urllib.parse import urlsplit

from .auth_config import DOCUMENTED, SECRETS, AuthConfig, AuthConfigError, in_force, masked
from .errors import SettingsError

HISTORY_KEY = "FANOUT_HISTORY_KEY"  # a secret
_ORIGIN = re.compile(r"https?://[^/?#@\s]+")


def _port(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text) or int(text) > 65535:
        raise ValueError("must be a port, 0 to 65535 (0: any free one)")
    return int(text)


def _seconds(least: float, most: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not least <= value <= most:
            raise ValueError(f"must be a number of seconds, {least:g} to {most:g}")
        return value

    return parse


def _number(least: int = 0) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,6}", text) or int(text) < least:
            raise ValueError(f"must be a whole number, {least} to 999999")
        return int(text)

    return parse


def _key(text: str) -> str:
    if not re.fullmatch(r"[!-~]{1,512}", text):
        raise ValueError("must be an API key, as `keys create` prints it")
    return text


def _hold(text: str) -> float:
    if not re.fullmatch(r"[0-9]{1,5}", text) or int(text) > 10_000:
        raise ValueError("must be a whole number of milliseconds, 0 to 10000")
    return int(text) / 1000


def _switch(text: str) -> bool:
    if text not in ("0", "1"):
        raise ValueError("must be 0 or 1")
    return text == "1"


def _bind(text: str) -> str:
    if not re.fullmatch(r"[0-9A-Za-z.:%_-]+", text):
        raise ValueError("must be a host name or an IP address")
    return text


def _redis_url(text: str) -> str:
    try:
        parts = urlsplit(text)
        valid = parts.scheme in ("redis", "rediss", "unix") and (parts.scheme != "unix" or bool(parts.path))
        _ = parts.port
    except ValueError:
        valid = False
    if not valid:
        raise ValueError("must be a redis://, rediss:// or unix:// URL")
    return text


def _http_url(text: str) -> str:
    try:
        parts = urlsplit(text)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname)
        _ = parts.port
    except ValueError:
        valid = False
    if not valid:
        raise ValueError("must be an http:// or https:// URL")
    return text.rstrip("/")


def _origins(text: str) -> tuple[str, ...]:
    origins = tuple(origin.strip() for origin in text.split(",") if origin.strip())
    if not origins or not all(_ORIGIN.fullmatch(origin) for origin in origins):
        raise ValueError("must be origins like https://app.example.com (no path), separated by commas")
    return origins


def _reuse_port(text: str) -> bool:
    if text not in ("0", "1"):
        raise ValueError("must be 0 or 1")
    # Others have the option and let all binds pass, and then one process gets every connection.
    if text == "1" and (sys.platform != "linux" or not hasattr(socket, "SO_REUSEPORT")):
        raise ValueError("must be 0 here: only Linux shares a port's connections out among processes")
    return text == "1"


def _one_of(*allowed: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text.lower() not in allowed:
            raise ValueError("must be one of " + ", ".join(allowed))
        return text.lower()

    return parse


def _setting(variable: str, default: str, parse: Callable[[str], Any], meaning: str, shown: bool = True) -> Any:
    """A dataclass field of `variable`; an empty `default` is None, any other passes through `parse`.

    shown: not False, as it is for what holds a secret and stays out of the repr.
    """
    value = parse(default) if default else None
    metadata = {"env": variable, "default": default, "parse": parse, "meaning": meaning}
    return field(default=value, metadata=metadata, repr=shown)


@dataclass(frozen=True, slots=True)
class Settings:
    """What the operator decided; see `documented()` for the meaning of each."""

    bind: str = _setting("BIND", "127.0.0.1", _bind, "address to listen on; `0.0.0.0` in a container")
    port: int = _setting("FANOUT_PORT", "8085", _port, "port of the sockets; `PORT` stands in when it is not set")
    admin_port: int = _setting(
        "FANOUT_ADMIN_PORT", "8086", _port, "port of health, readiness, metrics and stats; not for the public"
    )
    admin_bind: str = _setting(
        "ADMIN_BIND",
        "127.0.0.1",
        _bind,
        "address of the admin port, which asks nobody who they are: at most one of a private network, for who scrapes",
    )
    reuse_port: bool = _setting(
        "FANOUT_REUSE_PORT",
        "0",
        _reuse_port,
        "1: hubs that all have 1 share FANOUT_PORT, a process a core (Linux)."
        " 0: a second one is refused, which is how a forgotten one is noticed",
    )
    redis_url: str = _setting(
        "REDIS_URL",
        "redis://127.0.0.1:6379/0",
        _redis_url,
        "the Redis that frames are published on; `rediss://`: TLS",
        shown=False,
    )
    history_url: str | None = _setting(
        "FANOUT_HISTORY_URL",
        "",
        _http_url,
        "base URL of the API; unset: live only, ids are not judged, every frame is passed on as it came",
    )
    history_key: str | None = _setting(
        HISTORY_KEY,
        "",
        _key,
        "the hub's API key (`python -m orchestrator_api keys create --may hub`); required with FANOUT_HISTORY_URL when"
        " tokens say who asks",
        shown=False,
    )
    allowed_origins: tuple[str, ...] | None = _setting(
        "ALLOWED_ORIGINS",
        "",
        _origins,
        "origins whose pages may open sockets, exact, comma-separated; unset: any loopback origin."
        " Clients that send no Origin are not pages and are not judged by it",
    )
    compression: bool = _setting(
        "FANOUT_COMPRESSION",
        "0",
        _switch,
        "`1`: sockets that offer permessage-deflate get frames of 256 bytes or more compressed, once for all of them."
        " It halves what 1 KiB of structured JSON takes on the wire, for some 20 us of CPU an event and feed",
    )
    hold: float = _setting(
        "FANOUT_HOLD_MS",
        "50",
        _hold,
        "milliseconds that the next id may be missing; API processes publish in either order,"
        " and every such jump that was measured closed within 7",
    )
    ping_interval: float = _setting(
        "PING_INTERVAL", "25", _seconds(0.1, 3600), "seconds between pings; proxies drop idle sockets at 30 or 60"
    )
    ping_grace: float = _setting(
        "PING_GRACE",
        "10",
        _seconds(0.1, 3600),
        "seconds without a byte after a ping, then the socket is closed 4410; PING_INTERVAL at most",
    )
    drain: float = _setting(
        "FANOUT_DRAIN", "5", _seconds(0, 600), "seconds over which TERM spreads the closing of all sockets"
    )
    handshakes_per_s: int = _setting(
        "FANOUT_HANDSHAKES_PER_S",
        "200",
        _number(),
        "handshakes a second that are let in; more are 503. A drain tells each socket when to come back, so that the"
        " hub which takes over sees no more. 0: no limit. This and the next three hold with tokens or beyond loopback",
    )
    sockets_per_user: int = _setting(
        "FANOUT_SOCKETS_PER_USER",
        "20",
        _number(),
        "sockets and streams of one user, and of each token for some of their runs; more are 429. 0: no limit",
    )
    sockets_per_address: int = _setting(
        "FANOUT_SOCKETS_PER_ADDRESS",
        "100",
        _number(),
        "connections of one address (of IPv6 a /64); more are 429. Behind a proxy see TRUSTED_PROXIES. 0: no limit",
    )
    messages_per_min: int = _setting(
        "FANOUT_MESSAGES_PER_MIN",
        "100",
        _number(),
        "messages that a socket may send within a minute; one more closes it 1008. Nothing but a token needs to be"
        " sent. 0: no limit",
    )
    max_sockets: int = _setting(
        "FANOUT_MAX_SOCKETS",
        "20000",
        _number(1),
        "connections of this process; more are 503. Fewer where the process may not open as many"
        " files, which is then in the log",
    )
    auth_timeout: float = _setting(
        "FANOUT_AUTH_TIMEOUT",
        "5",
        _seconds(0.1, 600),
        "seconds for the first message of a socket that came without a token, then it is closed 4401",
    )
    auth_grace: float = _setting(
        "FANOUT_AUTH_GRACE",
        "25",
        _seconds(0, 3600),
        "seconds for a new token when a socket's has expired, then it is closed 4401; a client asks its own server",
    )
    head_timeout: float = _setting(
        "FANOUT_HEAD_TIMEOUT", "10", _seconds(0.1, 600), "seconds a request's head may take, then 408"
    )
    close_timeout: float = _setting(
        "FANOUT_CLOSE_TIMEOUT",
        "5",
        _seconds(0.1, 600),
        "seconds a closed peer gets for its last bytes, then it is cut",
    )
    log_level: str = _setting(
        "LOG_LEVEL", "info", _one_of("debug", "info", "warning", "error"), "what is logged: debug, info, warning, error"
    )
    log_format: str | None = _setting(
        "LOG_FORMAT", "", _one_of("json", "console"), "`json` or `console`; unset: console on a terminal, else json"
    )
    auth: AuthConfig = field(default_factory=AuthConfig)  # its variables are documented where it is read

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Self:
        """The settings of `env`; an empty variable counts as not set.

        Raises:
            SettingsError: a value breaks its rule.
        """
        values: dict[str, Any] = {}
        for item in _own(cls):
            variable = _variable(item, env)
            text = env.get(variable, "").strip()
            if not text:
                continue
            try:
                values[item.name] = item.metadata["parse"](text)
            except ValueError as rule:
                shown = None if variable == HISTORY_KEY else masked(text)
                raise SettingsError(variable, str(rule), shown) from None
        settings = cls(**values)
        if settings.port and settings.port == settings.admin_port:
            raise SettingsError("FANOUT_ADMIN_PORT", "must differ from FANOUT_PORT", str(settings.admin_port))
        if settings.ping_grace > settings.ping_interval:
            most = f"must not be longer than PING_INTERVAL ({settings.ping_interval:g}): the next ping would come first"
            raise SettingsError("PING_GRACE", most, f"{settings.ping_grace:g}")
        try:
            settings = replace(settings, auth=AuthConfig.from_env(env, settings.bind))
        except AuthConfigError as error:
            raise SettingsError(error.variable, error.rule) from None  # no value: it may be a secret
        if settings.history_url is not None and settings.history_key is None and not settings.auth.insecure:
            remedy = "the API wants to know who asks: `python -m orchestrator_api keys create --may hub` makes a key"
            raise SettingsError(HISTORY_KEY, f"must be set with FANOUT_HISTORY_URL where tokens say who asks; {remedy}")
        return settings

    def in_force(self, env: Mapping[str, str]) -> list[str]:
        """A line on every setting that was read of `env`, without what is secret, and one on who asks."""
        given = {item.metadata["env"]: env.get(_variable(item, env), "") for item in _own(type(self))}
        derived = {
            "ALLOWED_ORIGINS": "any loopback origin",
            "LOG_FORMAT": "console on a terminal, else json",
            **self.auth.derived(),
        }
        lines = in_force((*self.documented(), *DOCUMENTED), {**env, **given}, derived, SECRETS | {HISTORY_KEY})
        return [*lines, f"who asks: {self.auth.who_asks(*([] if self.history_url is None else ['tickets']))}"]

    @classmethod
    def unknown(cls, env: Mapping[str, str]) -> list[str]:
        """The names in `env` that begin with FANOUT_ and mean nothing: most likely a slip of the pen."""
        known = {item.metadata["env"] for item in _own(cls)}
        return sorted(name for name in env if name.startswith("FANOUT_") and name not in known)

    @classmethod
    def documented(cls) -> list[tuple[str, str, str]]:
        """(variable, default, meaning) of each setting, in order; the default is "" where there is none."""
        return [(item.metadata["env"], item.metadata["default"], item.metadata["meaning"]) for item in _own(cls)]


def _variable(item: Field[Any], env: Mapping[str, str]) -> str:
    """Where a setting is read from: PORT is what platforms give a process that has one port; ours is the sockets'."""
    own = str(item.metadata["env"])
    return "PORT" if own == "FANOUT_PORT" and not env.get(own) else own


def _own(settings: type[Settings]) -> list[Field[Any]]:
    """The fields that are one variable each."""
    return [item for item in fields(settings) if item.metadata]
