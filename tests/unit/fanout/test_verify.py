"""fanout.verify: the issuer that is asked for its keys."""

import asyncio
import time
from unittest import mock

import pytest

from fanout.credentials import Credential
from fanout.errors import HistoryAway, Refusal
from fanout.jwks import MOST_BYTES
from fanout.metrics import Metrics
from fanout.revocations import RevocationList
from fanout.verify import PATIENCE, Verification
from tests.support import issuers
from tests.unit.fanout.askers import Asked, with_server
from tests.unit.fanout.proofs import auth

KEY = "rfk_0123456789abcdef_" + "x" * 43
TOO_MUCH = b"x" * (MOST_BYTES + 1)


@pytest.mark.parametrize(
    "answer",
    [
        b"Content-Length: %d\r\n\r\n" % len(TOO_MUCH),
        b"\r\n" + TOO_MUCH,
        b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % len(TOO_MUCH) + TOO_MUCH,
    ],
    ids=["announced", "until the end", "chunked"],
)
async def test_too_many_keys(answer: bytes) -> None:
    """A set of keys that is too big is cut where it is: its end, which never comes here, is not waited for."""
    metrics = Metrics()

    async def fetched(asked: Asked) -> None:
        asked.answers(b"HTTP/1.1 200 OK\r\n" + answer)
        url = f"http://127.0.0.1:{asked.port}/keys"
        config = auth(AUTH_HMAC_KEY="", AUTH_JWKS_URL=url, AUTH_ISSUER=issuers.ISSUER)
        judge = Verification(config, None, RevocationList(None, mock.Mock(), time.monotonic), metrics, time.time)
        async with asyncio.timeout(PATIENCE / 2):
            with pytest.raises(HistoryAway, match="too big"):
                await judge._fetch_keys()
        await judge.close()

    await with_server(fetched, None)
    assert metrics.jwks == {"failed": 1}


@pytest.mark.parametrize("key", [KEY, "rfk_"])
async def test_api_key(key: str) -> None:
    """An API key is told that it is one, and what is to be had for it; nothing of it is shown."""
    judge = Verification(auth(), None, RevocationList(None, mock.Mock(), time.monotonic), Metrics(), time.time)
    with pytest.raises(Refusal) as refused:
        await judge.principal(Credential(key))

    assert (refused.value.status, refused.value.code) == (401, "token_invalid")
    assert refused.value.detail == (
        "this is an API key, which opens no stream: get a watch token (POST /api/v1/watch-tokens) or a ticket"
        " (POST /api/v1/tickets) with a key that may `mint`"
    )
