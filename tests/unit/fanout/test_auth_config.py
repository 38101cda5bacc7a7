"""fanout/auth_config.py: what an operator may decide, what is said of mistakes. orchestrator_api has the same file."""

import hashlib
import hmac
import itertools
import json
import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP384R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from fanout.auth_config import DOCUMENTED, SECRETS, AuthConfig, AuthConfigError, in_force, masked
from fanout.jwks import Jwks
from fanout.tokens import API_ISSUER, TokenRefused, Verifier, mint
from tests.support.issuers import AUDIENCE, ISSUER, NOW, SECRET, Signer, claims, signer, token

RSA, EC, ED = signer("RS256"), signer("ES256"), signer("EdDSA")
TEXT = SECRET.decode()
OTHER = "other-" * 8


def config(bind: str = "0.0.0.0", **env: str) -> AuthConfig:
    """What these variables say, beyond loopback."""
    return AuthConfig.from_env(env, bind)


def wrong(bind: str = "127.0.0.1", **env: str) -> AuthConfigError:
    """What is said of a mistake: the variable and the rule, on one line and without what was set."""
    with pytest.raises(AuthConfigError) as caught:
        AuthConfig.from_env(env, bind)
    text = str(caught.value)
    assert text == f"{caught.value.variable}: {caught.value.rule}"
    assert "\n" not in text
    assert not any(env.get(name) and env[name] in text for name in (*SECRETS, "AUTH_PUBLIC_KEY"))
    return caught.value


def verifier(of: AuthConfig, document: bytes = b"") -> Verifier:
    """The verifier of a configuration. document: what its JWKS URL answers."""

    async def fetch() -> bytes:
        return document

    return of.verifier(None if of.jwks_url is None else Jwks(fetch, time.monotonic))


async def takes(judge: Verifier, *texts: str) -> list[bool]:
    """Whether each of the tokens is taken."""
    taken = []
    for text in texts:
        try:
            await judge.verify(text, NOW)
            taken.append(True)
        except TokenRefused:
            taken.append(False)
    return taken


def test_nothing() -> None:
    """On loopback nothing need be set: then names are believed, no token is minted, no proxy trusted."""
    for bind in ("127.0.0.1", "::1", "localhost"):
        read = config(bind, AUTH_HMAC_KEY=" ", ALLOWED_HOSTS="")
        assert (read, read.insecure, read.watch_key, read.exposed) == (AuthConfig(), True, None, False)
    assert config("127.0.0.1").hosts.allow(["localhost"])
    assert not config("127.0.0.1").hosts.allow(["evil.example"])


@pytest.mark.parametrize("bind", ["0.0.0.0", "::", "192.168.1.2", "example.com", "127.0.0.1.evil.com"])
def test_beyond_loopback(bind: str) -> None:
    """Where others can come a key is needed, or the word of the operator, and the line says which."""
    assert str(wrong(bind)).startswith(
        f"BIND: {bind} is reachable by others and no key is configured: set AUTH_HMAC_KEY"
    )
    assert "ALLOW_INSECURE_USERNAME=1" in str(wrong(bind, ALLOW_INSECURE_USERNAME="0"))
    allowed = config(bind, ALLOW_INSECURE_USERNAME="1")
    assert (allowed.insecure, allowed.exposed, allowed.mode) == (True, True, "insecure-username")


@pytest.mark.parametrize(
    "env",
    [
        {"AUTH_HMAC_KEY": TEXT},
        {"WATCH_TOKEN_KEY": TEXT},
        {"AUTH_JWKS_URL": "https://id.example/keys", "AUTH_ISSUER": ISSUER},
        {"AUTH_PUBLIC_KEY": EC.pem(), "AUTH_ISSUER": ISSUER},
    ],
)
def test_any_key_is_jwt_mode(env: dict[str, str]) -> None:
    """With any key tokens prove who asks, whatever else the operator allowed."""
    assert not AuthConfig.from_env(env, "0.0.0.0").insecure
    assert not AuthConfig.from_env({**env, "ALLOW_INSECURE_USERNAME": "1"}, "127.0.0.1").insecure
    assert AuthConfig.from_env(env, "0.0.0.0").hosts.allow(["app.example.com"])
    assert AuthConfig.from_env(env, "0.0.0.0").mode == "jwt"


