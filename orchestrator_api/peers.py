"""Who is at the other end, as far as the network can say: hosts, addresses, and the proxies that are believed. Pure.

This file stands twice, byte for byte, in fanout/ and orchestrator_api/: see tokens.py. A test compares them.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, Self

# An underscore is in no host name, and in the names of containers.
LABEL: Final = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
NAME: Final = re.compile(rf"(?=.{{1,254}}\Z){LABEL}(?:\.{LABEL})*\.?")
# Whatever ends so is an IPv4 address to a browser.
NUMBER: Final = re.compile(r"(?:.*\.)?(?:[0-9]+|0[xX][0-9A-Fa-f]*)\.?")
AUTHORITY: Final = re.compile(r"(\[[^\]]*\]|[^:/\[\]]*)(?::([0-9]{1,5}))?")
MOST_HOPS: Final = 32  # addresses of an X-Forwarded-For that are read, from the right
_FORWARDED: Final = re.compile(r"\[([^\[\]]+)\](?::[0-9]{1,5})?|([0-9.]+):[0-9]{1,5}|(.+)", re.DOTALL)

Address = IPv4Address | IPv6Address


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


def is_loopback(host: str) -> bool:
    """True for a host that only this machine reaches: 127.0.0.0/8, ::1 (in brackets or not), `localhost`."""
    address = _address(host.removeprefix("[").removesuffix("]"))
    return host.lower() == "localhost" if address is None else address.is_loopback


def _address(text: str) -> Address | None:
    """Returns an address, IPv4 as such even when it was written as IPv6; None for anything else.

    One with a zone (`fe80::1%eth0`) is none: behind the % stands whatever its author likes.
    """
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if "%" in text:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


def _one_writing(host: str) -> str:
    """Returns the writing that hosts are compared in: small letters, no last dot, the short form of an address."""
    if host.startswith("["):
        return str(_address(host[1:-1]) or host)
    return host.lower().removesuffix(".")


def _local(host: str) -> bool:
    """True for the names and addresses of this machine. A browser asks nobody for `*.localhost`."""
    return is_loopback(host) or host.endswith(".localhost")


def read_hosts(text: str) -> frozenset[str]:
    """Returns the names and addresses between the commas, in the writing that is compared. Raises ValueError(rule)."""
    hosts = set()
    for entry in [entry.strip() for entry in text.split(",")]:
        host = f"[{entry}]" if ":" in entry and not entry.startswith("[") else entry
        if not is_host(host):
            raise ValueError(f"must be host names and addresses without ports, comma-separated; {entry!r} is none")
        hosts.add(_one_writing(host))
    return frozenset(hosts)


@dataclass(frozen=True, slots=True)
class Hosts:
    """Which `Host` a request may name. names: see read_hosts, None: not configured. proven: tokens say who asks.

    A page of another site can have its own name resolve to our address (DNS rebinding), and is then of the same origin
    as we are. It cannot do that with a name that is not public.
    """

    names: frozenset[str] | None = None
    proven: bool = False

    def allow(self, values: Sequence[str]) -> bool:
        """True when a request with these `Host` headers may be answered. Two are never: proxies choose differently."""
        if len(values) > 1:
            return False
        if self.names is None and self.proven:
            return True
        written = host_of(values[0]) if values else None
        if written is None:
            return False
        host = _one_writing(written)
        if self.names is not None:
            return host in self.names or _local(host)
        return _local(host) or "." not in host or _address(host) is not None


@dataclass(frozen=True, slots=True)
class Proxies:
    """The peers whose X-Forwarded-* headers are believed. Everybody else could write there what they like."""

    networks: tuple[IPv4Network | IPv6Network, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads addresses and networks between commas. Raises ValueError(rule)."""
        networks = []
        for entry in (entry.strip() for entry in text.split(",") if entry.strip()):
            try:
                network = ip_network(entry)
            except ValueError:
                rule = "must be addresses and networks like 10.0.0.0/8, comma-separated"
                raise ValueError(f"{rule}; {entry!r} is none") from None
            if network.prefixlen == 0:
                raise ValueError(f"must not be everybody ({entry}): each client could say that it is another")
            networks.append(network)
        return cls(tuple(networks))

    def trust(self, peer: str) -> bool:
        """True for the address of a proxy."""
        address = _address(peer)
        return address is not None and self._hold(address)

    def _hold(self, address: Address) -> bool:
        return any(address in network for network in self.networks)

    def client_address(self, peer: str, forwarded_for: Iterable[str]) -> str:
        """Returns the address of the client. peer: of the connection. forwarded_for: X-Forwarded-For, as it came.

        That is the rightmost address that is no trusted proxy: what stands left of it was written by a stranger. Where
        a proxy wrote something else than an address, the proxy itself is the last that is known.
        """
        address = _address(peer)
        if address is None or not self._hold(address):
            return peer if address is None else str(address)
        hops = ",".join(forwarded_for).split(",")
        for hop in reversed(hops[-MOST_HOPS:]):
            match = _FORWARDED.fullmatch(hop.strip())
            found = _address(match[1] or match[2] or match[3]) if match else None
            if found is None:
                break
            address = found
            if not self._hold(found):
                break
        return str(address)

    def is_https(self, peer: str, forwarded_proto: Iterable[str]) -> bool:
        """True when a trusted proxy says that the client came by TLS. forwarded_proto: X-Forwarded-Proto, as it came.

        Of several proxies the first one saw the client; a client that lies to it lies about itself.
        """
        first = ",".join(forwarded_proto).split(",")[0].strip().lower()
        return first in ("https", "wss") and self.trust(peer)


def counted_as(address: str) -> str:
    """Returns what an address counts as where sockets of one address are limited: a household has 2**64 of IPv6."""
    found = _address(address)
    return str(ip_network((found, 64), strict=False)) if isinstance(found, IPv6Address) else str(found or address)
