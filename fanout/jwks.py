"""An issuer's published keys (JWKS, RFC 7517), kept at hand.

This file stands twice, byte for byte, in fanout/ and orchestrator_api/: see tokens.py. A test compares them.

Whoever sends tokens with invented key names must not make us ask the issuer more often; an issuer that is away must not
lock out those whose keys we have. So one question at a time, 30 s between two, and what is known stays until a better
answer comes. The first question is asked at the start, so that a wrong address is seen before anybody needs it. While
there are no keys at all nobody is let in: then we ask sooner, by ourselves, and visitors add nothing to that.
"""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt.algorithms import get_default_algorithms
from jwt.exceptions import PyJWTError

from .tokens import LONGEST_KID, Key, KeysAway, strict_json

ALGORITHMS: Final = ("RS256", "ES256", "EdDSA")
FLOOR: Final = 30.0  # seconds between the starts of two fetches, however many visitors there are
FIRST_WAIT: Final = 1.0  # seconds after a fetch, while no key was ever read; doubled each time, up to FLOOR
FRESH_FOR: Final = 600.0  # seconds; older keys are used, and fetched anew in the background
FETCH_TIMEOUT: Final = 5.0  # seconds
MOST_BYTES: Final = 256 * 1024
MOST_KEYS: Final = 100
MOST_SAID: Final = 200  # characters of an error that are logged
RSA_BITS: Final = (2048, 8192)  # less can be broken, more makes each token expensive
_KINDS: Final = {("RSA", None): "RS256", ("EC", "P-256"): "ES256", ("OKP", "Ed25519"): "EdDSA"}
_PUBLIC: Final = ("kty", "crv", "n", "e", "x", "y")
_BY_NAME: Final = get_default_algorithms()
_REMEDY: Final = (
    "AUTH_JWKS_URL must answer 200 with the issuer's keys, without a redirect; a CA of your own: SSL_CERT_FILE"
)
log = logging.getLogger(__package__)


