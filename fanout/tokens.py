"""What a token proves: who asks, which runs they may see, and until when. Pure.

This file stands twice, byte for byte, in fanout/ and orchestrator_api/: the services share no package, and both have to
say the same of every token. A house test compares the copies.

The `iss` that a token claims picks the issuer, and the issuer has its own algorithms and keys: nothing else in a token
that is not verified yet decides anything. PyJWT does the cryptography. The rest is read here, since its `decode`
requires no claim, takes the time from the system, and lets a name stand twice in an object.
"""

import hashlib
import json
import math
import re
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Protocol

import jwt
from jwt.algorithms import get_default_algorithms

API_ISSUER: Final = "runfeed:api"  # of the tokens that the API mints itself
LEEWAY: Final = 5.0  # seconds that the issuer's clock and ours may differ
LONGEST: Final = 8192  # characters of a token
LONGEST_KID: Final = 256  # characters
LATEST: Final = 1e11  # seconds since 1970, the year 5138: what is later was meant in milliseconds
MOST_RUNS: Final = 128
MOST_TRIES: Final = 4  # keys that a signature is tried with: more make a token of a stranger expensive
KEPT: Final = 10_000  # verified tokens
KEPT_FOR: Final = 60.0  # seconds; a key that was taken back verifies for so long what it has verified
# The names' rules are the contract's; tests compare them.
USERNAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@|:+-]{0,127}")
USERNAME_RULE: Final = "must be 1 to 128 characters: a letter or digit, then letters, digits and . _ @ | : + -"
RUN_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}")
TOKEN_ID: Final = re.compile(r"[!-~]{1,256}")
_COMPACT: Final = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")
_ALGORITHMS: Final = get_default_algorithms()


class TokenRefused(Exception):
    """A token that proves nothing. code: `token_invalid` or `token_expired`. detail: a sentence without any of it."""

    def __init__(self, detail: str, code: str = "token_invalid") -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


class KeysAway(Exception):
    """The issuer's keys were never read and cannot be had now: nobody knows whether the token is good."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks, as a verified token says.

    username: the `sub`. runs: the `run_ids`, None: all of the user's. expires_at, issued_at: seconds since 1970;
    issued_at is 0.0 for a token without `iat`. token_id: the `jti`. issuer: the `iss`.
    """

    username: str
    runs: frozenset[str] | None
    expires_at: float
    issued_at: float
    token_id: str | None
    issuer: str


@dataclass(frozen=True, slots=True)
class Key:
    """A key and the one algorithm that it is for. value: as PyJWT's algorithm has it. kid: its name, if it has one."""

    algorithm: str
    value: Any = field(repr=False)
    kid: str | None = None

    def fits(self, message: bytes, signature: bytes) -> bool:
        """True when the signature of the message was made with this key."""
        try:
            return bool(_ALGORITHMS[self.algorithm].verify(message, self.value, signature))
        except Exception:  # noqa: BLE001 - whatever a library makes of a stranger's bytes, they are no signature
            return False


class KeySource(Protocol):
    """Where an issuer's keys are."""

    async def find(self, kid: str | None) -> Sequence[Key]:
        """Returns the keys that a token with this `kid` may be signed with. Raises KeysAway."""


class FixedKeys:
    """Keys that were configured. There are one or two, so a `kid` has nothing to choose."""

    def __init__(self, *keys: Key) -> None:
        self._keys = keys

    async def find(self, kid: str | None) -> Sequence[Key]:
        """Returns all of them."""
        return self._keys


@dataclass(frozen=True, slots=True)
class Issuer:
    """Who signs: the exact `iss`, the algorithms of its tokens, and its keys."""

    name: str
    algorithms: tuple[str, ...]
    keys: KeySource


class _Kept(NamedTuple):
    principal: Principal
    since: float


class _Parts(NamedTuple):
    header: dict[str, Any]
    claims: dict[str, Any]
    signed: bytes
    signature: bytes