def test_only_one_kind_of_key() -> None:
    """Two kinds of keys for one issuer are refused: a token could choose."""
    url = "https://id.example/keys"
    assert wrong(AUTH_HMAC_KEY=TEXT, AUTH_PUBLIC_KEY=EC.pem()).variable == "AUTH_PUBLIC_KEY"
    assert wrong(AUTH_HMAC_KEY=TEXT, AUTH_JWKS_URL=url).variable == "AUTH_JWKS_URL"
    assert "must not be set beside AUTH_PUBLIC_KEY" in str(wrong(AUTH_PUBLIC_KEY=EC.pem(), AUTH_JWKS_URL=url))


@pytest.mark.parametrize("name", sorted(SECRETS))
@pytest.mark.parametrize("text", ["short", "x" * 31, "\u00e9" * 15])
def test_short_secret(name: str, text: str) -> None:
    """A secret has 32 bytes or more."""
    assert wrong(**{"AUTH_HMAC_KEY": TEXT, name: text}).variable == name


@pytest.mark.parametrize("key", [RSA, EC, ED], ids=lambda key: key.algorithm)
def test_public_key_is_no_secret(key: Signer) -> None:
    """What everybody may know is not taken as a secret, in whatever form it is known."""
    assert "AUTH_PUBLIC_KEY takes those" in str(wrong(AUTH_HMAC_KEY=key.pem()))
    assert "AUTH_PUBLIC_KEY takes those" in str(wrong(AUTH_HMAC_KEY=json.dumps(key.jwk())))


async def test_secret_is_its_bytes() -> None:
    """A secret is the bytes of its text, those that are no UTF-8 too."""
    odd = b"\xff\xfe" * 16
    read = config(AUTH_HMAC_KEY=odd.decode("utf-8", "surrogateescape"))

    assert await takes(verifier(read), token(Signer("HS256", odd, odd), claims(iss="runfeed"))) == [True]
    assert "must be text" in str(wrong(AUTH_HMAC_KEY="\ud800" * 32))


async def test_secret() -> None:
    """With a secret the issuer is called runfeed, or as it is set; the previous secret holds as well."""
    old = Signer("HS256", OTHER.encode(), OTHER.encode())
    texts = [token(key, claims(iss=name)) for key in (signer("HS256"), old) for name in ("runfeed", ISSUER)]

    assert await takes(verifier(config(AUTH_HMAC_KEY=TEXT)), *texts) == [True, False, False, False]
    assert await takes(verifier(config(AUTH_HMAC_KEY=TEXT, AUTH_HMAC_PREVIOUS_KEY=OTHER)), *texts) == [
        True, False, True, False
    ]  # fmt: skip
    assert await takes(verifier(config(AUTH_HMAC_KEY=TEXT, AUTH_ISSUER=ISSUER)), *texts) == [False, True, False, False]
    assert wrong(AUTH_HMAC_PREVIOUS_KEY=TEXT).variable == "AUTH_HMAC_PREVIOUS_KEY"


@pytest.mark.parametrize("key", [RSA, EC, ED], ids=lambda key: key.algorithm)
async def test_public_key(key: Signer, tmp_path: Path) -> None:
    """A public key is PEM, on one line or on several, or a file of it; its kind says the algorithm."""
    file = tmp_path / "key.pem"
    file.write_text(key.pem())
    for text in (key.pem(), key.pem().replace("\n", "\\n"), str(file)):
        judge = verifier(config(AUTH_PUBLIC_KEY=text, AUTH_ISSUER=ISSUER))
        assert await takes(judge, token(key), token(signer(key.algorithm, 1)), token(signer("HS256"))) == [
            True, False, False
        ]  # fmt: skip


