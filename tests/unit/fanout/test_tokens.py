"""fanout/tokens.py: what is a good token, and what is none.

orchestrator_api has the same file, byte for byte, and a house test says so: what is shown of one is shown of both.
"""

import json
import re
from pathlib import Path

import pytest

from fanout import tokens
from fanout.tokens import Issuer, Key, Principal, Verifier
from orchestrator_api import events
from tests.support.issuers import AUDIENCE, ISSUER, NOW, Signer, base64url, claims, signer, text_token, token
from tests.unit.fanout.judges import keys, refused, verifier

HMAC, RSA, EC, ED = signer("HS256"), signer("RS256"), signer("ES256"), signer("EdDSA")
EVERY = pytest.mark.parametrize("key", [HMAC, RSA, EC, ED], ids=lambda key: key.algorithm)
CONTRACT = json.loads((Path(__file__).parents[2] / "contract" / "contract.json").read_text())


@pytest.mark.parametrize(("name", "rule"), [("username", tokens.USERNAME), ("run_id", tokens.RUN_ID)])
def test_names(name: str, rule: re.Pattern[str]) -> None:
    """What a token may name is named by the contract's rules."""
    contract = CONTRACT["names"][name]

    assert contract["pattern"] == f"^{rule.pattern}$"
    assert all(rule.fullmatch(text) for text in contract["valid"])
    assert not any(rule.fullmatch(text) for text in contract["invalid"])


@EVERY
async def test_good(key: Signer) -> None:
    """A token of its issuer says who asks, what they may see and until when."""
    payload = claims(run_ids=["r1", "r2", "r1"], iat=NOW - 1.5, jti="t-1", nbf=NOW, roles=["admin"], typ=None)
    everything = await verifier(key).verify(token(key, payload, kid="k", typ="at+jwt"), NOW)
    least = await verifier(key).verify(token(key), NOW)

    assert everything == Principal("alice", frozenset({"r1", "r2"}), NOW + 600, NOW - 1.5, "t-1", ISSUER)
    assert least == Principal("alice", None, NOW + 600, 0.0, None, ISSUER)


@EVERY
@pytest.mark.parametrize("changed", ["header", "payload", "signature"])
async def test_tampered(key: Signer, changed: str) -> None:
    """A token of which a single character was changed is none."""
    header, payload, signature = token(key).split(".")
    other = {"header": (header[:-1] + "x", payload, signature), "payload": (header, payload[:-4] + "AAAA", signature)}
    parts = other.get(changed, (header, payload, ("B" if signature[0] == "A" else "A") + signature[1:]))

    assert (await refused(verifier(key), ".".join(parts))).code == "token_invalid"


@EVERY
async def test_another_key(key: Signer) -> None:
    """A token that somebody else signed, with the same algorithm and the same claims, is none."""
    assert "fits no key" in str(await refused(verifier(key), token(signer(key.algorithm, 1))))


@EVERY
@pytest.mark.parametrize("name", ["none", "None", "NONE", "nOnE", "", "HS384", "RS512", "PS256", None, 1, [], {}, True])
async def test_algorithm(key: Signer, name: object) -> None:
    """`alg` is the issuer's or the token is none: no `none` in any writing, no other algorithm of the same family."""
    unsigned = f"{base64url(json.dumps({'alg': name}).encode())}.{base64url(json.dumps(claims()).encode())}"

    await refused(verifier(key), f"{unsigned}.")
    await refused(verifier(key), unsigned)
    assert "`alg` must be" in str(await refused(verifier(key), token(key, alg=name)))


async def test_no_algorithm() -> None:
    """A header without `alg` makes no token."""
    await refused(verifier(HMAC), text_token("{}", json.dumps(claims()), HMAC))


@pytest.mark.parametrize("ending", ["", "\n"])
@pytest.mark.parametrize("key", [RSA, EC, ED], ids=lambda key: key.algorithm)
async def test_public_key_as_secret(key: Signer, ending: str) -> None:
    """HS256 with the public key as the secret, which everybody knows, is no signature of the issuer."""
    secret = (key.pem().rstrip("\n") + ending).encode()
    forged = token(Signer("HS256", secret, secret))

    assert "`alg` must be" in str(await refused(verifier(key), forged))
    assert "`alg` must be" not in str(await refused(verifier(key, HMAC), forged))


