"""Who may, as the operator decided it: keys, issuer, hosts, proxies. Read once, checked at the start, frozen.

This file stands twice, byte for byte, in fanout/ and orchestrator_api/: see tokens.py. A test compares them.
What is wrong with a secret is said without any of it.
"""

import hashlib
import hmac
import re
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self, TypeVar
from urllib.parse import urlsplit

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from jwt.algorithms import get_default_algorithms
from jwt.exceptions import InvalidKeyError

from .jwks import ALGORITHMS, Jwks, algorithm_of
from .peers import Hosts, Proxies, is_loopback, read_hosts
from .tokens import API_ISSUER, FixedKeys, Issuer, Key, Verifier

LEAST_SECRET: Final = 32  # bytes; HS256 is as strong as its key
MOST_PEM: Final = 16_384  # characters
SECRETS: Final = frozenset({"AUTH_HMAC_KEY", "AUTH_HMAC_PREVIOUS_KEY", "WATCH_TOKEN_KEY", "WATCH_TOKEN_PREVIOUS_KEY"})
KEYS: Final = ("AUTH_HMAC_KEY", "AUTH_PUBLIC_KEY", "AUTH_JWKS_URL")  # one at most
DOCUMENTED: Final = (
    (
        "AUTH_HMAC_KEY",
        "",
        "a secret of 32 bytes or more, as text: tokens of AUTH_ISSUER are HS256 with it. This, AUTH_PUBLIC_KEY,"
        " AUTH_JWKS_URL or WATCH_TOKEN_KEY: tokens prove who asks. None: `?username=` is believed, on loopback only",
    ),
    ("AUTH_HMAC_PREVIOUS_KEY", "", "the AUTH_HMAC_KEY of before, accepted as well while tokens of it are about"),
    (
        "AUTH_PUBLIC_KEY",
        "",
        "a public key as PEM, or the path of its file: tokens of AUTH_ISSUER are RS256 (RSA of 2048 bits or more),"
        " ES256 (P-256) or EdDSA (Ed25519) with it",
    ),
    (
        "AUTH_JWKS_URL",
        "",
        "https:// URL (http:// on loopback) of the issuer's keys, RS256, ES256 or EdDSA; read at the start, anew every"
        " 10 minutes, and for a new key at most every 30 seconds; a CA of your own: SSL_CERT_FILE",
    ),
    (
        "AUTH_ISSUER",
        "`runfeed` with AUTH_HMAC_KEY, else required with a key",
        "the `iss` of the tokens, compared exactly",
    ),
    ("AUTH_AUDIENCE", "runfeed", "what the tokens' `aud` must name, compared exactly"),
    (
        "WATCH_TOKEN_KEY",
        "made from AUTH_HMAC_KEY",
        "a secret of 32 bytes or more, as text, the same for API and hub: signs the tokens that the API mints",
    ),
    ("WATCH_TOKEN_PREVIOUS_KEY", "", "the WATCH_TOKEN_KEY of before, accepted as well while tokens of it are about"),
    (
        "ALLOW_INSECURE_USERNAME",
        "0",
        "1: starts beyond loopback without a key, where everybody is whoever they say they are",
    ),
    (
        "ALLOWED_HOSTS",
        "any host with a key; else addresses, `localhost` and names without a dot",
        "host names and addresses, comma-separated, that requests may name in `Host`, and loopback; without ports."
        " A public name that is not ours can be made to point here, by a page that wants to read along",
    ),
    (
        "TRUSTED_PROXIES",
        "",
        "addresses and networks, comma-separated, of the proxies whose X-Forwarded-For and X-Forwarded-Proto are"
        " believed",
    ),
)  # (variable, default, meaning) of each; "" where there is no default
_HMAC: Final = get_default_algorithms()["HS256"]


def masked(text: str) -> str:
    """Returns a setting's value as it may be shown: without a URL's passwords, before an @ or in the query."""
    text = re.sub(r"//.*@", "//***@", text, flags=re.DOTALL)
    return re.sub(r"(?i)([?&][^=&]*(?:passw|%[0-9a-f]{2})[^=&]*=)[^&]*", r"\1***", text)


def in_force(
    documented: Iterable[tuple[str, str, str]], env: Mapping[str, str], derived: Mapping[str, str], secret: Set[str]
) -> list[str]:
    """Returns `NAME = value` of each setting, with ` (default)` behind it where nothing was set.

    documented: (variable, default, meaning) of each. derived: the defaults that depend on what else was set. secret:
    the variables whose values nobody is shown.
    """
    lines = []
    for name, default, _ in documented:
        text = " ".join(env.get(name, "").split())  # on one line, as a PEM is not
        if text:
            lines.append(f"{name} = {'***' if name in secret else masked(text)}")
        else:
            lines.append(f"{name} = {derived.get(name, default) or 'unset'} (default)")
    return lines


