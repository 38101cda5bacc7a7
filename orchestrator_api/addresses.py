"""Hosts and the hub's URL, read strictly: what is told to clients holds nothing that was not looked at. Pure."""

import re
from ipaddress import IPv4Address, IPv6Address

# An underscore is in no host name, and in the names of containers.
LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
NAME = re.compile(rf"(?=.{{1,254}}\Z){LABEL}(?:\.{LABEL})*\.?")
NUMBER = re.compile(r"(?:.*\.)?(?:[0-9]+|0[xX][0-9A-Fa-f]*)\.?")  # whatever ends so is an IPv4 address to a browser
AUTHORITY = re.compile(r"(\[[^\]]*\]|[^:/\[\]]*)(?::([0-9]{1,5}))?")
WEBSOCKET = re.compile(rf"wss?://(?P<authority>{AUTHORITY.pattern})(?:/[!-~]*)?")


def is_host(text: str) -> bool:
    """True for a host name, an IPv4 address, or an IPv6 address in brackets."""
    try:
        if text.startswith("["):
            return text.endswith("]") and "%" not in text and bool(IPv6Address(text[1:-1]))
        if NUMBER.fullmatch(text):
            return bool(IPv4Address(text))
    except ValueError:
        return False
    return NAME.fullmatch(text) is not None


def host_of(authority: str) -> str | None:
    """Returns the host of `host` or `host:port`, as it was written; None for anything else."""
    match = AUTHORITY.fullmatch(authority)
    if match is None or not is_host(match[1]) or not (match[2] is None or 0 < int(match[2]) < 65536):
        return None
    return match[1]


def websocket_url(text: str) -> str:
    """Returns a WebSocket URL without its last slash. Raises ValueError(rule) for one that paths cannot be added to."""
    match = WEBSOCKET.fullmatch(text)
    if match is None or host_of(match["authority"]) is None or {"?", "#"} & set(text):
        raise ValueError("must be a URL like wss://hub.example.com, without credentials, a query and a fragment")
    return text.rstrip("/")