class Verifier:
    """Says whom a token is of. audience: what its `aud` must name."""

    def __init__(self, issuers: Iterable[Issuer], audience: str) -> None:
        self._issuers = {issuer.name: issuer for issuer in issuers}
        self._audience = audience
        self._kept: dict[bytes, _Kept] = {}  # by digest, so that no token lies about in memory; the oldest is first

    async def verify(self, token: str, now: float) -> Principal:
        """Returns whom the token is of. now: seconds since 1970.

        Raises TokenRefused, or KeysAway when the issuer's keys were never read; nothing else, whatever the text is.
        """
        if len(token) > LONGEST:
            raise TokenRefused(f"the token is longer than {LONGEST} characters")
        match = _COMPACT.fullmatch(token)
        if match is None:
            raise TokenRefused("this is no signed JWT: three parts of base64url with a dot between them")
        digest = hashlib.sha256(token.encode()).digest()
        kept = self._kept.get(digest)
        if kept is None or not 0 <= now - kept.since < KEPT_FOR:
            principal = await self._verified(_parts(match), now)
            self._keep(digest, principal, now)
        else:
            principal = kept.principal
        # Judged every time, and last: only of a token that is genuine is it said that it has expired.
        if now >= principal.expires_at + LEEWAY:
            raise TokenRefused("the token has expired", "token_expired")
        return principal

    def _keep(self, digest: bytes, principal: Principal, now: float) -> None:
        self._kept.pop(digest, None)
        if len(self._kept) >= KEPT:
            del self._kept[next(iter(self._kept))]
        self._kept[digest] = _Kept(principal, now)

    async def _verified(self, parts: _Parts, now: float) -> Principal:
        name = parts.claims.get("iss")
        issuer = self._issuers.get(name) if isinstance(name, str) else None
        if issuer is None:
            raise TokenRefused(f"the token's `iss` is {self._not_ours()}")
        algorithm, kid = _algorithm_and_kid(parts.header)
        if algorithm not in issuer.algorithms:
            raise TokenRefused(f"the token's `alg` must be {' or '.join(issuer.algorithms)}: its issuer has no other")
        keys = [key for key in await issuer.keys.find(kid) if key.algorithm == algorithm]
        if len(keys) > MOST_TRIES:
            raise TokenRefused("the token must name its key with a `kid`: its issuer has many")
        if not any(key.fits(parts.signed, parts.signature) for key in keys):
            raise TokenRefused("the token's signature fits no key of its issuer")
        return _principal(parts.claims, issuer.name, self._audience, now)

    def _not_ours(self) -> str:
        """Returns what the `iss` of a token of nobody is not. Watch tokens are made by the API, and not by hand."""
        if self._issuers.keys() - {API_ISSUER}:
            return "not AUTH_ISSUER, to the byte (a slash at the end counts)"
        return f"not {API_ISSUER}: no AUTH_ISSUER is set here, and only the API's own watch tokens are taken"


def mint(key: bytes, *, username: str, runs: Iterable[str] | None, audience: str, now: float, ttl: float) -> str:
    """Returns a watch token of the API. runs: the only ones that it shows, None: all. ttl: seconds from now on.

    `iat` keeps its fraction: a revocation must not reach a token that was minted later in the same second.
    """
    claims = {"iss": API_ISSUER, "aud": audience, "sub": username, "iat": now, "exp": now + ttl}
    claims["jti"] = secrets.token_urlsafe(16)
    if runs is not None:
        claims["run_ids"] = sorted(runs)
    return jwt.encode(claims, key, algorithm="HS256")


class Revocations:
    """What is taken back: a user's tokens that were issued until a moment, or single tokens."""

    def __init__(self) -> None:
        self._before: dict[str, float] = {}
        self._tokens: set[str] = set()

    def add(self, username: str, before: float) -> None:
        """Takes back what the user was issued until `before` (seconds since 1970), that moment included."""
        self._before[username] = max(before, self._before.get(username, before))

    def add_token(self, token_id: str) -> None:
        """Takes back the tokens with this `jti`."""
        self._tokens.add(token_id)

    def revoked(self, principal: Principal) -> str:
        """Returns why the token holds no longer, a sentence for people; "" when it was not taken back.

        One without `iat` counts as issued before everything.
        """
        if principal.token_id in self._tokens:
            return "the token was revoked"
        if principal.issued_at > self._before.get(principal.username, -math.inf):
            return ""
        if principal.issued_at == 0.0:  # another token of the same issuer will be refused as well
            return "the user's tokens were revoked, and this one does not say when it was issued (`iat`)"
        return "the token was revoked"