async def test_algorithm_belongs_to_its_key() -> None:
    """A key is used with its own algorithm, also where the issuer has several."""
    both = verifier(RSA, EC)

    assert (await both.verify(token(RSA), NOW)).username == "alice"
    assert (await both.verify(token(EC), NOW)).username == "alice"
    assert "fits no key" in str(await refused(both, token(RSA, alg="ES256")))


@pytest.mark.parametrize("name", ["jwk", "jku", "x5u", "x5c", "x5t"])
async def test_keys_in_the_header(name: str) -> None:
    """A key, or where to get one, that a token brings along is not looked at."""
    stranger = signer("ES256", 1)
    brought: dict[str, object] = {"jwk": stranger.jwk(), "jku": "https://evil.example/keys"}

    await refused(verifier(EC), token(stranger, None, **{name: brought.get(name, ["MIIB"])}))
    assert (await verifier(EC).verify(token(EC, None, **{name: brought.get(name, ["MIIB"])}), NOW)).username == "alice"


@pytest.mark.parametrize(
    "header",
    [{"crit": ["exp"]}, {"crit": ["b64"], "b64": False}, {"crit": []}, {"crit": None}, {"b64": False}, {"b64": True}],
)
async def test_critical(header: dict[str, object]) -> None:
    """A token that says that something of it is critical is none, since nothing of that is understood."""
    assert "`crit`" in str(await refused(verifier(HMAC), token(HMAC, None, **header)))


@pytest.mark.parametrize("kid", ["k" * 257, "x" * 5000, 1, 1.5, None, True, ["k"], {"k": 1}])
async def test_odd_key_name(kid: object) -> None:
    """`kid` is text of 256 characters at most."""
    assert "`kid`" in str(await refused(verifier(HMAC), token(HMAC, kid=kid)))


@pytest.mark.parametrize("kid", ["", "../../../../etc/passwd", "' OR 1=1 --", "k\0", "\ud800", "é", "k" * 256])
async def test_key_name_is_a_name(kid: str) -> None:
    """`kid` names a key and opens nothing: with one fixed key it is not even looked up."""
    assert (await verifier(HMAC).verify(token(HMAC, kid=kid), NOW)).username == "alice"


async def test_many_keys_of_a_name() -> None:
    """A signature is tried with a few keys: a token that leaves it open which of many is meant is none."""
    few, many = [[signer("HS256", number) for number in range(most)] for most in (4, 5)]

    assert (await verifier(*few).verify(token(few[-1]), NOW)).username == "alice"
    assert "`kid`" in str(await refused(verifier(*many), token(many[0])))


@pytest.mark.parametrize(
    "text",
    ["", ".", "..", "...", "a.b", "a.b.c.d", "a.b.c.d.e", "é.b.c", "a b.c.d", " a.b.c", "a.b.c ", "a.b.c\n", "a.b.c\0",
     "\ud800.b.c", "a=.b.c", "a+b.c.d", "a/b.c.d", "rfk_1_x", "rft_x", "Bearer a.b.c", "\uff10.b.c", "null",
     "a..c", ".b.c"],
)  # fmt: skip
async def test_no_token(text: str) -> None:
    """Text of another form is no token."""
    assert (await refused(verifier(HMAC), text)).code == "token_invalid"


async def test_white_space() -> None:
    """A good token with anything around it, or in it, is none."""
    good = token(HMAC)
    for bad in (f" {good}", f"{good} ", f"{good}\n", f"\t{good}", good.replace(".", ". "), good.replace(".", "\n.")):
        await refused(verifier(HMAC), bad)


