"""docs/protocol.md, "A token of your own": what it says of tokens is what the services take."""

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from fanout import jwks, tokens
from fanout.tokens import Issuer, Principal, TokenRefused, Verifier
from tests.support.issuers import Signer, signer, token
from tests.unit.fanout.judges import keys

CHECKOUT = Path(__file__).resolve().parents[2]
PAGE = (CHECKOUT / "docs/protocol.md").read_text()
SECTION = PAGE.partition("\n## A token of your own\n")[2].partition("\n## ")[0]
ISSUER = "https://app.example.com"


def verifier(key: Signer) -> Verifier:
    """What verifies tokens of the section's issuer."""
    return Verifier([Issuer(ISSUER, (key.algorithm,), keys(key))], "runfeed")


def example() -> Callable[[str, str], str]:
    """The section's `token_for`."""
    code = re.findall(r"^```python\n(.*?)^```$", SECTION, re.MULTILINE | re.DOTALL)
    found: dict[str, Any] = {}
    exec(code[0], found)  # noqa: S102 - our own page
    made: Callable[[str, str], str] = found["token_for"]
    return made


async def test_the_example_makes_a_token() -> None:
    """What a reader copies is taken, and says all that it should."""
    key = signer("RS256")
    pem = key.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    made = await verifier(key).verify(example()("alice", pem), time.time())

    assert (made.username, made.runs, made.issuer) == ("alice", None, ISSUER)
    assert made.expires_at - made.issued_at == 900
    assert made.issued_at > 0
    assert made.token_id


async def taken(claims: dict[str, object]) -> Principal | None:
    """Whom a token with these claims is of; None: it is refused."""
    key = signer("RS256")
    try:
        return await verifier(key).verify(token(key, claims), 1_000)
    except TokenRefused:
        return None


def rows() -> dict[str, str]:
    """Required, or not: by claim."""
    return dict(re.findall(r"^\| `(\w+)` \| (required|send it|optional) \|", SECTION, re.MULTILINE))


async def test_required_claims() -> None:
    """Each claim that the table requires is, and no other."""
    full: dict[str, object] = {"iss": ISSUER, "aud": ["runfeed"], "sub": "alice", "exp": 1_500, "iat": 900, "nbf": 900}
    full |= {"jti": "t", "run_ids": ["r"]}
    without = {name: await taken({each: full[each] for each in full if each != name}) for name in full}

    assert rows().keys() == full.keys()
    assert await taken(full)
    assert {name for name, made in without.items() if made is None} == {
        name for name, said in rows().items() if said == "required"
    }


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("sub", "0._@|:+-", "_a"),
        ("sub", "a" * 128, "a" * 129),
        ("exp", 996, 995),
        ("exp", 100_000_000_000, 100_000_000_001),
        ("iat", 1_005, 1_006),
        ("nbf", 1_005, 1_006),
        ("jti", "!" * 256, "!" * 257),
        ("jti", "~", "a b"),
        ("run_ids", ["r"], []),
        ("run_ids", ["r"] * 128, ["r"] * 129),
        ("run_ids", ["r"], None),
        ("aud", ["x", "runfeed"], ["x"]),
    ],
)
async def test_rules(name: str, good: object, bad: object) -> None:
    """The table's rules at their bounds."""
    claims: dict[str, object] = {"iss": ISSUER, "aud": "runfeed", "sub": "alice", "exp": 1_500}

    assert await taken(claims | {name: good})
    assert await taken(claims | {name: bad}) is None


def test_numbers() -> None:
    """Each bound that the section states is the code's."""
    low, high = jwks.RSA_BITS
    stated = [
        f"by {tokens.LEEWAY:.0f} s",
        f"at most {int(tokens.LATEST):,}:",
        f"{tokens.LONGEST:,} characters",
        f"text of {tokens.LONGEST_KID} characters",
        f"1 to {tokens.MOST_RUNS} run ids",
        f"more than {tokens.MOST_TRIES} of one",
        f"RSA of {low} to {high} bits",
        tokens.API_ISSUER,
    ]

    assert [text for text in stated if text not in SECTION] == []
    assert all(f"`{name}`" in SECTION for name in jwks.ALGORITHMS)
    contract = json.loads((CHECKOUT / "tests/contract/contract.json").read_text())
    assert str(contract["limits"]["run_filters"]) == str(tokens.MOST_RUNS)
