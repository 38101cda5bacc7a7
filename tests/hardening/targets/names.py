"""What stands in a query or a header: names, cursors, hosts, the addresses that proxies name."""

# ruff: noqa: PT017 - these are no tests; what a refusal says is part of what must hold

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import quote_from_bytes

from hypothesis import strategies as st

from fanout import admission, peers, wire
from fanout.errors import Refusal
from tests.hardening.mutations import lines_of, mutated
from tests.hardening.targets import Target

QUERIES = (
    b"username=alice", b"username=a%40b.c&run_id=r1&run_id=r:2&after=12&epoch=6b1c-1", b"username=a%2Bb&after=0",
    b"username=alice&ticket=rft_abc&named=1", b"after=9999999999999999&username=a|b",
)  # fmt: skip
PARTS = (
    b"&username=", b"&run_id=", b"&after=", b"&epoch=", b"&token=", b"&named=1", b"%u0061", b"%E2%80%AE", b"%C0%AF",
    b"&run_id=r" * 200, b"&a" * 400, b"%2500", b";", b"#",
)  # fmt: skip
HOSTS = (
    b"hub.example.com", b"hub.example.com:8085", b"127.0.0.1:80", b"[::1]:8085", b"localhost", b"LOCALHOST.", b"hub",
    b"[::ffff:127.0.0.1]", b"0x7f.1", b"2130706433", b"a.localhost:1", b"xn--bcher-kva.example",
)  # fmt: skip
HOPS = (
    b"203.0.113.9", b"203.0.113.9, 10.0.0.7", b"[2001:db8::1]:99, 10.1.2.3", b"unknown, 203.0.113.9:80", b"_hidden",
    b"::ffff:10.0.0.1", b"10.0.0.1, 10.0.0.2, 10.0.0.3", b"for=1.2.3.4",
)  # fmt: skip
HOSTILE_HOPS = (
    b", ",
    b",",
    b"127.0.0.1",
    b"10.0.0.9",
    b"::1",
    b"%eth0",
    b"[",
    b"]",
    b":",
    b"1.2.3.4" * 30,
    b",10.0.0.1" * 40,
)
PROXIES = peers.Proxies.parse("10.0.0.0/8")
RULES = (
    peers.Hosts(), peers.Hosts(proven=True), peers.Hosts(peers.read_hosts("hub.example.com,10.0.0.1")),
)  # fmt: skip


def check_query(query: str) -> None:
    """A query is refused with 400 or admits to names that are valid; nothing in between."""
    try:
        admitted = admission.admit(query)
    except Refusal as refusal:
        assert refusal.status == 400
        assert refusal.detail.isprintable()
        return
    assert wire.USERNAME.fullmatch(admitted.username)
    assert all(map(wire.RUN_ID.fullmatch, admitted.runs or ()))
    assert admitted.after is None or 0 <= admitted.after < 10**16


def check_host(text: str) -> None:
    """Every rule answers; what is allowed is a host, and no public name is unless it was configured or proven."""
    for rule in RULES:
        allowed = rule.allow([text])
        assert not rule.allow([text, text]), "two are never"
        if allowed and not rule.proven:
            host = peers.host_of(text)
            assert host is not None
            name = host.lower().removesuffix(".")
            local = "." not in name or name.endswith(".localhost") or peers.is_loopback(host)
            known = rule.names is not None and name in {"hub.example.com", "10.0.0.1"}
            plain = rule.names is None and (host.startswith("[") or name.replace(".", "").isdigit())
            assert local or known or plain, host


def check_forwarded(given: tuple[str, str]) -> None:
    """Only a trusted proxy's word counts, and what stands left of its first untrusted address changes nothing."""
    written, more = given
    assert PROXIES.client_address("203.0.113.1", [written]) == "203.0.113.1"
    assert not PROXIES.is_https("203.0.113.1", [written])
    client = PROXIES.client_address("10.0.0.1", [written])
    assert ip_address(client)
    peers.counted_as(client)
    if not PROXIES.trust(client):
        assert PROXIES.client_address("10.0.0.1", [f"{more}, 203.0.113.7, 10.0.0.4"]) == "203.0.113.7"
        assert PROXIES.client_address("10.0.0.1", [more, written]) == client
    PROXIES.is_https("10.0.0.1", [written, more])


def check_cursor(text: str) -> None:
    """A cursor is a number that JSON readers of every language keep, or refused."""
    try:
        after = admission.admit(f"username=a&after={quote_from_bytes(text.encode())}").after
    except Refusal as refusal:
        assert (refusal.status, refusal.field) == (400, "after")
        return
    assert after is not None
    assert str(after) == text


def latin(data: bytes) -> str:
    """As a header reaches us."""
    return data.decode("latin-1")


HOPS_TEXT = lines_of(HOPS, HOSTILE_HOPS).map(latin)
CURSORS = mutated((b"0", b"12", b"9007199254740991", b"9999999999999999"), (b"00", b"\xd9\xa1", b"\xef\xbc\x91"), 3)
TARGETS = [
    Target("query", lines_of(QUERIES, PARTS).map(latin), check_query),
    Target("cursor", CURSORS.map(lambda data: data.decode(errors="replace")), check_cursor),
    Target("Host", lines_of(HOSTS, (b".example.com", b".evil.example", b":", b"[", b"]", b"@")).map(latin), check_host),
    Target("X-Forwarded-For", st.tuples(HOPS_TEXT, HOPS_TEXT), check_forwarded),
]
