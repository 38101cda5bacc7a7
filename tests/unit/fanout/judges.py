"""Verifiers of tokens, and what they refuse."""

import pytest

from fanout.tokens import FixedKeys, Issuer, Key, TokenRefused, Verifier
from tests.support.issuers import AUDIENCE, ISSUER, NOW, Signer


def keys(*signers: Signer) -> FixedKeys:
    """A source of these keys."""
    return FixedKeys(*(Key(each.algorithm, each.public) for each in signers))


def verifier(*signers: Signer, audience: str = AUDIENCE) -> Verifier:
    """What takes the tokens of one issuer, signed by any of these keys."""
    algorithms = tuple(sorted({each.algorithm for each in signers}))
    return Verifier([Issuer(ISSUER, algorithms, keys(*signers))], audience)


async def refused(judge: Verifier, text: str, now: float = NOW) -> TokenRefused:
    """The refusal of a token, which shows nothing of it."""
    with pytest.raises(TokenRefused) as caught:
        await judge.verify(text, now)
    assert caught.value.detail == str(caught.value)
    assert not any(part in str(caught.value) for part in text.split(".") if len(part) > 8)
    return caught.value