def private_pem() -> str:
    """A private key, as somebody might paste it by mistake."""
    return str(EC.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode())


def public_pem(private: EllipticCurvePrivateKey | Ed448PrivateKey) -> str:
    """The public half of a key of a kind that is not taken."""
    return str(private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode())


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        (signer("RS256", bits=1024).pem(), "RSA of 2048"),
        (public_pem(generate_private_key(SECP384R1())), "P-256"),
        (public_pem(Ed448PrivateKey.generate()), "Ed25519"),
        (EC.pem().replace("M", "!"), "PUBLIC KEY in PEM"),
        ("-----BEGIN PUBLIC KEY-----", "PUBLIC KEY in PEM"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", "PUBLIC KEY in PEM"),
        ("-----BEGIN PUBLIC KEY-----\n\ud800\n-----END PUBLIC KEY-----", "PUBLIC KEY in PEM"),
        (private_pem(), "this is a private one"),
        ("/nowhere/key.pem", "path of a file"),
        ("/", "path of a file"),
        ("a\0b", "path of a file"),
        ("x" * 10_000, "path of a file"),
        (__file__, "PUBLIC KEY in PEM"),
        (TEXT, "path of a file"),
    ],
    ids=itertools.count(),  # keys differ from process to process, and names of tests must not
)
def test_bad_public_key(text: str, rule: str) -> None:
    """A public key that is none, or of another kind, or private, is refused, and nothing of it is shown."""
    problem = wrong(AUTH_PUBLIC_KEY=text, AUTH_ISSUER=ISSUER)

    assert (problem.variable, rule in problem.rule) == ("AUTH_PUBLIC_KEY", True)


async def test_key_set() -> None:
    """With a JWKS URL the issuer's tokens are good in each of the three algorithms, and never in HS256."""
    keys = {"keys": [key.jwk(kid=key.algorithm) for key in (RSA, EC, ED)]}
    read = config(AUTH_JWKS_URL="https://id.example/keys?v=1", AUTH_ISSUER=ISSUER)
    judge = verifier(read, json.dumps(keys).encode())
    texts = [token(key, claims(), kid=key.algorithm) for key in (RSA, EC, ED, signer("HS256"))]

    assert read.jwks_url == "https://id.example/keys?v=1"
    assert await takes(judge, *texts) == [True, True, True, False]


@pytest.mark.parametrize(
    ("url", "good"),
    [
        ("https://id.example", True),
        ("https://id.example:8443/a/b?c=d", True),
        ("http://127.0.0.1:9000/keys", True),
        ("http://localhost/keys", True),
        ("http://[::1]:9000/keys", True),
        ("http://id.example/keys", False),
        ("http://localhost.evil.com/keys", False),
        ("http://127.0.0.1.evil.com/keys", False),
        ("http://0.0.0.0/keys", False),
        ("https://user:secret@id.example/keys", False),
        ("http://127.0.0.1@evil.com/keys", False),
        ("https://id.example/keys#a", False),
        ("https://", False),
        ("https:///keys", False),
        ("https://id.example:99999/", False),
        ("https://[::1/", False),
        ("https://id example/", False),
        ("https://id.example/\n", True),  # white space around it is not of it
        ("https://id.example/a\nb", False),
        ("https://b\xfccher.example/", False),
        ("file:///etc/passwd", False),
        ("ftp://id.example/", False),
        ("id.example/keys", False),
    ],
)
def test_key_set_url(url: str, good: bool) -> None:
    """A JWKS is fetched by TLS, or from this machine, and no credentials are in its URL."""
    if good:
        assert config(AUTH_JWKS_URL=url, AUTH_ISSUER=ISSUER).jwks_url == url.strip()
    else:
        problem = wrong(AUTH_JWKS_URL=url, AUTH_ISSUER=ISSUER)
        assert problem.variable == "AUTH_JWKS_URL"
        assert "secret" not in str(problem)


