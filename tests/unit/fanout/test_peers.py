"""fanout/peers.py: whose requests are answered, and who is at the other end. orchestrator_api has the same file."""

import pytest

from fanout.peers import MOST_HOPS, Hosts, Proxies, counted_as, host_of, is_loopback, read_hosts

HOSTS = (
    "localhost", "Example.COM", "hub.example.com", "hub.example.com.", "xn--bcher-kva.example", "api_1", "a", "1a.b",
    "9to5", "127.0.0.1", "0.0.0.0", "[::1]", "[2001:DB8::7]", "[::ffff:10.0.0.1]", "a." * 126 + "a",
)  # fmt: skip
ODD = (
    "", " ", "a b", " a", "a ", "a\n", "a\r\nb", "a/b", "a?b", "a#b", "a\\b", "a@b", "user:x@a", "a:b", "a,b", "*",
    "a%2e", "-a", "a-", ".a", "a..b", ".", "b\xfccher", "\uff11", "a" * 64, "a." * 127 + "a", "<a>", "a;b", "a'", 'a"',
    "127.1", "1", "127.0.0.256", "127.0.0.01", "127.0.0.1.", "0x7f.1", "a.0x7f", "1.2.3.4.5", "a.1",
    "::1", "[::1", "::1]", "[]", "[::1]a", "[127.0.0.1]", "[fe80::1%eth0]", "[[::1]]", "[:::1]",
)  # fmt: skip


@pytest.mark.parametrize("host", HOSTS)
def test_host(host: str) -> None:
    """A name, an IPv4 address and an IPv6 address in brackets are returned as they came, with a port or without."""
    assert [host_of(host), host_of(f"{host}:80"), host_of(f"{host}:65535")] == [host] * 3


@pytest.mark.parametrize("text", ODD)
def test_odd_host(text: str) -> None:
    """Anything that is odd is no host: no other writing of an address, nothing that a URL could be broken with."""
    assert host_of(text) is None
    assert host_of(f"{text}:80") is None


@pytest.mark.parametrize(
    "port", [":", ":0", ":00000", ":65536", ":99999", ":123456", ":x", ":-1", ":80:80", ": 80", ":\uff18"]
)
def test_odd_port(port: str) -> None:
    """A port is a number from 1 to 65535."""
    assert host_of(f"localhost{port}") is None


LOOPBACK = ("127.0.0.1", "127.0.0.2", "127.255.255.254", "::1", "[::1]", "localhost", "LocalHost", "::ffff:127.0.0.1",
            "0:0:0:0:0:0:0:1", "[0:0::1]")  # fmt: skip
BEYOND = ("0.0.0.0", "::", "[::]", "10.0.0.1", "126.255.255.255", "128.0.0.1", "::2", "::ffff:10.0.0.1", "",
          "example.com", "localhost.evil.com", "evil.localhost", "127.1", "2130706433", "0x7f000001",
          "127.0.0.1.evil.com", "localhost:80", "*", " 127.0.0.1", "127.0.0.01")  # fmt: skip
PUBLIC = ("evil.com", "localhost.evil.com", "127.0.0.1.evil.com", "127.0.0.1.nip.io", "evil.com.", "a.b",
          "localhost.com", "evillocalhost.com", "xn--bcher-kva.example", "LOCALHOST.EVIL.COM")  # fmt: skip
BROKEN = ("", " ", "local host", "localhost ", "localhost\n", "localhost\0", "user@localhost", "localhost/",
          "localhost#", "localhost?", "localhost\\@evil.com", "localhost,evil.com", "http://localhost", "*", "-a",
          "a..b", ".", ".localhost", "[::1", "::1", "[::1]]", "[evil]", "[::1%lo]", "127.1", "2130706433", "0x7f000001",
          "127.0.0.256", "\u2024a", "localhost:", "localhost:0", "localhost:65536", "localhost:a", "localhost:80:80",
          "b\xfccher", "loc\u0430lhost", "a" * 64)  # fmt: skip


@pytest.mark.parametrize("host", LOOPBACK)
def test_loopback(host: str) -> None:
    """All of 127.0.0.0/8, ::1 in every writing and localhost are reached from this machine only."""
    assert is_loopback(host)


@pytest.mark.parametrize("host", BEYOND)
def test_beyond_loopback(host: str) -> None:
    """Everything else may be reached by others, also what only looks like loopback, or is read so by some programs."""
    assert not is_loopback(host)


INSECURE = Hosts()
LISTED = Hosts(read_hosts("app.example.com, 192.0.2.7,[2001:DB8::7] ,Other.Example."))
JWT = Hosts(proven=True)
LISTED_JWT = Hosts(LISTED.names, proven=True)