class Jwks:
    """The keys behind a URL.

    fetch: returns the document's bytes, from a fixed address and without following redirects; whatever it raises means
    that the issuer is away. clock: seconds that only grow. pause: returns so many of them later.

    error: why the last fetch brought nothing; "" when it did.
    """

    def __init__(
        self,
        fetch: Callable[[], Awaitable[bytes]],
        clock: Callable[[], float],
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._fetch = fetch
        self._clock = clock
        self._pause = pause
        self.error = "not read yet"
        self._keys: list[Key] = []  # none: they were never read
        self._read_at = -math.inf
        self._tried_at = self._ended_at = -math.inf  # the last fetch
        self._wait = 0.0  # how long it is left alone while no key was ever read
        self._reading: asyncio.Task[None] | None = None

    @property
    def count(self) -> int:
        """Returns how many keys are known; 0: they were never read."""
        return len(self._keys)

    @property
    def state(self) -> str:
        """Returns a word for readiness: unknown (never read), old (the last fetch failed, and they hold) or live."""
        if not self._keys:
            return "unknown"
        return "old" if self.error else "live"

    async def watch(self) -> None:
        """Keeps the keys, for ever: reads them at the start, when they are old, and again after a fetch that failed."""
        while True:
            left = self._due() - self._clock()
            if left > 0:
                await self._pause(min(left, FLOOR))  # no longer: a visitor's fetch that fails makes it sooner
            else:
                await asyncio.wait([self._read_now()])

    async def find(self, kid: str | None) -> Sequence[Key]:
        """Returns the keys of this name; all of them for None. Asks the issuer for a name that is not known, if it may.

        Raises KeysAway when the keys were never read and cannot be had now.
        """
        found = self._named(kid)
        if found:
            if self._clock() - self._read_at >= FRESH_FOR:
                self._read_soon()
            return found
        if task := self._read_soon():
            # Not awaited itself: whoever leaves would take the fetch away from the others.
            await asyncio.wait([task])
        if not self._keys:
            raise KeysAway("the issuer's keys cannot be read now")
        return self._named(kid)

    async def close(self) -> None:
        """Ends a fetch that is under way."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait([self._reading])

    def _named(self, kid: str | None) -> Sequence[Key]:
        return [key for key in self._keys if kid is None or key.kid == kid]

    def _due(self) -> float:
        """Returns when `watch` fetches next, which is never later than a visitor may while there is something amiss."""
        if not self._keys:
            return min(self._ended_at + self._wait, self._tried_at + FLOOR)
        return self._tried_at + (FLOOR if self.error else FRESH_FOR)

    def _read_soon(self) -> asyncio.Task[None] | None:
        """Returns the fetch that is under way, or a new one; None when the last one was too short a time ago."""
        if (self._reading is None or self._reading.done()) and self._clock() - self._tried_at < FLOOR:
            return None
        return self._read_now()

    def _read_now(self) -> asyncio.Task[None]:
        """Returns the fetch that is under way, or a new one."""
        if self._reading is None or self._reading.done():
            self._tried_at = self._clock()
            self._wait = min(FLOOR, max(FIRST_WAIT, 2 * self._wait))
            self._reading = asyncio.create_task(self._read(), name="jwks")
        return self._reading

    async def _read(self) -> None:
        try:
            async with asyncio.timeout(FETCH_TIMEOUT):
                data = await self._fetch()
            self._keys = read_keys(data)
        except Exception as error:  # noqa: BLE001 - whatever went wrong, the keys that we have stay
            self.error = f"{type(error).__name__}: {error}"[:MOST_SAID]
            log.warning("jwks_away", extra={"error": self.error, "keys": len(self._keys), "remedy": _REMEDY})
        else:
            self.error = ""
            self._read_at = self._clock()
        finally:
            self._ended_at = self._clock()


def read_keys(data: bytes) -> list[Key]:
    """Returns the usable keys of a JWKS, at least one. Raises ValueError when there is none, or too much of all."""
    if len(data) > MOST_BYTES:
        raise ValueError(f"the key set has more than {MOST_BYTES} bytes")
    document = strict_json(data)
    listed = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(listed, list) or len(listed) > MOST_KEYS:
        raise ValueError(f"a key set is an object with `keys`, a list of {MOST_KEYS} at most")
    keys = [key for entry in listed if (key := _key(entry)) is not None]
    if not keys:
        raise ValueError("the key set has no key for RS256, ES256 or EdDSA")
    return keys


def _key(entry: Any) -> Key | None:
    """Returns a key of the set; None for one that is for something else, too weak, symmetric, or not even public."""
    if not isinstance(entry, dict) or "d" in entry:
        return None
    kind, curve = entry.get("kty"), entry.get("crv")
    if not isinstance(kind, str) or not (curve is None or isinstance(curve, str)):
        return None
    algorithm = _KINDS.get((kind, curve))
    kid, operations = entry.get("kid"), entry.get("key_ops", ["verify"])
    fits = (
        algorithm is not None
        and entry.get("alg", algorithm) == algorithm
        and entry.get("use", "sig") == "sig"
        and (isinstance(operations, list) and "verify" in operations)
        and (kid is None or (isinstance(kid, str) and len(kid) <= LONGEST_KID))
    )
    if algorithm is None or not fits:
        return None
    try:
        value = _BY_NAME[algorithm].from_jwk({name: entry[name] for name in _PUBLIC if name in entry})
    except (PyJWTError, ValueError, TypeError, UnsupportedAlgorithm):
        return None
    return Key(algorithm, value, kid) if algorithm_of(value) == algorithm else None


def algorithm_of(value: object) -> str | None:
    """Returns the one algorithm that a public key is used for; None for a kind or a size that is not taken."""
    if isinstance(value, RSAPublicKey):
        return "RS256" if RSA_BITS[0] <= value.key_size <= RSA_BITS[1] else None
    if isinstance(value, EllipticCurvePublicKey):
        return "ES256" if isinstance(value.curve, SECP256R1) else None
    return "EdDSA" if isinstance(value, Ed25519PublicKey) else None
