"""A little of the fuzzing in every run of the tests, and that it finds what is there."""

import asyncio
import logging
from dataclasses import replace
from typing import Any
from unittest import mock

import pytest

from fanout import credentials
from fanout.admission import Admission
from tests.hardening.fuzz import Loud, batch
from tests.hardening.targets import Target, every
from tests.hardening.targets.door import FIELDS
from tests.hardening.targets.proven import check_visit, minted, shown, text, visit

TARGETS = every()


@pytest.mark.parametrize("target", TARGETS, ids=[target.name for target in TARGETS])
def test_nothing_is_found(target: Target) -> None:
    """A few inputs for each target, the same every time."""
    batch(target, 0, Loud(), inputs=40)


def request(query: bytes = b"", fields: bytes = b"") -> bytes:
    """A socket's."""
    return b"GET /ws" + query + b" HTTP/1.1\r\n" + FIELDS + fields + b"\r\n"


def test_whoever_has_a_token_sees() -> None:
    """What nobody may see without a token is there to be seen with one: silence would prove nothing."""
    whole, scoped, bob, _ = minted()
    seen = [
        shown(asyncio.run(visit(given)))
        for given in (
            [request(fields=b"Authorization: Bearer " + whole + b"\r\n")],
            [request(fields=b"Authorization: Bearer " + scoped + b"\r\n")],
            [request(), text(b'{"type":"auth","token":"' + bob + b'"}')],
            [request(b"?run_id=r2", b"Authorization: Bearer " + scoped + b"\r\n")],
            [request(b"?username=alice", b"Authorization: Bearer " + bob + b"\r\n")],
            [request()],
        )
    ]

    assert seen == [
        {("alice", "r1"), ("alice", "r2")}, {("alice", "r1")}, {("bob", "r1"), ("bob", "r3")}, set(), set(), set(),
    ]  # fmt: skip


def test_a_hole_is_found() -> None:
    """A hub that forgets which runs a token is for is found out."""
    _, scoped, _, _ = minted()
    given = [request(b"?run_id=r2", b"Authorization: Bearer " + scoped + b"\r\n")]
    check_visit(given)

    def uncut(admission: Admission, **granted: Any) -> Admission:
        return replace(admission, **granted | {"runs": None})

    with mock.patch.object(credentials, "replace", uncut), pytest.raises(AssertionError, match="shown"):
        check_visit(given)


def test_what_is_logged_is_found() -> None:
    """An exception that somebody caught and logged is a finding as well."""
    logged = Loud()
    logging.getLogger().addHandler(logged)
    noisy = Target("noisy", TARGETS[0].inputs, lambda _: logging.getLogger("x").error("caught"))
    try:
        with pytest.raises(AssertionError, match="caught"):
            batch(noisy, 0, logged, inputs=1)
    finally:
        logging.getLogger().removeHandler(logged)