@pytest.mark.parametrize("port", ["", ":80", ":65535"])
@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST", "localhost.", "app.localhost", "a.b.localhost.", "127.0.0.1", "127.9.9.9",
             "[::1]", "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]"],
)  # fmt: skip
def test_loopback_host(host: str, port: str) -> None:
    """This machine's own names and addresses are always allowed, with a port or without."""
    assert all(hosts.allow([host + port]) for hosts in (INSECURE, LISTED, JWT, LISTED_JWT))


@pytest.mark.parametrize("port", ["", ":8085"])
@pytest.mark.parametrize(
    "host", ["api", "API", "fanout_1", "192.168.1.7", "10.0.0.1", "[2001:db8::1]", "[fe80::1]", "api."]
)
def test_names_that_are_not_public(host: str, port: str) -> None:
    """Without a key addresses and names without a dot are allowed, unless the hosts are listed."""
    assert INSECURE.allow([host + port])
    assert not LISTED.allow([host + port])
    assert not LISTED_JWT.allow([host + port])


@pytest.mark.parametrize("port", ["", ":8085"])
@pytest.mark.parametrize("host", PUBLIC)
def test_public_name(host: str, port: str) -> None:
    """A public name, which a stranger can point here, is refused without a key; it is nobody's way in with one."""
    assert not INSECURE.allow([host + port])
    assert not LISTED.allow([host + port])
    assert not LISTED_JWT.allow([host + port])
    assert JWT.allow([host + port])


@pytest.mark.parametrize(
    "host",
    ["app.example.com", "APP.example.COM:443", "app.example.com.", "192.0.2.7:80", "[2001:db8::7]",
     "[2001:db8:0:0:0:0:0:7]:1", "other.example", "other.example.:80", "[::ffff:192.0.2.7]"],
)  # fmt: skip
def test_listed_host(host: str) -> None:
    """A listed host is allowed in any case, with any port, in every writing of its address, with a last dot or not."""
    assert LISTED.allow([host])
    assert LISTED_JWT.allow([host])


@pytest.mark.parametrize(
    "host", ["example.com", "xapp.example.com", "app.example.com.evil.io", "app.example.co", "app-example.com",
             "192.0.2.8", "[2001:db8::8]", "a.app.example.com", "app.example.com.."],
)  # fmt: skip
def test_not_quite_listed(host: str) -> None:
    """What resembles a listed host is none."""
    assert not LISTED.allow([host])


@pytest.mark.parametrize("host", BROKEN)
def test_broken_host(host: str) -> None:
    """What is no host is refused wherever hosts are judged."""
    assert not INSECURE.allow([host])
    assert not LISTED.allow([host])
    assert not LISTED_JWT.allow([host])


def test_number_of_hosts() -> None:
    """Two Host headers are refused in every mode, and none where hosts are judged."""
    every = (INSECURE, LISTED, JWT, LISTED_JWT)

    assert [hosts.allow(["localhost", "localhost"]) for hosts in every] == [False] * 4
    assert [hosts.allow([]) for hosts in every] == [False, False, True, False]


@pytest.mark.parametrize(
    "text",
    [",", "a,,b", "a b", "https://a", "a:80", "[::1]:80", "*", "*.example.com", "a/b", "user@a", "b\xfccher", "127.1"],
)
def test_bad_hosts(text: str) -> None:
    """A list of hosts that holds anything else is refused with its guilty part."""
    with pytest.raises(
        ValueError, match=r"^must be host names and addresses without ports, comma-separated; .* is none$"
    ):
        read_hosts(text)


def test_hosts() -> None:
    """Hosts are read in one writing."""
    assert read_hosts("A.example, [::1],::2,10.0.0.1, b.") == {"a.example", "::1", "::2", "10.0.0.1", "b"}


TRUSTED = Proxies.parse("10.0.0.0/8, 192.0.2.1,2001:db8:1::/48")


def test_no_proxy() -> None:
    """Without a trusted proxy nothing that is forwarded is believed."""
    for proxies, peer in ((Proxies(), "10.0.0.1"), (TRUSTED, "198.51.100.1"), (TRUSTED, "2001:db8:2::1")):
        assert proxies.client_address(peer, ["203.0.113.9"]) == peer
        assert not proxies.is_https(peer, ["https"])


