"""Whatever the bytes, a token is refused or it is what was signed."""

import asyncio
import json

from hypothesis import given
from hypothesis import strategies as st

from fanout.tokens import FixedKeys, Issuer, Key, Principal, TokenRefused, Verifier
from tests.support.issuers import AUDIENCE, ISSUER, NOW, Signer, claims, signer, text_token, token

SIGNERS = [signer(name) for name in ("HS256", "RS256", "ES256", "EdDSA")]
SIGNER = st.sampled_from(SIGNERS)
GOOD = {key.algorithm: token(key, claims(run_ids=["r1"], iat=NOW - 1, jti="t1"), kid="k") for key in SIGNERS}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
NAMES = st.sampled_from(
    ["alg", "kid", "crit", "b64", "typ", "iss", "aud", "sub", "exp", "nbf", "iat", "jti", "run_ids"]
)


def judged(key: Signer, text: str) -> Principal | None:
    """Whom a new verifier says that the text is of; None: it refused it."""
    source = FixedKeys(Key(key.algorithm, key.public))
    verifier = Verifier([Issuer(ISSUER, (key.algorithm,), source)], AUDIENCE)
    try:
        return asyncio.run(verifier.verify(text, NOW))
    except TokenRefused:
        return None


@given(SIGNER, st.data())
def test_any_mutation(key: Signer, data: st.DataObject) -> None:
    """A good token with any of its characters replaced, inserted or left out is refused, or is the token again."""
    good = GOOD[key.algorithm]
    start = data.draw(st.integers(0, len(good)))
    end = data.draw(st.integers(start, min(len(good), start + 40)))
    piece = data.draw(st.text(alphabet=st.characters(codec=None, max_codepoint=0x2FF), max_size=8) | st.just(good))
    text = good[:start] + piece + good[end:]

    assert (judged(key, text) is None) == (text != good)


@given(SIGNER, st.text() | st.from_regex(r"[A-Za-z0-9_=.-]*\.[A-Za-z0-9_=.-]*\.[A-Za-z0-9_=.-]*"))
def test_any_text(key: Signer, text: str) -> None:
    """Any text is refused."""
    assert judged(key, text) is None


@given(SIGNER, st.dictionaries(NAMES, JSON, max_size=3), st.dictionaries(NAMES, JSON, max_size=3))
def test_any_claims(key: Signer, header: dict[str, object], changed: dict[str, object]) -> None:
    """Whatever an issuer signs is refused, or says what its claims say."""
    payload = claims(**changed)
    text = text_token(json.dumps({"alg": key.algorithm, **header}), json.dumps(payload), key)
    principal = judged(key, text)

    if principal is not None:
        assert (principal.username, principal.issuer) == (payload["sub"], ISSUER)
        assert (principal.expires_at, principal.token_id) == (payload["exp"], payload.get("jti"))
        assert principal.runs == (frozenset(runs) if isinstance(runs := payload.get("run_ids"), list) else None)


@given(SIGNER, st.binary(max_size=200), st.binary(max_size=200))
def test_any_bytes(key: Signer, header: bytes, payload: bytes) -> None:
    """Signed bytes that are no claims are refused."""
    assert judged(key, text_token(header, payload, key)) is None
    assert judged(key, text_token(json.dumps({"alg": key.algorithm}), payload, key)) is None