class AuthConfigError(ValueError):
    """A variable breaks its rule. The text is one line for the operator, and holds no secret."""

    def __init__(self, variable: str, rule: str) -> None:
        super().__init__(f"{variable}: {rule}")
        self.variable = variable
        self.rule = rule


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthConfig:
    """What the operator decided.

    hmac_keys, public_key, jwks_url: the keys of `issuer`, at most one of the three. watch_keys: of the tokens that the
    API mints, the one that it signs with first. exposed: BIND is beyond loopback.
    """

    hmac_keys: tuple[bytes, ...] = field(default=(), repr=False)
    public_key: Key | None = None
    jwks_url: str | None = None
    issuer: str | None = None
    audience: str = "runfeed"
    watch_keys: tuple[bytes, ...] = field(default=(), repr=False)
    hosts: Hosts = field(default_factory=Hosts)
    proxies: Proxies = field(default_factory=Proxies)
    exposed: bool = False

    @classmethod
    def from_env(cls, env: Mapping[str, str], bind: str) -> Self:
        """Reads the variables; an empty one counts as not set. bind: the address that is listened on.

        Raises AuthConfigError.
        """
        given = {name: text for name, _, _ in DOCUMENTED if (text := env.get(name, "").strip())}
        chosen = [name for name in KEYS if name in given]
        if len(chosen) > 1:
            raise AuthConfigError(chosen[1], f"must not be set beside {chosen[0]}: one issuer has one kind of key")
        hmac_keys = _secrets(given, "AUTH_HMAC_KEY", "AUTH_HMAC_PREVIOUS_KEY")
        watch = _secrets(given, "WATCH_TOKEN_KEY", "WATCH_TOKEN_PREVIOUS_KEY")
        config = cls(
            hmac_keys=hmac_keys,
            public_key=_read(given, "AUTH_PUBLIC_KEY", _public_key),
            jwks_url=_read(given, "AUTH_JWKS_URL", _jwks_url),
            issuer=_issuer(given, chosen),
            audience=given.get("AUTH_AUDIENCE", "runfeed"),
            # Those of the previous key too: who rotates AUTH_HMAC_KEY does not mean to turn all guests out.
            watch_keys=watch or tuple(_derived(key) for key in hmac_keys),
            hosts=Hosts(_read(given, "ALLOWED_HOSTS", read_hosts), proven=bool(chosen or watch)),
            proxies=_read(given, "TRUSTED_PROXIES", Proxies.parse) or Proxies(),
            exposed=not is_loopback(bind),
        )
        allowed = _read(given, "ALLOW_INSECURE_USERNAME", _switch)
        if config.insecure and config.exposed and not allowed:
            keys = f"set AUTH_HMAC_KEY (or {', '.join((*KEYS[1:], 'WATCH_TOKEN_KEY'))})"
            remedy = f"{keys}, or ALLOW_INSECURE_USERNAME=1 to let everybody be whoever they say they are"
            raise AuthConfigError("BIND", f"{bind} is reachable by others and no key is configured: {remedy}")
        return config

    @property
    def insecure(self) -> bool:
        """`?username=` is believed, since there is no key; the opposite is JWT mode."""
        return self.issuer is None and not self.watch_keys

    @property
    def mode(self) -> str:
        """How it is known who asks, as health says it."""
        return "insecure-username" if self.insecure else "jwt"

    @property
    def watch_key(self) -> bytes | None:
        """The key that watch tokens are minted with; None: none are."""
        return self.watch_keys[0] if self.watch_keys else None

    def who_asks(self, *others: str) -> str:
        """Returns in words whose word is taken, for the operator. others: what a service takes beside tokens."""
        if self.insecure:
            return f"nobody, usernames are believed {'from everywhere' if self.exposed else 'on loopback'}"
        found = [] if self.issuer is None else [f"tokens of {self.issuer} ({' or '.join(self._algorithms())})"]
        return ", ".join((*found, *(["watch tokens"] if self.watch_keys else []), *others))

    def derived(self) -> dict[str, str]:
        """Returns the defaults that depend on what else was set; "" is unset. See `in_force`."""
        return {
            "AUTH_ISSUER": self.issuer or "",
            "WATCH_TOKEN_KEY": "made from AUTH_HMAC_KEY" if self.watch_keys else "",
            "ALLOWED_HOSTS": "addresses, localhost and names without a dot" if self.insecure else "any host",
        }

    def _algorithms(self) -> tuple[str, ...]:
        """Returns what the tokens of `issuer` may be signed with."""
        if self.hmac_keys:
            return ("HS256",)
        return ALGORITHMS if self.public_key is None else (self.public_key.algorithm,)

    def verifier(self, published: Jwks | None) -> Verifier:
        """Returns what verifies tokens. published: the keys behind jwks_url, None where there is none."""
        issuers = []
        if self.issuer is not None and self.hmac_keys:
            issuers.append(_hmac_issuer(self.issuer, self.hmac_keys))
        elif self.issuer is not None and self.public_key is not None:
            issuers.append(Issuer(self.issuer, self._algorithms(), FixedKeys(self.public_key)))
        elif self.issuer is not None and published is not None:
            issuers.append(Issuer(self.issuer, self._algorithms(), published))
        if self.watch_keys:
            issuers.append(_hmac_issuer(API_ISSUER, self.watch_keys))
        return Verifier(issuers, self.audience)


