"""The only place in the tests that sleeps."""

import asyncio
import inspect
import time
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

STEP_SECONDS = 0.01  # between two looks: far below what any test asserts on


async def eventually(predicate: Callable[[], Any], *, within: float = 5.0) -> Any:
    """The predicate's first true value; AssertionError with its source when there is none `within` seconds.

    The predicate may be a coroutine function. An AssertionError that it raises counts as "not yet" and is the cause of
    ours at the end, so that `assert`s can be waited for too.
    """
    deadline = time.monotonic() + within
    while True:
        problem: AssertionError | None = None
        try:
            found = predicate()
            value = await found if inspect.isawaitable(found) else found
            if value:
                return value
        except AssertionError as error:
            problem = error
        if time.monotonic() >= deadline:
            raise AssertionError(f"not within {within} s: {describe(predicate)}") from problem
        await asyncio.sleep(STEP_SECONDS)


def eventually_sync(predicate: Callable[[], T], *, within: float = 5.0) -> T:
    """The same for a test without an event loop."""
    deadline = time.monotonic() + within
    while True:
        value = predicate()
        if value:
            return value
        if time.monotonic() >= deadline:
            raise AssertionError(f"not within {within} s: {describe(predicate)}")
        time.sleep(STEP_SECONDS)


def describe(predicate: Callable[..., object]) -> str:
    """The predicate's source on one line, or its name."""
    try:
        return " ".join(inspect.getsource(predicate).split())
    except (OSError, TypeError):
        return repr(predicate)
