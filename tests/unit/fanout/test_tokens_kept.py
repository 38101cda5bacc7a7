"""fanout/tokens.py: what is kept of verified tokens, the API's own tokens, and what was taken back."""

import hashlib
import json

import jwt
import pytest

from fanout import tokens
from fanout.tokens import API_ISSUER, FixedKeys, Issuer, Key, KeysAway, Principal, Revocations, Verifier, mint
from tests.support.issuers import AUDIENCE, ISSUER, NOW, SECRET, Signer, claims, signer, text_token, token
from tests.unit.fanout.judges import refused

HMAC = signer("HS256")


class Counted(FixedKeys):
    """Keys that count how often they are asked for."""

    asked = 0

    async def find(self, kid: str | None) -> tuple[Key, ...]:
        """All of them."""
        self.asked += 1
        return tuple(await super().find(kid))


def counting(key: Signer) -> tuple[Verifier, Counted]:
    """A verifier, and its keys."""
    source = Counted(Key(key.algorithm, key.public))
    return Verifier([Issuer(ISSUER, (key.algorithm,), source)], AUDIENCE), source


async def test_kept() -> None:
    """A token that was verified is so for 60 s, but for its end; a clock that was set back keeps nothing longer."""
    judge, source = counting(HMAC)
    text = token(HMAC, claims(exp=NOW + 30))

    first = await judge.verify(text, NOW)
    assert await judge.verify(text, NOW + 20) is first
    assert source.asked == 1
    assert (await refused(judge, text, NOW + 40)).code == "token_expired"
    assert source.asked == 1
    await refused(judge, text, NOW + 60)
    assert source.asked == 2
    await judge.verify(text, NOW - 10)
    assert source.asked == 3


async def test_refusals_are_not_kept() -> None:
    """What was refused is judged anew: a token that is not valid yet will be."""
    judge, _ = counting(HMAC)
    text = token(HMAC, claims(nbf=NOW + 20))

    await refused(judge, text)
    assert (await judge.verify(text, NOW + 20)).username == "alice"


async def test_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tokens that are kept are bounded, the oldest goes first, and none of them is kept as it is written."""
    monkeypatch.setattr(tokens, "KEPT", 3)
    judge, source = counting(HMAC)
    texts = [token(HMAC, claims(jti=str(number))) for number in range(4)]
    for text in texts:
        await judge.verify(text, NOW)

    assert set(judge._kept) == {hashlib.sha256(text.encode()).digest() for text in texts[1:]}
    await judge.verify(texts[3], NOW + 1)
    assert source.asked == 4
    await judge.verify(texts[0], NOW + 1)
    assert source.asked == 5


async def test_keys_away() -> None:
    """That an issuer's keys are away is no judgement on the token, and is passed on."""

    class Away(FixedKeys):
        async def find(self, kid: str | None) -> tuple[Key, ...]:
            raise KeysAway("away")

    judge = Verifier([Issuer(ISSUER, ("HS256",), Away()), Issuer("b", ("HS256",), Away())], AUDIENCE)
    with pytest.raises(KeysAway):
        await judge.verify(token(HMAC), NOW)
    await refused(judge, token(HMAC, claims(iss="c")))


def watching(secret: bytes = SECRET, audience: str = AUDIENCE) -> Verifier:
    """What takes the API's own tokens."""
    return Verifier([Issuer(API_ISSUER, ("HS256",), FixedKeys(Key("HS256", secret)))], audience)


@pytest.mark.parametrize("runs", [None, ["r2", "r1"]])
async def test_mint(runs: list[str] | None) -> None:
    """A minted token is one of its user, and shows the runs that were named, or all."""
    text = mint(SECRET, username="alice", runs=runs, audience=AUDIENCE, now=NOW + 0.25, ttl=900)
    principal = await watching().verify(text, NOW + 0.25)

    assert principal.runs == (None if runs is None else {"r1", "r2"})
    assert (principal.username, principal.issuer) == ("alice", API_ISSUER)
    assert (principal.issued_at, principal.expires_at) == (NOW + 0.25, NOW + 900.25)
    assert jwt.get_unverified_header(text) == {"alg": "HS256", "typ": "JWT"}


