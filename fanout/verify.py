"""Whose a credential is: tokens by their issuer's keys, tickets by the API, and neither if it was revoked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from . import credentials
from .ask import Client
from .auth_config import AuthConfig
from .credentials import Credential
from .door import history_away
from .errors import HistoryAway, Refusal
from .jwks import MOST_BYTES, Jwks
from .metrics import Metrics
from .revocations import RevocationList
from .tokens import KeysAway, Principal, TokenRefused

if TYPE_CHECKING:
    from .history import History

REDEEMS: Final = 4  # tickets that are asked about at a time: history's client has turns for everybody else, too
PATIENCE: Final = 5.0  # seconds for an issuer's keys


class Verification:
    """Says whose a credential is.

    Args:
        auth: the operator's.
        history: the API; None: there are no tickets.
        revocations: what was revoked.
        metrics: counts what is asked of the issuer.
        clock: seconds since 1970.

    Attributes:
        published: the keys behind AUTH_JWKS_URL, to be watched; None: it is not set.
    """

    def __init__(
        self,
        auth: AuthConfig,
        history: History | None,
        revocations: RevocationList,
        metrics: Metrics,
        clock: Callable[[], float],
    ) -> None:
        url = urlsplit(auth.jwks_url or "")
        self._url = (url if url.path else url._replace(path="/")).geturl()
        self._history = history
        self._revocations = revocations
        self._metrics = metrics
        self._redeems = asyncio.Semaphore(REDEEMS)
        self._keys: Client | None = None
        self._clock = clock
        now = asyncio.get_running_loop().time
        self.published = None if auth.jwks_url is None else Jwks(self._fetch_keys, now)
        self._verifier = auth.verifier(self.published)

    async def close(self) -> None:
        """End what runs on its own."""
        if self.published is not None:
            await self.published.close()
        if self._keys is not None:
            await self._keys.close()

    async def principal(self, credential: Credential) -> Principal:
        """Whose it is.

        Raises:
            Refusal: 401 for what proves nothing, 503 when that cannot be told now.
        """
        if credential.text.startswith(credentials.API_KEY):
            raise credentials.api_key()
        if self._revocations.state == "unknown":
            raise history_away()
        try:
            if credential.ticket:
                principal = await self._redeemed(credential)
            else:
                principal = await self._verifier.verify(credential.text, self._clock())
        except TokenRefused as exc:
            raise credentials.refused(exc.code, exc.detail) from exc
        except KeysAway as exc:
            raise keys_away() from exc
        except HistoryAway as exc:
            raise history_away() from exc
        if why := self._revocations.revoked(principal):
            raise credentials.revoked(why)
        return principal

    async def _redeemed(self, ticket: Credential) -> Principal:
        found = None
        if self._history is not None:
            async with self._redeems:
                found = await self._history.redeem(ticket.text, ticket.origin)
        if found is None:
            raise TokenRefused("the ticket is unknown, used, older than 30 s, or another page's")
        runs = None if found.run_ids is None else frozenset(found.run_ids)
        return Principal(found.username, runs, found.expires_at, found.issued_at, found.token_id, "ticket")

    async def _fetch_keys(self) -> bytes:
        """The issuer's keys; no redirect is followed."""
        outcome = "failed"
        try:
            if self._keys is None:
                self._keys = Client(self._url, patience=PATIENCE, most=MOST_BYTES)
            status, body = await self._keys.ask("GET", "")
            if status != 200:
                raise HistoryAway(f"the issuer answered {status}")
            outcome = "ok"
            return body
        finally:
            self._metrics.jwks_fetched(outcome)


def keys_away() -> Refusal:
    """The issuer's keys were never read."""
    detail = "the keys that tokens are verified with cannot be read now; come back in a second"
    return Refusal(503, detail, code="keys_away", headers=(("Retry-After", "1"),))
