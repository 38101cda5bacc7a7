"""Tokens for a hub in this process, and the settings that take them."""

import time

import jwt

from fanout.auth_config import AuthConfig
from tests.integration.fanout.hubs import client_frame

KEY = "a secret of the tests, thirty-two bytes long"
TICKET = "rft_" + "a" * 43
OURS = "Sec-WebSocket-Protocol: runfeed.v1\r\n"


def token(username: str = "alice", **changed: object) -> str:
    """A token that is good for a minute; a claim of None is left out."""
    now = time.time()
    claims = {"iss": "runfeed", "aud": "runfeed", "sub": username, "iat": now, "exp": now + 60, **changed}
    return jwt.encode({name: value for name, value in claims.items() if value is not None}, KEY, algorithm="HS256")


def bearer(username: str = "alice", **changed: object) -> str:
    """The header that shows one."""
    return f"Authorization: Bearer {token(username, **changed)}\r\n"


def message(text: str) -> bytes:
    """What a client sends to say who it is."""
    return client_frame(1, b'{"type":"auth","token":"%b"}' % text.encode())


def auth(bind: str = "127.0.0.1", **env: str) -> AuthConfig:
    """A hub that wants tokens."""
    return AuthConfig.from_env({"AUTH_HMAC_KEY": KEY, **env}, bind)


def exposed(**env: str) -> AuthConfig:
    """A hub that believes usernames, and can be reached by others."""
    return AuthConfig.from_env({"ALLOW_INSECURE_USERNAME": "1", **env}, "0.0.0.0")
