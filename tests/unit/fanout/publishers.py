"""Issuers that publish their keys, as they are told, and a clock that is moved by hand."""

import asyncio
import json
from typing import Final

from fanout import jwks
from fanout.jwks import Jwks
from fanout.tokens import Issuer, Verifier
from tests.support.issuers import AUDIENCE, ISSUER, Signer

BEGINNING: Final = 1000.0


def key_set(*entries: object) -> bytes:
    """A JWKS of these entries."""
    return json.dumps({"keys": entries}).encode()


def published(**signers: Signer) -> bytes:
    """A JWKS of keys by their names."""
    return key_set(*(each.jwk(kid=kid, use="sig", alg=each.algorithm) for kid, each in signers.items()))


class World:
    """An issuer that answers as it is told, a clock that is moved by hand, and the keys between them.

    Attributes:
        answer: the document, or what the fetch raises.
        away: from when to when the fetch raises instead, in seconds since the beginning.
        lasts: seconds that a fetch takes.
        open: the fetch answers; not set: it is under way until it is.
        fetches: how many were begun.
        asked: when, in seconds since the beginning.
        pauses: how long was waited, each time.
    """

    def __init__(self, answer: bytes | Exception) -> None:
        self.answer = answer
        self.away: list[tuple[float, float]] = []
        self.lasts = 0.0
        self.open = asyncio.Event()
        self.open.set()
        self.asked: list[float] = []
        self.now = BEGINNING
        self.pauses: list[float] = []
        self.keys = Jwks(self.fetch, lambda: self.now, self.pause)
        self.verifier = Verifier([Issuer(ISSUER, jwks.ALGORITHMS, self.keys)], AUDIENCE)

    @property
    def fetches(self) -> int:
        return len(self.asked)

    async def fetch(self) -> bytes:
        """One question to the issuer."""
        at = self.now - BEGINNING
        self.asked.append(at)
        await self.open.wait()
        self.now += self.lasts
        if any(since <= at < until for since, until in self.away):
            raise OSError("down")
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def pause(self, seconds: float) -> None:
        """Time passes."""
        self.pauses.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)

    async def names(self, kid: str | None) -> list[str | None]:
        """The names of the keys that are found."""
        return [key.kid for key in await self.keys.find(kid)]

    async def settle(self) -> None:
        """Wait for a fetch in the background."""
        if self.keys._reading is not None:
            await self.keys._reading
