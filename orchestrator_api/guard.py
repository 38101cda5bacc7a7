"""From a request to who makes it: the one place where credentials are judged.

`Authorization: Bearer` holds an API key, which the database knows, or a token, which is verified by the keys of its
issuer. Every refusal says what to do and holds nothing of what was shown.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp
import structlog

from orchestrator_api import keys, tokens
from orchestrator_api.auth_config import AuthConfig
from orchestrator_api.caller import NOBODY, Caller, Machine, Rule, User
from orchestrator_api.errors import BadRequest, Forbidden, Unauthenticated, Unavailable
from orchestrator_api.jwks import FETCH_TIMEOUT, MOST_BYTES, Jwks
from orchestrator_api.keys import Keys
from orchestrator_api.metrics import Metrics
from orchestrator_api.revoked import Revoked
from orchestrator_api.store import Reader
from orchestrator_api.tokens import Verifier
from orchestrator_api.web import Request

log = structlog.get_logger("orchestrator_api")

WARN_S = 600.0  # seconds between warnings that nobody proves who they are


class Guard:
    """Lets calls pass to those who may make them. There is none in insecure mode."""

    def __init__(self, verifier: Verifier, keys: Keys, revoked: Revoked) -> None:
        self._verifier = verifier
        self._keys = keys
        self._revoked = revoked

    async def admit(self, request: Request, rule: Rule) -> Caller:
        """Returns who makes a call of this rule. Raises Unauthenticated, Forbidden, BadRequest or Unavailable."""
        if rule.open:
            return NOBODY
        credential = bearer(request)
        if credential.startswith(keys.PREFIX):
            return await self._machine(credential, rule)
        return await self._user(credential, rule)

    async def _machine(self, credential: str, rule: Rule) -> Caller:
        key = await self._keys.find(credential)
        if key is None:
            raise Unauthenticated("key_unknown", "this API key was never made, was revoked or has expired")
        if rule.keys.isdisjoint(key.may):
            raise Forbidden(None, f"this call needs {rule.wanted()}")
        return Machine(key)

    async def _user(self, token: str, rule: Rule) -> Caller:
        try:
            principal = await self._verifier.verify(token, time.time())
        except tokens.TokenRefused as error:
            raise Unauthenticated(error.code, error.detail) from None
        except tokens.KeysAway as error:
            raise Unavailable("keys_away", str(error)) from None
        if why := self._revoked.revoked(principal):
            raise Unauthenticated("token_revoked", why)
        if not rule.users:
            raise Forbidden(None, f"this call needs {rule.wanted()}")
        return User(principal)


def bearer(request: Request) -> str:
    """Returns what is shown as `Authorization: Bearer ...`. Raises Unauthenticated, or BadRequest (400) for two."""
    values = request.headers.getall("Authorization", [])
    if len(values) > 1:
        raise BadRequest("Authorization", "must be given once", status=400)
    scheme, _, credential = values[0].partition(" ") if values else ("", "", "")
    credential = credential.strip()
    if scheme.lower() != "bearer" or not credential:
        raise Unauthenticated("token_missing", "this call needs `Authorization: Bearer` and a token or an API key")
    return credential


def guarded(
    auth: AuthConfig, reader: Reader, revoked: Revoked | None, published: Jwks | None, metrics: Metrics
) -> Guard | None:
    """Returns a guard; None without revocations, in insecure mode. published: see `publishing`."""
    metrics.watch(
        "orchestrator_auth_insecure", "1: nobody proves who they are; 0: tokens and keys.", lambda: float(auth.insecure)
    )
    if revoked is None:
        return None
    metrics.watch(
        "orchestrator_revocations_known",
        "Revocations known; a repeat counts again, for a day.",
        lambda: float(revoked.count),
    )
    return Guard(auth.verifier(published), Keys(reader), revoked)


@asynccontextmanager
async def publishing(auth: AuthConfig, metrics: Metrics) -> AsyncIterator[Jwks | None]:
    """The keys of AUTH_JWKS_URL while the context lasts, to be watched; None: it is not set."""
    if auth.jwks_url is None:
        yield None
        return
    async with aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=FETCH_TIMEOUT),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"Accept-Encoding": "identity"},  # compressed, 256 KiB could be anything
        auto_decompress=False,
    ) as session:
        published = Jwks(fetching(session, auth.jwks_url, metrics), time.monotonic)
        metrics.watch(
            "orchestrator_issuer_keys", "Keys known of AUTH_JWKS_URL, 0: none.", lambda: float(published.count)
        )
        try:
            yield published
        finally:
            await published.close()


async def warn(auth: AuthConfig) -> None:
    """Says in the log, again and again, that everybody is whoever they say they are, where others can reach us."""
    while auth.insecure and auth.exposed:
        log.warning("orchestrator.insecure_username", remedy="AUTH_HMAC_KEY, AUTH_PUBLIC_KEY or AUTH_JWKS_URL")
        await asyncio.sleep(WARN_S)


def fetching(session: aiohttp.ClientSession, url: str, metrics: Metrics) -> Callable[[], Awaitable[bytes]]:
    """Returns what reads an issuer's keys (JWKS) from their one address, and counts how that went."""

    async def fetch() -> bytes:
        try:
            # The address is the operator's word; where a redirect points to is somebody else's.
            async with session.get(url, allow_redirects=False) as response:
                if response.status != 200:
                    raise ValueError(f"status {response.status}")
                body = bytearray()
                async for piece in response.content.iter_any():
                    body += piece
                    if len(body) > MOST_BYTES:
                        raise ValueError(f"more than {MOST_BYTES} bytes")
        except BaseException:
            metrics.jwks_fetched("failed")
            raise
        metrics.jwks_fetched("ok")
        return bytes(body)

    return fetch
