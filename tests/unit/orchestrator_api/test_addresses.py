"""orchestrator_api/addresses.py: what may be told to clients as the hub's address."""

import pytest

from orchestrator_api.addresses import websocket_url


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
