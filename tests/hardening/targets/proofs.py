"""What is to prove who asks: tokens."""

# ruff: noqa: PT017 - these are no tests; what a refusal says is part of what must hold

from __future__ import annotations

import base64
import json
from collections.abc import Coroutine
from functools import cache
from typing import Any, TypeVar

from hypothesis import strategies as st

from fanout import jwks, tokens
from tests.hardening.mutations import lines_of
from tests.hardening.targets import Target
from tests.support.issuers import AUDIENCE, ISSUER, NOW, Signer, base64url, claims, signer, text_token, token

T = TypeVar("T")
BASE64URL = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
KINDS = ("HS256", "RS256", "ES256", "EdDSA")


def done(work: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that waits for nothing."""
    try:
        work.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    raise AssertionError("it waits for something")


@cache
def world() -> tuple[tokens.Verifier, dict[str, Signer]]:
    """A verifier with an issuer for each kind of key, and the API's; and the keys."""
    keys = {kind: signer(kind) for kind in KINDS}
    issuers = [
        tokens.Issuer(f"{ISSUER}{kind}", (kind,), tokens.FixedKeys(tokens.Key(kind, key.public)))
        for kind, key in keys.items()
    ]
    return tokens.Verifier(issuers, AUDIENCE), keys


@cache
def genuine() -> tuple[bytes, ...]:
    """Good tokens."""
    _, keys = world()
    told = [claims(iss=f"{ISSUER}{kind}") for kind in KINDS]
    more = [claims(iss=f"{ISSUER}HS256", run_ids=["r1"], jti="j", iat=NOW, nbf=NOW)]
    made = [token(keys[kind], each, typ="JWT") for kind, each in zip(KINDS, told, strict=True)]
    return tuple(text.encode() for text in (*made, token(keys["HS256"], more[0])))


PARTS = (
    b"eyJhbGciOiJub25lIn0", b"eyJhbGciOiJub25lIn0.", b".", b"..", b"=", b"rfk_a_b", b"rft_x", b" ", b"%2e", b"A" * 9000,
)  # fmt: skip


def check_token(text: str) -> None:
    """Only a genuine token proves anything; all else is refused, in a sentence that repeats none of it."""
    verifier, _ = world()
    try:
        principal = done(verifier.verify(text, NOW))
    except tokens.TokenRefused as refused:
        assert refused.code == "token_invalid"
        assert len(text) < 8 or text not in refused.detail
        return
    assert text.encode() in genuine()
    assert principal.username == "alice"


HEADERS: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "alg": st.one_of(
            st.sampled_from(KINDS), st.sampled_from(KINDS), st.sampled_from(("none", "HS384", "", "PS256", None, 1, []))
        )
    },
    optional={
        "kid": st.one_of(st.text(max_size=300), st.integers(), st.none(), st.just("../../etc/passwd")),
        "crit": st.just(["exp"]),
        "b64": st.booleans(),
        "jwk": st.just({"kty": "oct", "k": "AAAA"}),
        "jku": st.just("https://evil.example/jwks"),
        "x5c": st.just(["MIIB"]),
        "typ": st.text(max_size=5),
    },
)
TIMES = st.one_of(
    st.just(NOW), st.just(NOW - 60), st.integers(-10, 10).map(lambda n: NOW + n), st.floats(),
    st.integers(-(2**80), 2**80), st.booleans(), st.text(max_size=3), st.none(),
)  # fmt: skip
NAMES = st.one_of(
    st.just("alice"),
    st.just("alice"),
    st.sampled_from(("alice", "a*", "", "a\n", "\u0430lice", "x" * 129)),
    st.text(max_size=5),
    st.none(),
)
CLAIMS = st.fixed_dictionaries(
    {
        "iss": st.sampled_from([f"{ISSUER}{kind}" for kind in KINDS]),
        "sub": NAMES,
        "aud": st.one_of(st.just(AUDIENCE), st.lists(st.sampled_from((AUDIENCE, "other", 1)), max_size=3), st.none()),
        "exp": st.one_of(st.just(NOW + 60), st.just(NOW + 60), TIMES),
    },
    optional={
        "iat": TIMES,
        "nbf": TIMES,
        "jti": st.one_of(st.just("j-1"), st.text(max_size=5), st.integers()),
        "run_ids": st.one_of(st.none(), st.just(["r1"]), st.lists(st.one_of(st.just("r1"), st.text(max_size=3)))),
    },
)
Forged = tuple[dict[str, Any], dict[str, Any], str]