@pytest.mark.parametrize(
    ("values", "address"),
    [
        ([], "10.0.0.1"),
        ([""], "10.0.0.1"),
        (["203.0.113.9"], "203.0.113.9"),
        (["1.1.1.1, 203.0.113.9"], "203.0.113.9"),
        (["1.1.1.1,2.2.2.2, 203.0.113.9 , 10.2.3.4,192.0.2.1"], "203.0.113.9"),
        (["1.1.1.1", "203.0.113.9", "10.2.3.4"], "203.0.113.9"),
        (["10.9.9.9, 203.0.113.9"], "203.0.113.9"),
        (["10.9.9.9, 10.8.8.8"], "10.9.9.9"),
        (["203.0.113.9:4711"], "203.0.113.9"),
        (["[2001:db8::9]:4711"], "2001:db8::9"),
        (["[2001:db8::9]"], "2001:db8::9"),
        (["2001:DB8:0:0::9"], "2001:db8::9"),
        (["2001:db8:1::5, 203.0.113.9, 2001:db8:1::6"], "203.0.113.9"),
        (["::ffff:203.0.113.9"], "203.0.113.9"),
        (["203.0.113.9, ::ffff:10.1.1.1"], "203.0.113.9"),
        (["1.1.1.1, garbage"], "10.0.0.1"),
        (["1.1.1.1, unknown, 10.3.3.3"], "10.3.3.3"),
        (["1.1.1.1,"], "10.0.0.1"),
        (["1.1.1.1, _hidden"], "10.0.0.1"),
        (['1.1.1.1, "203.0.113.9"'], "10.0.0.1"),
        (["203.0.113.9\r\nX: y"], "10.0.0.1"),
        (["1.1.1.1, 203.0.113.999"], "10.0.0.1"),
        (["1.1.1.1, \ud800"], "10.0.0.1"),
        (["1.1.1.1, [203.0.113.9"], "10.0.0.1"),
        (["1.1.1.1, fe80::1%\r\nX: y"], "10.0.0.1"),
        (["1.1.1.1, [2001:db8::1%25a]:80"], "10.0.0.1"),
        (["9" * 10_000], "10.0.0.1"),
        (["203.0.113.9" + ", 10.0.0.2" * (MOST_HOPS - 1)], "203.0.113.9"),
        (["203.0.113.9" + ", 10.0.0.2" * 2000], "10.0.0.2"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_client_address(values: list[str], address: str) -> None:
    """The client is the rightmost address that is no trusted proxy; what stands left of it changes nothing."""
    assert TRUSTED.client_address("10.0.0.1", values) == address
    assert TRUSTED.client_address("::ffff:10.0.0.1", values) == address


def test_peer_of_no_address() -> None:
    """A peer that has no address, as on a Unix socket, is taken as it is."""
    assert TRUSTED.client_address("", ["203.0.113.9"]) == ""
    assert Proxies().client_address("::FFFF:203.0.113.9", []) == "203.0.113.9"


@pytest.mark.parametrize(
    ("values", "secure"),
    [(["https"], True), (["HTTPS"], True), (["wss"], True), (["https, http"], True), (["https", "http"], True),
     ([], False), (["http"], False), (["http, https"], False), ([""], False), (["httpss"], False),
     (["https://"], False)],
)  # fmt: skip
def test_https(values: list[str], secure: bool) -> None:
    """A trusted proxy says whether the client came by TLS; the first of several saw the client."""
    assert TRUSTED.is_https("192.0.2.1", values) is secure
    assert TRUSTED.is_https("2001:db8:1::1", values) is secure


@pytest.mark.parametrize(
    "text", ["a", "10.0.0.1/33", "10.0.0.1/8", "10.0.0", "proxy.example", "10.0.0.1-9", "*", "[::1]"]
)
def test_bad_proxies(text: str) -> None:
    """A list of proxies that holds anything else is refused with its guilty part."""
    with pytest.raises(ValueError, match=r"^must be addresses and networks like 10\.0\.0\.0/8, .* is none$"):
        Proxies.parse(f"10.0.0.1, {text}")


@pytest.mark.parametrize("text", ["0.0.0.0/0", "::/0", "10.0.0.0/8,::0/0"])
def test_everybody_is_no_proxy(text: str) -> None:
    """Whoever would believe everybody would believe a client that says that it is another."""
    with pytest.raises(ValueError, match="must not be everybody"):
        Proxies.parse(text)


def test_proxies() -> None:
    """Nothing is no proxy; a trusted network holds its addresses, also where IPv4 is written as IPv6."""
    assert Proxies.parse("") == Proxies.parse(" , ") == Proxies()
    assert [TRUSTED.trust(peer) for peer in ("10.255.0.1", "::ffff:10.0.0.1", "11.0.0.1", "", "x")] == [
        True, True, False, False, False
    ]  # fmt: skip


def test_counted() -> None:
    """Addresses of one IPv6 network of 64 bits, which one household has, count as one; IPv4 addresses as themselves."""
    assert counted_as("2001:db8:1:2::1") == counted_as("2001:db8:1:2:ffff::") == "2001:db8:1:2::/64"
    assert counted_as("2001:db8:1:3::1") == "2001:db8:1:3::/64"
    assert [counted_as(text) for text in ("203.0.113.9", "::ffff:203.0.113.9", "")] == [
        "203.0.113.9", "203.0.113.9", ""
    ]  # fmt: skip
