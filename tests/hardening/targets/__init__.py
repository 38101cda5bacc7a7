"""What is fuzzed: each module has strategies for a stranger's bytes and, for each, what must hold whatever they are.

A target is a name, a strategy and a check. The check raises when something does not hold, or lets through whatever the
code under test raises that it does not promise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hypothesis.strategies import SearchStrategy


@dataclass(frozen=True)
class Target:
    """name: for `--only`. inputs: what is drawn. check: raises if something does not hold. share: of the time."""

    name: str
    inputs: SearchStrategy[Any]
    check: Callable[[Any], None]
    share: int = 1


def every() -> list[Target]:
    """All of them, in the order in which they are run."""
    from tests.hardening.targets import bodies, door, envelopes, names, proofs, proven

    return [*envelopes.TARGETS, *door.TARGETS, *proven.TARGETS, *names.TARGETS, *bodies.TARGETS, *proofs.TARGETS]