def check_forged(given: Forged) -> None:
    """Signed with public keys, with nothing, or with another issuer's key: nobody is anybody by that."""
    header, payload, kind = given
    verifier, keys = world()
    text = ".".join(base64url(json.dumps(part).encode()) for part in (header, payload))
    secrets: list[bytes] = [b"", b"secret"]
    secrets += [keys[name].pem().encode() for name in KINDS if name != "HS256"]
    for secret in secrets:
        forged = Signer("HS256", secret, secret) if secret else None
        signature = forged.sign(text.encode()) if forged else b""
        refused(verifier, f"{text}.{base64url(signature)}")
    other = signer(kind, 1)
    refused(verifier, f"{text}.{base64url(other.sign(text.encode()))}")


def refused(verifier: tokens.Verifier, text: str) -> None:
    """It is."""
    try:
        principal = done(verifier.verify(text, NOW))
    except tokens.TokenRefused:
        return
    raise AssertionError(f"{text} was taken for {principal}")


def check_signed(given: Forged) -> None:
    """An issuer's own token with anything in it is refused, or is of a valid user with valid runs."""
    header, payload, kind = given
    verifier, keys = world()
    payload = {**payload, "iss": f"{ISSUER}{kind}"}
    made = text_token(json.dumps({**header, "alg": kind}), json.dumps(payload), keys[kind])
    try:
        principal = done(verifier.verify(made, NOW))
    except tokens.TokenRefused as refusal:
        assert refusal.code in ("token_invalid", "token_expired")
        return
    assert not {"crit", "b64"} & set(header)
    assert tokens.USERNAME.fullmatch(principal.username)
    assert principal.runs is None or all(map(tokens.RUN_ID.fullmatch, principal.runs))
    assert principal.expires_at > NOW - 6
    assert principal.issued_at <= NOW + 5
    assert base64.urlsafe_b64decode(made.split(".")[1] + "==")


@st.composite
def almost(draw: st.DrawFn) -> str:
    """A genuine token with one of its characters another one: there must be no second writing of it."""
    text = draw(st.sampled_from(genuine())).decode()
    ends = [place - 1 for place, character in enumerate(text) if character == "."]
    place = draw(st.one_of(st.sampled_from([*ends, len(text) - 1]), st.integers(0, len(text) - 1)))
    return text[:place] + draw(st.sampled_from(BASE64URL)) + text[place + 1 :]


def key_set(entries: list[dict[str, Any]]) -> bytes:
    """A document with these keys."""
    return json.dumps({"keys": entries}).encode()


@cache
def key_sets() -> tuple[bytes, ...]:
    """Good ones."""
    _, keys = world()
    entries = [keys[kind].jwk(kid=kind, use="sig", alg=kind) for kind in KINDS if kind != "HS256"]
    return (key_set(entries), *(key_set([entry]) for entry in entries))


def check_key_set(document: bytes) -> None:
    """A key set is refused, or has public keys of the three kinds and nothing else."""
    try:
        found = jwks.read_keys(document)
    except ValueError:
        return
    assert found
    assert all(key.algorithm in jwks.ALGORITHMS and key.algorithm == jwks.algorithm_of(key.value) for key in found)


MEMBERS = (
    b'"kty":"oct","k":"AAAA",', b'"d":"AAAA",', b'"use":"enc",', b'"alg":"HS256",', b'"n":"AQ",', b'"e":"AA",',
    b'"crv":"P-521",', b'"kid":[],', b'"key_ops":["sign"],', b'"x":"",', b"null,", b"[],", b"AAAA", b'"n":1,', b"____",
)  # fmt: skip
TOKENS = st.deferred(lambda: lines_of(genuine(), PARTS)).map(lambda data: data.decode("latin-1"))
FORGED = st.tuples(HEADERS, CLAIMS, st.sampled_from(KINDS))
TARGETS = [
    Target("token", st.one_of(TOKENS, almost()), check_token),
    Target("forged token", FORGED, check_forged),
    Target("signed nonsense", FORGED, check_signed),
    Target("key set", st.deferred(lambda: lines_of(key_sets(), MEMBERS)), check_key_set),
]
