"""Everything that can be set, read once from the environment. auth_config.py reads what both services have."""

import re
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, replace
from typing import Any, Self
from urllib.parse import urlsplit

from orchestrator_api.addresses import websocket_url
from orchestrator_api.auth_config import DOCUMENTED, SECRETS, AuthConfig, AuthConfigError, in_force, masked
from orchestrator_api.errors import StartError

HOLD_PASSWORDS = ("DATABASE_URL", "REDIS_URL")  # not to be seen in the repr


def _setting(env: str, default: Any, meaning: str, parse: Callable[[str], Any] = str, shown: str | None = None) -> Any:
    """A field of Settings. meaning: unit and reason. parse: raises ValueError(rule). shown: the default in words."""
    metadata = {"env": env, "meaning": meaning, "parse": parse, "shown": shown}
    safe = env not in HOLD_PASSWORDS
    return field(default=default, metadata=metadata, repr=safe)


def _port(text: str) -> int:
    if not re.fullmatch(r"\d{1,5}", text, re.ASCII) or int(text) > 65535:
        raise ValueError("must be a port, 0 to 65535 (0: any free one)")
    return int(text)


def _known_port(text: str) -> int:
    if not _port(text):
        raise ValueError("must be a port, 1 to 65535: another process opens it, and clients are told")
    return int(text)


def _reuse_port(text: str) -> bool:
    if text not in ("0", "1"):
        raise ValueError("must be 0 or 1")
    # Others have the option and let all binds pass, and then one process gets every connection.
    if text == "1" and (sys.platform != "linux" or not hasattr(socket, "SO_REUSEPORT")):
        raise ValueError("must be 0 here: only Linux shares a port's connections out among processes")
    return text == "1"