async def test_length() -> None:
    """A token has 8 KiB at most, and a longer one is not even read."""
    spare = 8192 - len(token(HMAC, claims(pad="")))
    pads = [claims(pad="x" * (spare * 3 // 4 + more)) for more in (-2, 5)]

    assert len(token(HMAC, pads[0])) <= 8192 < len(token(HMAC, pads[1]))
    assert (await verifier(HMAC).verify(token(HMAC, pads[0]), NOW)).username == "alice"
    assert "longer" in str(await refused(verifier(HMAC), token(HMAC, pads[1])))
    assert "longer" in str(await refused(verifier(HMAC), "a" * 1_000_000))


@pytest.mark.parametrize("part", [0, 1, 2])
async def test_one_writing(part: int) -> None:
    """Padding and spare bits are refused: a token has one writing."""
    parts = token(HMAC, claims(pad="x")).split(".")
    for padding in ("=", "=="):
        await refused(verifier(HMAC), ".".join([*parts[:part], parts[part] + padding, *parts[part + 1 :]]))
    signature = base64url(b"\0" * 31 + b"\1")
    assert "base64url" in str(await refused(verifier(HMAC), f"{parts[0]}.{parts[1]}.{signature[:-1] + 'F'}"))
    assert "base64url" in str(await refused(verifier(HMAC), f"{parts[0]}.{parts[1]}.A"))


@pytest.mark.parametrize(
    "text",
    [" ", "[]", '"a"', "1", "null", "true", "{", '{"a":1}x', "{'a':1}", '{"a":NaN}', '{"a":Infinity}', '{"a":1,}',
     '{"alg":"HS256","alg":"HS256"}', '{"sub":"alice","sub":"bob"}', '{"a":{"b":1,"b":2}}', b"\xff\xfe",
     b'{"a":"\xff"}', "\ufeff{}", "[" * 3000, '{"a":' * 1000, '{"a":' + "1" * 4400 + "}"],
)  # fmt: skip
@pytest.mark.parametrize("part", ["header", "payload"])
async def test_no_object(part: str, text: str | bytes) -> None:
    """Header and payload are one JSON object each, in which no name stands twice, at any depth."""
    header = text if part == "header" else '{"alg":"HS256"}'
    payload = text if part == "payload" else json.dumps(claims())

    assert f"token's {part} must be" in str(await refused(verifier(HMAC), text_token(header, payload, HMAC)))


@pytest.mark.parametrize("name", ["iss", "aud", "sub", "exp"])
async def test_required(name: str) -> None:
    """`iss`, `aud`, `sub` and `exp` are there and are not null."""
    for value in (..., None):
        assert f"`{name}`" in str(await refused(verifier(HMAC), token(HMAC, claims(**{name: value}))))


@pytest.mark.parametrize(
    "value",
    [ISSUER[:-1], ISSUER[1:], f"{ISSUER}x", f" {ISSUER}", ISSUER.upper(), "", "h", "https://id.example", [ISSUER],
     {ISSUER: 1}, 1, True, "runfeed:api", "runfeed"],
)  # fmt: skip
async def test_issuer(value: object) -> None:
    """`iss` is the issuer's name as a whole: no part of it, no list that holds it."""
    rule = "the token's `iss` is not AUTH_ISSUER, to the byte (a slash at the end counts)"
    assert str(await refused(verifier(HMAC), token(HMAC, claims(iss=value)))) == rule


async def test_no_issuer_but_the_api() -> None:
    """Where no AUTH_ISSUER is set a token is told that the API's own are the only ones."""
    judge = Verifier([Issuer("runfeed:api", ("HS256",), keys(HMAC))], AUDIENCE)

    assert "`iss` is not runfeed:api: no AUTH_ISSUER is set" in str(await refused(judge, token(HMAC)))


async def test_issuers_are_apart() -> None:
    """Each issuer signs for itself: the key of one makes no token of another, whatever their algorithms are."""
    judge = Verifier([Issuer("a", ("HS256",), keys(HMAC)), Issuer("b", ("ES256",), keys(EC))], AUDIENCE)

    assert (await judge.verify(token(HMAC, claims(iss="a")), NOW)).issuer == "a"
    assert (await judge.verify(token(EC, claims(iss="b")), NOW)).issuer == "b"
    await refused(judge, token(HMAC, claims(iss="b")))
    await refused(judge, token(EC, claims(iss="a")))


@pytest.mark.parametrize(
    "value", ["other", "runfee", "runfeed2", "Runfeed", "", [], ["other"], [["runfeed"]], {"runfeed": 1}, 1, True,
              ["runfeed", 1], "runfeed other"],
)  # fmt: skip
async def test_wrong_audience(value: object) -> None:
    """`aud` names this service, exactly, alone or in a list of names."""
    assert "`aud`" in str(await refused(verifier(HMAC), token(HMAC, claims(aud=value))))


async def test_audience() -> None:
    """`aud` may be a list, and what it must name is configured."""
    for value in (["runfeed"], ["other", "runfeed"]):
        assert (await verifier(HMAC).verify(token(HMAC, claims(aud=value)), NOW)).username == "alice"
    assert (await verifier(HMAC, audience="x").verify(token(HMAC, claims(aud="x")), NOW)).username == "alice"


@pytest.mark.parametrize("name", ["exp", "nbf", "iat"])
@pytest.mark.parametrize("text", ["true", "false", '"1700000600"', "1e400", "-1", "-1e400", "1e12", "[]", "{}", "null",
                                  "1" * 400])  # fmt: skip
async def test_no_time(name: str, text: str) -> None:
    """Times are finite numbers of seconds since 1970: no text, no truth, nothing in milliseconds."""
    payload = json.dumps(claims(**{name: 0})).replace(f'"{name}": 0', f'"{name}": {text}')

    assert f"`{name}`" in str(await refused(verifier(HMAC), text_token('{"alg":"HS256"}', payload, HMAC)))


async def test_expired() -> None:
    """A token holds until 5 s after `exp`, and the code says that it has expired, and only that of a genuine one."""
    judge, text = verifier(HMAC), token(HMAC, claims(exp=NOW))

    assert (await judge.verify(text, NOW + 4.9)).expires_at == NOW
    assert (await refused(judge, text, NOW + 5)).code == "token_expired"
    assert (await refused(verifier(HMAC), text, NOW + 5)).code == "token_expired"
    assert (await refused(judge, token(signer("HS256", 1), claims(exp=NOW)), NOW + 5)).code == "token_invalid"


@pytest.mark.parametrize("name", ["nbf", "iat"])
async def test_future(name: str) -> None:
    """A token that is not valid yet is none; the issuer's clock may be 5 s before ours."""
    assert (await verifier(HMAC).verify(token(HMAC, claims(**{name: NOW + 5})), NOW)).username == "alice"
    problem = await refused(verifier(HMAC), token(HMAC, claims(**{name: NOW + 5.1})))
    assert (problem.code, f"`{name}` lies in the future" in str(problem)) == ("token_invalid", True)


@pytest.mark.parametrize(
    "value", ["", "-a", "a b", "a\n", "\u0430lice", "a*", "a/b", "a" * 129, 1, True, ["alice"], {}, "a\0"]
)
async def test_odd_subject(value: object) -> None:
    """`sub` is a username by the contract's rule, which is told."""
    rule = f"the token's `sub` {events.RULES[events.USERNAME]}"
    assert str(await refused(verifier(HMAC), token(HMAC, claims(sub=value)))) == rule


@pytest.mark.parametrize("value", ["", "a b", "\ud800", "é", "a\n", "a" * 257, 1, None, ["a"]])
async def test_odd_token_id(value: object) -> None:
    """`jti` is visible ASCII: it is written to a table and read from it."""
    assert "`jti`" in str(await refused(verifier(HMAC), token(HMAC, claims(jti=value))))


@pytest.mark.parametrize(
    "value", [None, [], "r1", ["r1", 1], ["r 1"], ["r*"], [["r1"]], {"r1": 1}, ["r"] * 129, 1, True, [None]]
)
async def test_odd_runs(value: object) -> None:
    """`run_ids` is a list of 1 to 128 run ids: null is not all of them."""
    assert "`run_ids`" in str(await refused(verifier(HMAC), token(HMAC, claims(run_ids=value))))


async def test_rotation() -> None:
    """A secret and the one before it are both taken."""
    old, new = signer("HS256", 1), signer("HS256", 2)
    judge = verifier(new, old)

    assert [(await judge.verify(token(key), NOW)).username for key in (old, new)] == ["alice", "alice"]
    await refused(judge, token(HMAC))


def test_broken_key() -> None:
    """A key that the library cannot use fits nothing."""
    assert Key("RS256", object()).fits(b"", b"") is False
    assert Key("ES256", EC.public).fits(b"", b"") is False
    assert "object" not in repr(Key("RS256", object()))
