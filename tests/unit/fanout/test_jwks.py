"""fanout/jwks.py: an issuer's keys, however the issuer is, whatever tokens say. orchestrator_api has the same file."""

import asyncio
import itertools
import logging
import random

import pytest

from fanout import jwks
from fanout.jwks import read_keys
from fanout.tokens import KeysAway
from tests.support.issuers import NOW, Signer, claims, signer, token
from tests.unit.fanout.judges import refused
from tests.unit.fanout.publishers import World, key_set, published

RSA, EC, ED = signer("RS256"), signer("ES256"), signer("EdDSA")


@pytest.mark.parametrize("key", [RSA, EC, ED], ids=lambda key: key.algorithm)
async def test_good(key: Signer) -> None:
    """A token that is signed with a published key is good, whichever kind it is, with the key's name or without."""
    world = World(published(k1=key, k2=signer(key.algorithm, 1)))

    for header in ({"kid": "k1"}, {}):
        text = token(key, claims(jti=f"t{len(header)}"), **header)
        assert (await world.verifier.verify(text, NOW)).username == "alice"
    await refused(world.verifier, token(key, claims(), kid="k2"))
    assert world.fetches == 1


async def test_fetched_when_needed() -> None:
    """The keys are fetched for the first token, and kept."""
    world = World(published(k1=EC))
    assert world.fetches == 0

    assert await world.names("k1") == ["k1"]
    world.now += 599
    assert await world.names("k1") == ["k1"]
    assert world.fetches == 1


async def test_thousand_names() -> None:
    """A thousand tokens with invented key names make the issuer be asked once, and are refused."""
    world = World(published(k1=EC))
    stranger = signer("ES256", 1)
    await world.verifier.verify(token(EC, claims(), kid="k1"), NOW)
    world.now += 31
    for _ in range(1000):
        kid = random.choice(("", "../", "k" * 200)) + random.randbytes(16).hex()
        await refused(world.verifier, token(stranger, claims(), kid=kid))

    assert world.fetches == 2


async def test_thousand_names_at_first() -> None:
    """The same at once and before any key was read: one question, which all of them wait for."""
    world = World(published(k1=EC))
    world.open.clear()
    asking = [asyncio.create_task(world.keys.find(f"k{number}")) for number in range(1000)]
    await asyncio.sleep(0)  # let them ask
    world.open.set()
    found = await asyncio.gather(*asking)

    assert [len(keys) for keys in found] == [0, 1, *[0] * 998]
    assert world.fetches == 1


async def test_nothing_is_kept_of_names() -> None:
    """Names that nobody knows are not remembered: there is nothing to fill."""
    world = World(published(k1=EC))
    for number in range(100):
        await world.keys.find(f"x{number}")

    assert len(world.keys._keys) == 1


async def test_new_key() -> None:
    """A key that is new at the issuer is found by the first token that names it, 30 s after the last fetch at most."""
    world = World(published(k1=EC))
    assert await world.names("k1") == ["k1"]
    world.answer = published(k2=ED)
    world.now += 29.9
    assert await world.names("k2") == []
    world.now += 0.1
    assert await world.names("k2") == ["k2"]
    assert await world.names("k1") == []
    assert world.fetches == 2


async def test_refreshed_in_the_background() -> None:
    """Keys older than ten minutes are used as they are, and fetched anew without anybody waiting, once."""
    world = World(published(k1=EC))
    await world.names("k1")
    world.answer = published(k1=EC, k2=ED)
    world.now += 600
    world.open.clear()
    assert await world.names("k1") == ["k1"]
    assert await world.names("k1") == ["k1"]
    await asyncio.sleep(0)  # let it be fetched
    assert world.fetches == 2
    world.open.set()
    await world.settle()

    assert await world.names("k2") == ["k2"]
    assert world.fetches == 2


@pytest.mark.parametrize("answer", [OSError("down"), b"<html>", b"{}", key_set(), ValueError("x"), TimeoutError()])
async def test_stale_while_it_fails(answer: bytes | Exception, caplog: pytest.LogCaptureFixture) -> None:
    """While an issuer answers with nothing of use its keys stay; it is asked every 30 s at most, and that is logged."""
    world = World(published(k1=EC))
    await world.names("k1")
    world.answer = answer
    world.now += 600
    with caplog.at_level(logging.WARNING):
        for _ in range(60):
            world.now += 1
            assert await world.names("k1") == ["k1"]
            assert await world.names("other") == []
            await world.settle()

    assert world.fetches == 1 + 2
    assert {(record.name, record.message) for record in caplog.records} == {("fanout", "jwks_away")}
    assert all(type(answer).__name__ in vars(record)["error"] or isinstance(answer, bytes) for record in caplog.records)
    world.answer = published(k1=ED)
    world.now += 30
    await world.names("k1")
    await world.settle()
    assert [key.algorithm for key in await world.keys.find("k1")] == ["EdDSA"]


