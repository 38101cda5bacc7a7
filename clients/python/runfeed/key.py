"""The API key that a worker sends: from where it comes, each time that it is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Callable, Union

from .names import KEY, name

VARIABLE = "RUNFEED_API_KEY"

GivenKey = Union[str, Callable[[], str], None]


class NoKey(Exception):
    """There should be one, and none is had now; the text says why, and not what came instead."""


class Key:
    """Sent, and never shown or written.

    given: text, or a function that returns it: whoever keeps keys elsewhere, and changes them there. None:
    RUNFEED_API_KEY of the environment, if it is set. Raises ValueError when the text is none.
    """

    def __init__(self, given: GivenKey, environ: Mapping[str, str]) -> None:
        self._given = given
        self._environ = environ
        self._text: str | None = None
        self._known = not callable(given)  # a function may take its time: it is asked when there is something to send
        if self._known:
            self._text = self._read()

    def get(self) -> str | None:
        """The key; None: there is none to be sent. Raises NoKey."""
        if not self._known:
            self._text = self._read_safely()
            self._known = True
        return self._text

    def is_another(self) -> bool:
        """It was refused, so it is read anew: whether there is another now."""
        before = self._text
        try:
            self._text = self._read_safely()
        except NoKey:
            return False
        return self._text != before

    def _read_safely(self) -> str | None:
        try:
            return self._read()
        except Exception as error:  # noqa: BLE001 - the function's, or that what it returned is no key
            raise NoKey(f"api_key: {type(error).__name__}: {error}") from None

    def _read(self) -> str | None:
        """Raises ValueError, which does not repeat it, and whatever the function does."""
        if self._given is None:
            text: Any = self._environ.get(VARIABLE) or None
            return None if text is None else name(KEY, text, f"api_key ({VARIABLE})")
        return name(KEY, self._given() if callable(self._given) else self._given, "api_key")