def _url(*schemes: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if urlsplit(text).scheme not in schemes:
            raise ValueError(f"must be a URL that begins with {' or '.join(f'{scheme}://' for scheme in schemes)}")
        return text

    return parse


def _one_of(*choices: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}")
        return text

    return parse


def _limit(least: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not re.fullmatch(r"\d{1,7}", text, re.ASCII) or int(text) < least:
            raise ValueError(f"must be a whole number, {least} to 9999999")
        return int(text)

    return parse


def _switch(text: str) -> bool:
    if text not in ("on", "off"):
        raise ValueError("must be on or off")
    return text == "on"


def _origins(text: str) -> tuple[str, ...]:
    origins = tuple(origin.strip() for origin in text.split(",") if origin.strip())
    for origin in origins:
        if not re.fullmatch(r"https?://[^/\s?#]+", origin):
            raise ValueError(f"must be origins like https://app.example.com, comma-separated; {origin!r} is none")
    return origins


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The service's settings. Every default has a unit and a reason; `from_env` names what is wrong."""

    database_url: str = _setting(
        "DATABASE_URL",
        MISSING,
        "PostgreSQL 15 or later, the primary: replicas are never used",
        _url("postgresql", "postgres"),
        "required",
    )
    redis_url: str = _setting(
        "REDIS_URL",
        "redis://127.0.0.1:6379/0",
        "Redis or Valkey; only a hint goes through it, so it may be away",
        _url("redis", "rediss", "unix"),
    )
    bind: str = _setting("BIND", "127.0.0.1", "address to listen on; 0.0.0.0 in a container image")
    port: int = _setting("API_PORT", 8081, "the API's port; PORT stands in for it", _port)
    admin_port: int = _setting("API_ADMIN_PORT", 8082, "port of /metrics, /healthz, /readyz: not for the public", _port)
    admin_bind: str = _setting(
        "ADMIN_BIND",
        "127.0.0.1",
        "address of the admin port, which asks nobody who they are: at most one of a private network, for who scrapes",
    )
    reuse_port: bool = _setting(
        "API_REUSE_PORT",
        False,
        "1: API processes that all have 1 share API_PORT, a process a core (Linux)."
        " 0: a second one is refused, which is how a forgotten one is noticed",
        _reuse_port,
        "0",
    )
    max_connections: int = _setting(
        "API_MAX_CONNECTIONS",
        10_000,
        "connections of this process; more are 503. Fewer where it may not open as many files: see the log",
        _limit(1),
    )
    connections_per_address: int = _setting(
        "API_CONNECTIONS_PER_ADDRESS",
        1_000,
        "connections of one address (of IPv6 a /64), with tokens or beyond loopback; more are 503. A fleet of workers"
        " may share one. Those of TRUSTED_PROXIES are not counted. 0: no limit",
        _limit(0),
    )
    allowed_origins: tuple[str, ...] | None = _setting(
        "ALLOWED_ORIGINS",
        None,
        "exact web origins, comma-separated, that may call from a browser",
        _origins,
        "any loopback origin, and none",
    )
    hub_url: str | None = _setting(
        "PUBLIC_HUB_URL",
        None,
        "where clients reach the hub, a ws:// or wss:// URL: to be set when it is behind a proxy or has another host",
        websocket_url,
        "ws:// or wss://, the host that a client asks for, FANOUT_PORT",
    )
    hub_port: int = _setting(
        "FANOUT_PORT", 8085, "the hub's port: what clients are told when PUBLIC_HUB_URL is unset", _known_port
    )
    page: bool | None = _setting(
        "PAGE",
        None,
        "on: the live page at /, so that whoever opens the address sees something; with a key it asks for a token."
        " off: the API alone, and a few words for a browser",
        _switch,
        "on without a key for tokens, else off",
    )
    log_level: str = _setting(
        "LOG_LEVEL", "info", "debug, info, warning or error", _one_of("debug", "info", "warning", "error")
    )
    log_format: str | None = _setting(
        "LOG_FORMAT", None, "json or console", _one_of("json", "console"), "console on a terminal, else json"
    )
    auth: AuthConfig = field(default_factory=AuthConfig)  # its variables are documented where it is read

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Self:
        """Reads the settings. Raises StartError with one line that names the variable, the rule and the value."""
        env = _with_port(env)
        values: dict[str, Any] = {}
        for each in _own(cls):
            name = each.metadata["env"]
            text = env.get(name, "").strip()
            if not text:
                if each.default is MISSING:
                    raise StartError(f"{name} is not set: {each.metadata['meaning']}")
                continue
            try:
                values[each.name] = each.metadata["parse"](text)
            except ValueError as error:
                shown = masked(text)
                raise StartError(f"{name} {error}, not {shown!r}") from None
        settings = cls(**values)
        try:
            return replace(settings, auth=AuthConfig.from_env(env, settings.bind))
        except AuthConfigError as error:
            raise StartError(str(error)) from None  # without the value: it may be a secret

    def in_force(self, env: Mapping[str, str]) -> list[str]:
        """Returns a line on every setting that was read of `env`, without what is secret, and one on who asks."""
        derived = {"PAGE": "on" if self.shows_page else "off", **self.auth.derived()}
        lines = in_force((*self.documented(), *DOCUMENTED), _with_port(env), derived, SECRETS)
        return [*lines, f"who asks: {self.auth.who_asks('API keys')}"]

    @property
    def shows_page(self) -> bool:
        """Whether the live page is at /. By default not where there is a key: a public API need not show a page."""
        return self.auth.insecure if self.page is None else self.page

    @classmethod
    def documented(cls) -> list[tuple[str, str, str]]:
        """Returns (variable, default, meaning) of every setting, for the README's table."""
        return [
            (each.metadata["env"], each.metadata["shown"] or str(each.default), each.metadata["meaning"])
            for each in _own(cls)
        ]


def _with_port(env: Mapping[str, str]) -> Mapping[str, str]:
    """Returns the variables with PORT, which platforms give a process that has one port, in place of the API's."""
    return {"API_PORT": env["PORT"], **env} if env.get("PORT") else env


def _own(settings: type[Settings]) -> list[Field[Any]]:
    """Returns the fields that are one variable each."""
    return [each for each in fields(settings) if each.metadata]