def strict_json(data: bytes) -> Any:
    """Returns what JSON in UTF-8 says. Raises ValueError for anything that two readers could understand differently."""
    try:
        return json.loads(data.decode(), object_pairs_hook=_once_each, parse_constant=_no_number)
    except RecursionError:
        raise ValueError("nested too deep") from None


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("a name stands twice in an object")
    return members


def _no_number(name: str) -> Any:
    raise ValueError("NaN and Infinity are no numbers of JSON")


def _parts(match: re.Match[str]) -> _Parts:
    header, claims, signature = match.groups()
    signed = f"{header}.{claims}".encode()
    return _Parts(_object(header, "header"), _object(claims, "payload"), signed, _decoded(signature, "signature"))


def _object(text: str, part: str) -> dict[str, Any]:
    try:
        value = strict_json(_decoded(text, part))
    except ValueError:  # without its cause, which quotes the token
        raise TokenRefused(f"the token's {part} must be JSON in UTF-8, and no name may stand twice in it") from None
    if not isinstance(value, dict):
        raise TokenRefused(f"the token's {part} must be a JSON object")
    return value


def _decoded(text: str, part: str) -> bytes:
    """Returns the bytes. Spare bits must be zero, so that a signature has one writing and not four."""
    if len(text) % 4 != 1:
        data = urlsafe_b64decode(text + "=" * (-len(text) % 4))
        if urlsafe_b64encode(data).rstrip(b"=") == text.encode():
            return data
    raise TokenRefused(f"the token's {part} must be base64url")


def _algorithm_and_kid(header: dict[str, Any]) -> tuple[Any, str | None]:
    """Returns what the header may decide. Keys that it brings along (`jwk`, `jku`, `x5u`, `x5c`) are not looked at."""
    if "crit" in header or "b64" in header:
        raise TokenRefused("the token's header has `crit` or `b64`, and nothing critical is understood here")
    kid = header.get("kid")
    if "kid" in header and not (isinstance(kid, str) and len(kid) <= LONGEST_KID):
        raise TokenRefused(f"the token's `kid` must be text of {LONGEST_KID} characters at most")
    return header.get("alg"), kid


def _principal(claims: dict[str, Any], issuer: str, audience: str, now: float) -> Principal:
    """Returns whom the claims of a genuine token are of; `exp` is not judged. Raises TokenRefused."""
    named = claims.get("aud")
    names = named if isinstance(named, list) else [named]
    if audience not in names or not all(isinstance(name, str) for name in names):
        raise TokenRefused("the token's `aud` must name this service")
    username = claims.get("sub")
    if not (isinstance(username, str) and USERNAME.fullmatch(username)):
        raise TokenRefused(f"the token's `sub` {USERNAME_RULE}")
    token_id = claims.get("jti")
    if "jti" in claims and not (isinstance(token_id, str) and TOKEN_ID.fullmatch(token_id)):
        raise TokenRefused("the token's `jti` must be 1 to 256 visible ASCII characters")
    expires_at = _time(claims, "exp")
    for name in ("nbf", "iat"):
        if name in claims and _time(claims, name) > now + LEEWAY:
            raise TokenRefused(f"the token's `{name}` lies in the future")
    issued_at = _time(claims, "iat") if "iat" in claims else 0.0
    return Principal(username, _runs(claims), expires_at, issued_at, token_id, issuer)


def _time(claims: dict[str, Any], name: str) -> float:
    value = claims.get(name)
    # The comparison comes before float(): it is False for NaN, and an integer of 4,000 digits is no float.
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= LATEST:
        raise TokenRefused(f"the token's `{name}` must be a number of seconds since 1970")
    return float(value)


def _runs(claims: dict[str, Any]) -> frozenset[str] | None:
    """Returns the only runs that the token shows; None for a token that names none, which is not one that has null."""
    if "run_ids" not in claims:
        return None
    runs = claims["run_ids"]
    valid = isinstance(runs, list) and 1 <= len(runs) <= MOST_RUNS
    if not valid or not all(isinstance(run, str) and RUN_ID.fullmatch(run) for run in runs):
        raise TokenRefused(f"the token's `run_ids` must be a list of 1 to {MOST_RUNS} run ids")
    return frozenset(runs)