async def test_minted_for_here() -> None:
    """A minted token is good for its audience and its key alone, and each has an id of its own."""
    texts = [mint(SECRET, username="alice", runs=None, audience="staging", now=NOW, ttl=900) for _ in range(2)]

    assert "`aud`" in str(await refused(watching(), texts[0]))
    await refused(watching(b"x" * 32, "staging"), texts[0])
    ids = [(await watching(audience="staging").verify(text, NOW)).token_id for text in texts]
    assert ids[0] != ids[1]


async def test_minted_for_no_run() -> None:
    """A token that was minted for no run at all is refused: it is not one for all."""
    assert "`run_ids`" in str(
        await refused(watching(), mint(SECRET, username="alice", runs=[], audience=AUDIENCE, now=NOW, ttl=900))
    )


async def test_own_issuer_is_not_for_others() -> None:
    """Who signs for another issuer mints no token of the API."""
    other = signer("HS256", 1)
    judge = Verifier(
        [
            Issuer(ISSUER, ("HS256",), FixedKeys(Key("HS256", other.public))),
            Issuer(API_ISSUER, ("HS256",), FixedKeys(Key("HS256", SECRET))),
        ],
        AUDIENCE,
    )

    await refused(judge, token(other, claims(iss=API_ISSUER)))
    await refused(judge, token(HMAC, claims(iss=ISSUER)))


async def test_order_of_claims() -> None:
    """What was verified is what is kept: two tokens of other bytes are two, also when they say the same."""
    judge, source = counting(HMAC)
    payload = json.dumps(claims())
    for text in (payload, payload.replace(", ", ","), payload):
        await judge.verify(text_token('{"alg":"HS256"}', text, HMAC), NOW)

    assert source.asked == 2


def principal(username: str = "alice", issued_at: float = NOW, token_id: str | None = None) -> Principal:
    """Somebody with a token."""
    return Principal(username, None, NOW + 600, issued_at, token_id, ISSUER)


def test_nothing_is_revoked() -> None:
    """At first nothing is taken back."""
    assert not any(Revocations().revoked(each) for each in (principal(), principal(issued_at=0.0), principal("None")))


def test_user_is_revoked() -> None:
    """What a user was issued until a moment is taken back, that moment included, and a token that says no moment."""
    revocations = Revocations()
    revocations.add("alice", NOW)

    assert [bool(revocations.revoked(principal(issued_at=at))) for at in (0.0, NOW - 1, NOW, NOW + 0.001)] == [
        True, True, True, False
    ]  # fmt: skip
    assert not revocations.revoked(principal("Alice", NOW - 1))


def test_later_moment_counts() -> None:
    """Of a user's moments the latest counts, in whatever order they are heard of."""
    revocations = Revocations()
    for before in (NOW, NOW + 5, NOW - 5):
        revocations.add("alice", before)

    assert revocations.revoked(principal(issued_at=NOW + 5))
    assert not revocations.revoked(principal(issued_at=NOW + 6))


def test_token_is_revoked() -> None:
    """A token is taken back by its id, whoever has it; one without an id is not among them."""
    revocations = Revocations()
    revocations.add_token("t1")

    assert revocations.revoked(principal(token_id="t1"))
    assert revocations.revoked(principal("bob", token_id="t1"))
    assert not revocations.revoked(principal(token_id="t2"))
    assert not revocations.revoked(principal())


def test_why_it_is_revoked() -> None:
    """A token without `iat` is told that this is why it holds no longer, unless it was taken back by its id."""
    revocations = Revocations()
    revocations.add("alice", NOW)
    revocations.add_token("t1")

    silent = "the user's tokens were revoked, and this one does not say when it was issued (`iat`)"
    assert revocations.revoked(principal(issued_at=0.0)) == silent
    assert revocations.revoked(principal(issued_at=0.0, token_id="t1")) == "the token was revoked"
    assert revocations.revoked(principal(issued_at=NOW)) == "the token was revoked"