async def test_away_at_first() -> None:
    """Keys that were never read are away, not unknown; the issuer is asked again after 30 s."""
    world = World(OSError("down"))
    for _ in range(10):
        with pytest.raises(KeysAway):
            await world.verifier.verify(token(EC, claims(), kid="k1"), NOW)
    assert world.fetches == 1
    world.answer = published(k1=EC)
    world.now += 30

    assert (await world.verifier.verify(token(EC, claims(), kid="k1"), NOW)).username == "alice"


async def test_old() -> None:
    """After a fetch that failed the keys are old, until one brings some again."""
    world = World(published(k1=EC))
    await world.names("k1")
    for answer, state, error in (
        (OSError("down"), "old", "OSError: down"),
        (b"{}", "old", "ValueError: a key set is an object with `keys`, a list of 100 at most"),
        (published(k1=EC, k2=ED), "live", ""),
    ):
        world.answer = answer
        world.now += 600
        await world.names("k1")
        await world.settle()
        assert (world.keys.state, world.keys.error) == (state, error)

    assert world.keys.count == 2


async def test_hung(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fetch that does not end is ended."""
    monkeypatch.setattr(jwks, "FETCH_TIMEOUT", 0)
    world = World(published(k1=EC))
    world.open.clear()

    with pytest.raises(KeysAway):
        await world.keys.find("k1")


async def test_who_leaves_takes_nothing_away() -> None:
    """A caller that goes away does not end the fetch that others wait for."""
    world = World(published(k1=EC))
    world.open.clear()
    first, second = (asyncio.create_task(world.names("k1")) for _ in range(2))
    await asyncio.sleep(0)  # let them ask
    first.cancel()
    await asyncio.sleep(0)  # let it go
    world.open.set()

    assert await second == ["k1"]
    assert first.cancelled()
    assert world.fetches == 1


async def test_close() -> None:
    """close() ends a fetch that is under way, and does nothing where there is none."""
    world = World(published(k1=EC))
    await world.keys.close()
    world.open.clear()
    asking = asyncio.create_task(world.names("k1"))
    await asyncio.sleep(0)  # let it ask
    await world.keys.close()

    with pytest.raises(KeysAway):
        await asking


@pytest.mark.parametrize(
    "entry",
    [
        {"kty": "oct", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXM", "alg": "HS256"},
        {"kty": "oct", "k": "c2VjcmV0"},
        EC.jwk(alg="HS256"),
        RSA.jwk(alg="PS256"),
        RSA.jwk(alg="RS512"),
        RSA.jwk(alg="ES256"),
        RSA.jwk(alg=None),
        RSA.jwk(use="enc"),
        RSA.jwk(use=["sig"]),
        RSA.jwk(key_ops=["sign"]),
        RSA.jwk(key_ops="verify"),
        RSA.jwk(kid=1),
        RSA.jwk(kid="k" * 257),
        RSA.jwk(crv="P-256"),
        RSA.jwk(d="AQAB"),
        EC.jwk(d="AQAB"),
        RSA.jwk(n="AQAB"),
        RSA.jwk(n=1),
        RSA.jwk(e="AA"),
        RSA.jwk(n="!"),
        signer("RS256", bits=1024).jwk(),
        EC.jwk(crv="P-384"),
        EC.jwk(crv="secp256k1"),
        EC.jwk(crv=["P-256"]),
        EC.jwk(x="AQAB"),
        EC.jwk(x="A" * 43),
        EC.jwk(kty="OKP"),
        ED.jwk(crv="Ed448"),
        ED.jwk(crv="X25519"),
        ED.jwk(x=""),
        ED.jwk(x=None),
        {"kty": "RSA"},
        {"kty": "EC", "crv": "P-256"},
        {"kty": ["RSA"]},
        {"kty": None},
        {},
        [],
        None,
        "RSA",
        1,
    ],
    ids=itertools.count(),  # keys differ from process to process, and names of tests must not
)
def test_no_key(entry: object) -> None:
    """A key that is symmetric, for something else, private, weak or broken is passed over, and the others are read."""
    assert [key.kid for key in read_keys(key_set(entry, EC.jwk(kid="k1")))] == ["k1"]
    with pytest.raises(ValueError, match="no key for RS256"):
        read_keys(key_set(entry))


def test_keys() -> None:
    """RSA, P-256 and Ed25519 are read, each for its own algorithm; what a key need not say may be missing."""
    read = read_keys(key_set(RSA.jwk(kid="a"), EC.jwk(kid="b", use="sig", alg="ES256"), ED.jwk(key_ops=["verify"])))

    assert [(key.kid, key.algorithm) for key in read] == [("a", "RS256"), ("b", "ES256"), (None, "EdDSA")]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"null",
        b'{"keys":{}}',
        b'{"keys":null}',
        b'{"keys":[],"keys":[]}',
        b"\xff",
        b"[" * 100_000,
        key_set(*[EC.jwk()] * 101),
        key_set(EC.jwk(x5c="x" * 256 * 1024)),
    ],
    ids=itertools.count(),
)
def test_no_key_set(data: bytes) -> None:
    """A document of another form, or of too much, is none."""
    with pytest.raises(ValueError, match=r"."):
        read_keys(data)


def test_most_keys() -> None:
    """A hundred keys are read."""
    assert len(read_keys(key_set(*[EC.jwk()] * 100))) == 100
