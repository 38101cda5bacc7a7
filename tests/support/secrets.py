"""No secret is printed: what tests know as one, and what looks like one, is looked for in all that our programs say.

A test does nothing for it, as a rule. A token, a ticket and an API key are known by their form; a key or a password is
remembered when a process of ours gets it in its environment, or a fixture makes it. Whoever makes a secret of another
kind says so: `key = secret("...")`.

What is looked through: what a test's own process printed and logged, the log files of processes, the answers 4xx and
5xx and the metrics that a test has read. What is found fails the test or, if nobody can tell which, the session.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar
from urllib.parse import unquote, urlsplit

LEAST = 8  # characters of a secret: what is shorter stands in any text by chance
LEAST_OF_A_VARIABLE = 16  # characters: a variable may be named KEY and hold a path or a number
URLS = ("DATABASE_URL", "REDIS_URL")
SECRET_NAMES = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD)$")
PUBLIC = "AUTH_PUBLIC_KEY"
FORMS = {
    "a token": re.compile(r"eyJ[A-Za-z0-9_-]+\.eyJ[A-Za-z0-9_-]*"),
    "an API key": re.compile(r"rfk_[0-9a-f]{16}_[A-Za-z0-9_-]{20,}"),
    "a ticket": re.compile(r"rft_[A-Za-z0-9_-]{20,}"),
}
# A stack, a statement, an object, a path of the program: what a caller has no use for and an attacker has.
INSIDE = re.compile(
    r'Traceback \(most|File "[^"]*\.py"|\.py:\d+|\bSELECT\b.*\bFROM\b|\bINSERT INTO\b|\bUPDATE \w+ SET\b'
    r"|\bDELETE FROM\b|\basyncpg\b|<[\w.]+ object at 0x|\b(?:postgresql|redis)://"
)
T = TypeVar("T", str, bytes)
_known: dict[str, str] = {}  # what it is, by the secret
_found: list[str] = []


def secret(value: T, what: str = "a secret of a test") -> T:
    """Remembers a secret; the secret."""
    text = value.decode("latin-1") if isinstance(value, bytes) else value
    if len(text) >= LEAST:
        _known[text] = what
    return value


def secrets_of(environ: Mapping[str, str]) -> None:
    """Remembers what a process is told and nobody else may know: keys, and the passwords in URLs."""
    for name, value in environ.items():
        if name in URLS:
            password_of(value, name)
        elif SECRET_NAMES.search(name) and name != PUBLIC and len(value) >= LEAST_OF_A_VARIABLE:
            secret(value, name)


def password_of(url: str, what: str = "a URL's password") -> str:
    """Remembers the password in a URL; the URL."""
    password = urlsplit(url).password
    if password:
        secret(password, what)
        secret(unquote(password), what)
    return url


def kinds_in(text: str) -> list[str]:
    """What kinds of secrets stand in a text."""
    kinds = {what for what, form in FORMS.items() if form.search(text)}
    kinds |= {what for value, what in _known.items() if value in text}
    return sorted(kinds)


def look_at(text: str | bytes, where: str) -> None:
    """Notes the secrets in what a program of ours has said. where: for whoever reads the failure."""
    said = text.decode(errors="replace") if isinstance(text, bytes) else text
    _found.extend(f"{where}: {kind}" for kind in kinds_in(said))


def look_at_refusal(text: str | bytes, where: str) -> None:
    """The same for an answer that is an error: it tells nothing of our inside, either."""
    look_at(text, where)
    said = text.decode(errors="replace") if isinstance(text, bytes) else text
    if match := INSIDE.search(said):
        _found.append(f"{where}: our inside, {match[0]!r}")


def look_at_log(path: Path) -> None:
    """The same for a log file; one that is gone has been looked at when its process ended, or never was there."""
    if path.is_file():
        look_at(path.read_bytes(), str(path))


def found() -> list[str]:
    """What was found since the last time that somebody asked."""
    told = list(dict.fromkeys(_found))
    _found.clear()
    return told