T = TypeVar("T")


def _read(given: Mapping[str, str], variable: str, parse: Callable[[str], T]) -> T | None:
    """Returns what the variable says, None when it is not set. Raises AuthConfigError for what breaks its rule."""
    if variable not in given:
        return None
    try:
        return parse(given[variable])
    except ValueError as rule:
        raise AuthConfigError(variable, str(rule)) from None


def _switch(text: str) -> bool:
    if text not in ("0", "1"):
        raise ValueError("must be 0 or 1")
    return text == "1"


def _secret(text: str) -> bytes:
    try:
        key = text.encode("utf-8", "surrogateescape")  # the bytes as they are in the environment
    except UnicodeEncodeError:
        raise ValueError("must be text") from None  # the error itself would quote it
    if len(key) < LEAST_SECRET:
        raise ValueError(f"must be a secret of {LEAST_SECRET} bytes or more: `openssl rand -base64 32` makes one")
    try:
        _HMAC.prepare_key(key)
    except InvalidKeyError:
        # Whoever knows the public key could sign; and that is everybody.
        raise ValueError("must be a secret, and this is a key of another kind: AUTH_PUBLIC_KEY takes those") from None
    return key


def _secrets(given: Mapping[str, str], variable: str, previous: str) -> tuple[bytes, ...]:
    """Returns an issuer's secrets, the one that is signed with first; none where none is set."""
    keys = [_read(given, name, _secret) for name in (variable, previous)]
    if keys[0] is None and keys[1] is not None:
        raise AuthConfigError(previous, f"must not be set without {variable}, which replaced it")
    return tuple(key for key in keys if key is not None)


def _derived(key: bytes) -> bytes:
    return hmac.new(key, b"runfeed watch tokens", hashlib.sha256).digest()


def _hmac_issuer(name: str, keys: tuple[bytes, ...]) -> Issuer:
    return Issuer(name, ("HS256",), FixedKeys(*(Key("HS256", key) for key in keys)))


def _public_key(text: str) -> Key:
    pem = text.replace("\\n", "\n") if "-----BEGIN" in text else _file(text)  # `\n`: how one line holds a PEM
    if "PRIVATE KEY" in pem:
        raise ValueError("must be a public key, and this is a private one: it stays with whoever signs")
    try:
        value = load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm):
        value = None
    algorithm = algorithm_of(value)
    if algorithm is None:
        raise ValueError("must be a PUBLIC KEY in PEM: RSA of 2048 to 8192 bits, P-256 or Ed25519")
    return Key(algorithm, value)


def _file(path: str) -> str:
    try:
        with Path(path).open(encoding="ascii") as file:
            return file.read(MOST_PEM)
    except (OSError, ValueError):
        raise ValueError("must be a public key as PEM text, or the path of a file that holds it") from None


def _jwks_url(text: str) -> str:
    valid = re.fullmatch(r"[!-~]+", text) is not None and not {"@", "#"} & set(text)
    try:
        parts = urlsplit(text)
        plain = parts.scheme == "http" and is_loopback(parts.hostname or "")
        valid = valid and bool(parts.hostname) and (parts.scheme == "https" or plain)
        _ = parts.port
    except ValueError:
        valid = False
    if not valid:
        raise ValueError("must be an https:// URL without credentials (http:// for a loopback host only)")
    return text


def _issuer(given: Mapping[str, str], chosen: Sequence[str]) -> str | None:
    """Returns the `iss` that the operator's keys sign; None: there are no such keys."""
    name = given.get("AUTH_ISSUER")
    if name == API_ISSUER:
        raise AuthConfigError("AUTH_ISSUER", f"must not be {API_ISSUER}: so the API calls itself in its own tokens")
    if not chosen:
        if name is not None:
            raise AuthConfigError("AUTH_ISSUER", f"must not be set without a key of this issuer: {', '.join(KEYS)}")
        return None
    if name is None and "AUTH_HMAC_KEY" not in chosen:
        raise AuthConfigError("AUTH_ISSUER", f"must be set with {chosen[0]}: the `iss` of the tokens, exactly")
    return name or "runfeed"
