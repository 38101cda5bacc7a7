"""orchestrator_api/addresses.py: what may be told to clients as a host."""

import pytest

from orchestrator_api.addresses import host_of, websocket_url

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


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("ws://localhost", "ws://localhost"),
        ("wss://hub.example.com/", "wss://hub.example.com"),
        ("wss://hub.example.com:443", "wss://hub.example.com:443"),
        ("ws://[::1]:8085/", "ws://[::1]:8085"),
        ("wss://example.com/live/hub/", "wss://example.com/live/hub"),
    ],
)
def test_websocket_url(text: str, url: str) -> None:
    """A URL of a hub loses its last slash: paths are added to it."""
    assert websocket_url(text) == url


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hub.example.com",
        "http://hub.example.com",
        "https://hub.example.com",
        "WSS://hub.example.com",
        "ws:hub",
        "ws://",
        "ws:///path",
        "ws://:8085",
        "ws://h:",
        "ws://h:0",
        "ws://h:65536",
        "ws://user@h",
        "ws://user:secret@h/",
        "ws://h?",
        "ws://h/?a=b",
        "ws://h/#",
        "ws://h#a",
        "ws://h/a b",
        "ws://h/\n",
        "ws://h/\xe9",
        "ws://h\\a",
        "ws://1.2.3",
        "ws://::1",
        "ws://h ",
    ],
)
def test_no_websocket_url(text: str) -> None:
    """A URL of another kind, or that says more than where the hub is, is refused with the rule."""
    with pytest.raises(ValueError, match=r"^must be a URL like wss://"):
        websocket_url(text)
