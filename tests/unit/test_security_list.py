"""The list of attacks in docs/security.md names tests that exist, and leaves none of the promised attacks out."""

import ast
import re
from functools import cache
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
ROW = re.compile(r"^\| (\d+) \| (.+?) \| (.+) \|$", re.MULTILINE)
TEST = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")
# What was promised (the list of the security tests), by a word that its row must have.
PROMISED = (
    "foreign Origin", "`null`", "app.example.com.evil.io", "no token", "`none`", "RSA public key", "no `exp`", "`aud`",
    "`iss`", "`nbf`", "`crit`", "`../`", "1,000", "expires while", "`FLUSHALL`", "used again", "is over",
    "same moment", "`%0d%0a`", "lines in the log", "`/metrics`", "inflates", "drop by drop", "`X-Forwarded-For`",
    "another tenant's", "webhooks", "SNS", "SQL", "dependencies",
)  # fmt: skip
LATER = {"26", "27"}  # what they attack is not there yet


def rows() -> list[tuple[str, str, str]]:
    """(number, attack, where) of each row."""
    table = (CHECKOUT / "docs/security.md").read_text().partition("\n## ")[0]
    return ROW.findall(table)


@cache
def names_in(path: str) -> set[str]:
    """The names of a file's tests."""
    tree = ast.parse((CHECKOUT / path).read_text(), path)
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return {function.name for function in functions if function.name.startswith("test_")}


def test_every_named_test_exists() -> None:
    """Whoever renames or removes a test that shows an attack is told."""
    named = [(number, path, name) for number, _, where in rows() for path, name in TEST.findall(where)]
    missing = [
        f"row {number}: {path}::{name}"
        for number, path, name in named
        if not (CHECKOUT / path).is_file() or name not in names_in(path)
    ]

    assert len(named) > 50
    assert missing == []


def test_every_attack_has_a_test() -> None:
    """A row without a test says that what it attacks is not there yet."""
    without = {number for number, _, where in rows() if not TEST.search(where)}

    assert without == LATER
    assert all(where.startswith("not built yet: ") for number, _, where in rows() if number in LATER)


def test_no_attack_is_left_out() -> None:
    """The promised attacks are there, one a row, in their order."""
    found = rows()

    assert [number for number, _, _ in found] == [str(number) for number in range(1, len(PROMISED) + 1)]
    assert [word for word, (_, attack, _) in zip(PROMISED, found, strict=True) if word not in attack] == []


def test_nothing_is_named_in_vain() -> None:
    """Every path of a test in the document is one that the check above has read."""
    text = (CHECKOUT / "docs/security.md").read_text()

    assert len(re.findall(r"tests/[\w/]+\.py::", text)) == len(TEST.findall(text))
