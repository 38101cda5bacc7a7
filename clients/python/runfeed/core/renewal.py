"""The token that requests and streams carry: when another is asked for, and when one is refused for good."""

from __future__ import annotations

from collections.abc import Callable

from .actions import Action, Authenticate, Renew
from .asked import Requests


class Renewal:
    """requests: their numbers say which token each carries. act: takes what is to be done."""

    def __init__(self, requests: Requests, act: Callable[[Action], None]) -> None:
        self._requests = requests
        self._act = act
        self._fresh: int | None = None  # requests from this one on have a renewed token, which nothing has proved yet
        self._stream = False  # so has the stream

    def __repr__(self) -> str:
        return f"<Renewal {self._fresh} {self._stream}>"

    def connects(self) -> None:
        """A stream is opened with the token that there is now."""
        self._stream = self._fresh is not None

    def opened(self) -> None:
        """It is open."""
        if self._stream:
            self._fresh = None
        self._stream = False

    def answered(self, number: int) -> None:
        """The API took this request's token."""
        if self._carries(number):
            self._fresh = None

    def expiring(self) -> None:
        """The open stream's token runs out: it stays open when another is sent on it in time."""
        self.over()
        self._act(Authenticate())

    def authenticated(self) -> None:
        """That was sent, and the hub took it."""
        self._fresh = None

    def refused(self, number: int) -> bool:
        """The API refused this request's token. Whether another is tried."""
        return self._renew(self._carries(number))

    def over(self) -> bool:
        """The hub refused the stream's token, or it runs out. Whether another is tried."""
        return self._renew(self._stream)

    def _carries(self, number: int) -> bool:
        """Whether this request has the renewed one."""
        return self._fresh is not None and number >= self._fresh

    def _renew(self, fresh: bool) -> bool:
        """fresh: it was the renewed one."""
        if self._fresh is not None:
            return not fresh  # an old one was still on its way
        self._fresh = self._requests.next
        self._act(Renew())
        return True