def test_issuer() -> None:
    """The issuer is named where others sign, is not the API itself, and is nobody without a key."""
    assert "must be set with AUTH_JWKS_URL" in str(wrong(AUTH_JWKS_URL="https://id.example/keys"))
    assert "must be set with AUTH_PUBLIC_KEY" in str(wrong(AUTH_PUBLIC_KEY=EC.pem()))
    assert "must not be runfeed:api" in str(wrong(AUTH_HMAC_KEY=TEXT, AUTH_ISSUER=API_ISSUER))
    assert "without a key of this issuer" in str(wrong(AUTH_ISSUER=ISSUER))
    assert "without a key of this issuer" in str(wrong(AUTH_ISSUER=ISSUER, WATCH_TOKEN_KEY=TEXT))


async def test_watch_tokens() -> None:
    """The API's tokens have a key of their own; without one it is made from the secret, and from the one before it."""

    def minted(key: bytes | None) -> str:
        assert key is not None
        return mint(key, username="alice", runs=None, audience=AUDIENCE, now=NOW, ttl=60)

    own = config(AUTH_HMAC_KEY=TEXT, WATCH_TOKEN_KEY=OTHER)
    made, rotated = config(AUTH_HMAC_KEY=TEXT), config(AUTH_HMAC_KEY=OTHER, AUTH_HMAC_PREVIOUS_KEY=TEXT)
    alone, replaced = config(WATCH_TOKEN_KEY=OTHER), config(WATCH_TOKEN_KEY=TEXT, WATCH_TOKEN_PREVIOUS_KEY=OTHER)
    texts = [minted(each.watch_key) for each in (own, made, rotated)]

    assert own.watch_key == OTHER.encode()
    assert made.watch_key == hmac.new(SECRET, b"runfeed watch tokens", hashlib.sha256).digest()
    assert await takes(verifier(own), *texts) == [True, False, False]
    assert await takes(verifier(made), *texts) == [False, True, False]
    assert await takes(verifier(rotated), *texts) == [False, True, True]
    assert await takes(verifier(alone), *texts, token(signer("HS256"), claims(iss="runfeed"))) == [
        True, False, False, False
    ]  # fmt: skip
    assert await takes(verifier(replaced), *texts, minted(replaced.watch_key)) == [True, False, False, True]
    assert replaced.watch_key == SECRET
    assert wrong(AUTH_HMAC_KEY=TEXT, WATCH_TOKEN_PREVIOUS_KEY=OTHER).variable == "WATCH_TOKEN_PREVIOUS_KEY"
    assert config(AUTH_PUBLIC_KEY=EC.pem(), AUTH_ISSUER=ISSUER).watch_key is None


async def test_secret_of_the_issuer_mints_nothing() -> None:
    """Who has the issuer's secret as it is has not the key that the API's tokens are signed with."""
    forged = token(signer("HS256"), claims(iss=API_ISSUER))

    assert await takes(verifier(config(AUTH_HMAC_KEY=TEXT)), forged) == [False]


async def test_audience() -> None:
    """The audience is runfeed, or as it is set."""
    text = token(signer("HS256"), claims(iss="runfeed", aud="staging"))

    assert await takes(verifier(config(AUTH_HMAC_KEY=TEXT)), text) == [False]
    assert await takes(verifier(config(AUTH_HMAC_KEY=TEXT, AUTH_AUDIENCE="staging")), text) == [True]


@pytest.mark.parametrize(
    ("name", "text"),
    [("ALLOW_INSECURE_USERNAME", "yes"), ("ALLOWED_HOSTS", "https://a"), ("ALLOWED_HOSTS", ","),
     ("TRUSTED_PROXIES", "x"), ("TRUSTED_PROXIES", "0.0.0.0/0")],
)  # fmt: skip
def test_bad_value(name: str, text: str) -> None:
    """A value that breaks its rule is refused by its variable, with a key or without."""
    assert wrong(**{name: text}).variable == name
    assert wrong("0.0.0.0", AUTH_HMAC_KEY=TEXT, **{name: text}).variable == name


