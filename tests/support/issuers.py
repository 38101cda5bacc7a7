"""Issuers of tokens for tests: keys of each kind, and tokens that are exactly as a test wants them, right or wrong."""

import base64
import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as generate_rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import get_default_algorithms

NOW = 1_700_000_000.0  # seconds since 1970: when the tests' tokens are judged
SECRET = b"0123456789abcdef0123456789abcdef"
ISSUER = "https://id.example/"
AUDIENCE = "runfeed"
_ALGORITHMS = get_default_algorithms()


@dataclass(frozen=True)
class Signer:
    """A key to sign with, as PyJWT's algorithm has it; `public` is its other half, the same for a secret."""

    algorithm: str
    private: Any
    public: Any

    def pem(self) -> str:
        """The public key as a file holds it."""
        return str(self.public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode())

    def jwk(self, **members: object) -> dict[str, object]:
        """The public key as an entry of a key set."""
        return {**_ALGORITHMS[self.algorithm].to_jwk(self.public, as_dict=True), **members}

    def sign(self, message: bytes, algorithm: str | None = None) -> bytes:
        """A signature."""
        return _ALGORITHMS[algorithm or self.algorithm].sign(message, self.private)


@functools.cache
def signer(algorithm: str, number: int = 0, bits: int = 2048) -> Signer:
    """A key for RS256, ES256, EdDSA or HS256; another one for each number."""
    if algorithm == "HS256":
        secret = SECRET if number == 0 else f"{number:032}".encode()
        return Signer(algorithm, secret, secret)
    private: Any
    if algorithm == "RS256":
        private = generate_rsa(public_exponent=65537, key_size=bits)
    else:
        private = generate_private_key(SECP256R1()) if algorithm == "ES256" else Ed25519PrivateKey.generate()
    return Signer(algorithm, private, private.public_key())


def base64url(data: bytes) -> str:
    """As JOSE writes it, without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def claims(**changed: object) -> dict[str, object]:
    """The claims of a good token, some of them changed; `...` leaves one out."""
    good = {"iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "exp": NOW + 600, **changed}
    return {name: value for name, value in good.items() if value is not ...}


def text_token(header: str | bytes, payload: str | bytes, key: Signer) -> str:
    """A token of these very texts, signed."""
    parts = [part.encode() if isinstance(part, str) else part for part in (header, payload)]
    signed = ".".join(base64url(part) for part in parts)
    return f"{signed}.{base64url(key.sign(signed.encode()))}"


def token(key: Signer, payload: Mapping[str, object] | None = None, **header: object) -> str:
    """A signed token. payload: its claims, those of a good one when left out. header: beside `alg`, or in its place."""
    return text_token(json.dumps({"alg": key.algorithm, **header}), json.dumps(payload or claims()), key)
