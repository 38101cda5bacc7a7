"""The hub's URL, read strictly: what is told to clients holds nothing that was not looked at. Pure."""

import re

from orchestrator_api.peers import AUTHORITY, host_of

WEBSOCKET = re.compile(rf"wss?://(?P<authority>{AUTHORITY.pattern})(?:/[!-~]*)?")


def websocket_url(text: str) -> str:
    """Returns a WebSocket URL without its last slash. Raises ValueError(rule) for one that paths cannot be added to."""
    match = WEBSOCKET.fullmatch(text)
    if match is None or host_of(match["authority"]) is None or {"?", "#"} & set(text):
        raise ValueError("must be a URL like wss://hub.example.com, without credentials, a query and a fragment")
    return text.rstrip("/")