def test_hosts_and_proxies() -> None:
    """Hosts and proxies are read, in each mode."""
    for env in ({}, {"AUTH_HMAC_KEY": TEXT}):
        read = config("127.0.0.1", ALLOWED_HOSTS="App.example", TRUSTED_PROXIES="10.0.0.0/8", **env)
        assert [read.hosts.allow([host]) for host in ("app.example", "localhost", "other")] == [True, True, False]
        assert read.proxies.trust("10.1.1.1")


def test_repr() -> None:
    """Whoever prints a configuration sees no secret."""
    shown = repr(
        config(
            AUTH_HMAC_KEY=TEXT,
            AUTH_HMAC_PREVIOUS_KEY=OTHER,
            WATCH_TOKEN_KEY="third-" * 8,
            WATCH_TOKEN_PREVIOUS_KEY="third-" * 9,
        )
    )

    assert not any(secret in shown for secret in (TEXT, OTHER, "third", "hmac", "watch_key"))


def test_documented() -> None:
    """Every variable is documented once, and those that are secrets are among them."""
    names = [name for name, _, _ in DOCUMENTED]

    assert len(names) == len(set(names)) == 11
    assert set(names) > SECRETS
    assert all(meaning for _, _, meaning in DOCUMENTED)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgres://u:p@ss/w@h/x", "postgres://***@h/x"),
        ("postgres://h/x?user=u&password=p", "postgres://h/x?user=u&password=***"),
        ("redis://h/0?PASSWORD=p&x=1", "redis://h/0?PASSWORD=***&x=1"),
        ("postgres://h/x?sslpassword=p", "postgres://h/x?sslpassword=***"),
        ("rediss://h/0?ssl_password=p&x=1", "rediss://h/0?ssl_password=***&x=1"),
        ("postgres://h/x?p%61ssword=p", "postgres://h/x?p%61ssword=***"),
        ("postgres://u:p a@h/x?password=p a&x=1", "postgres://***@h/x?password=***&x=1"),
        ("8080", "8080"),
    ],
)
def test_masked(text: str, shown: str) -> None:
    """A password in a URL is not shown, wherever the URL has it."""
    assert masked(text) == shown


@pytest.mark.parametrize(
    ("bind", "env", "said"),
    [
        ("127.0.0.1", {}, "nobody, usernames are believed on loopback"),
        ("0.0.0.0", {"ALLOW_INSECURE_USERNAME": "1"}, "nobody, usernames are believed from everywhere"),
        ("0.0.0.0", {"AUTH_HMAC_KEY": TEXT}, "tokens of runfeed (HS256), watch tokens, API keys"),
        ("0.0.0.0", {"WATCH_TOKEN_KEY": TEXT}, "watch tokens, API keys"),
        ("0.0.0.0", {"AUTH_PUBLIC_KEY": EC.pem(), "AUTH_ISSUER": "i"}, "tokens of i (ES256), API keys"),
        (
            "0.0.0.0",
            {"AUTH_JWKS_URL": "https://id.example/keys", "AUTH_ISSUER": "i"},
            "tokens of i (RS256 or ES256 or EdDSA), API keys",
        ),
    ],
    ids=itertools.count(),
)
def test_who_asks(bind: str, env: dict[str, str], said: str) -> None:
    """In words whose word is taken; where nobody is asked no other credential counts either."""
    assert config(bind, **env).who_asks("API keys") == said


def test_in_force() -> None:
    """What was set is shown without secrets and on one line, and what was not as its default, in force as it is."""
    documented = [("A", "1", ""), ("B", "2", ""), ("C", "", ""), ("D", "", ""), ("E", "some words", ""), ("F", "", "")]
    env = {"A": " x\n y ", "D": "a secret", "F": "redis://:p@h"}

    assert in_force(documented, env, {"E": "other words", "A": "never"}, {"D"}) == [
        "A = x y", "B = 2 (default)", "C = unset (default)", "D = ***", "E = other words (default)", "F = redis://***@h"
    ]  # fmt: skip
