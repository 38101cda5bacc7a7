"""One connection to the API, kept open: a request, its answer."""

from __future__ import annotations

import codecs
import contextlib
import email.utils
import http.client
import json
import os
import ssl
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from .key import Key, NoKey

# What the first connection would import. A child that is forked meanwhile would wait for the import for ever.
codecs.lookup("idna")

ANSWER_SECONDS = 10.0  # the API answers or refuses an append within 5
ANSWER_BYTES = 4 * 1024 * 1024  # numbers of 1,000 events take 50 KiB; more than this is no answer of the API's
REFUSED = (401, 403)  # what a key that was replaced, or has another scope, is answered
RETRY_AFTER_SECONDS = 300.0  # a server's mistake must not silence a worker for a day


class Unreachable(Exception):
    """No answer came; the text says why. What was sent may have been stored."""


@dataclass(frozen=True)
class Answer:
    """What came back. said: the JSON object of the body, {} when it is none. retry_after: seconds or None."""

    status: int
    said: dict[str, Any]
    retry_after: float | None = None

    @property
    def code(self) -> str:
        """The problem's name for programs, or nothing."""
        return str(self.said.get("code", ""))

    @property
    def detail(self) -> str:
        """The problem in words."""
        return f"{self.status} {self.code}".rstrip() + (f": {self.said['detail']}" if self.said.get("detail") else "")


class Api:
    """For one thread. url: the API's base, without a slash at its end. key: goes with each request; None: none does.

    A key that was refused is read anew: when there is another, the request is repeated with it.
    """

    def __init__(self, url: str, key: Key | None) -> None:
        parts = urlsplit(url)
        self._secure = parts.scheme == "https"
        self._host = parts.netloc
        self._prefix = f"{parts.path}/api/v1"
        self._headers = {"Accept": "application/json", "User-Agent": "runfeed-python/0.1.0"}
        self._key = key
        self._connection: http.client.HTTPConnection | None = None

    def post(self, path: str, body: bytes, timeout: float = ANSWER_SECONDS) -> Answer:
        """The answer to a POST of JSON; path is without the base. timeout: seconds. Raises Unreachable."""
        return self._answer("POST", path, body, timeout)

    def get(self, path: str, timeout: float = ANSWER_SECONDS) -> Answer:
        """The same for a GET."""
        return self._answer("GET", path, None, timeout)

    def close(self) -> None:
        """Closes the connection, if there is one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(OSError):
                connection.close()

    def abandon(self) -> None:
        """In a forked child: closes its copy of the parent's connection, past its buffers: their locks may be held."""
        connection, self._connection = self._connection, None
        if connection is not None and connection.sock is not None:
            with contextlib.suppress(OSError):
                os.close(connection.sock.detach())

    def _answer(self, method: str, path: str, body: bytes | None, timeout: float) -> Answer:
        answer = self._ask(method, path, body, timeout)
        if answer.status in REFUSED and self._key is not None and self._key.is_another():
            return self._ask(method, path, body, timeout)
        return answer

    def _ask(self, method: str, path: str, body: bytes | None, timeout: float) -> Answer:
        kept = self._connection is not None
        try:
            return self._exchange(method, path, body, timeout)
        except (ConnectionError, http.client.BadStatusLine) as error:
            self.close()
            if not kept:
                raise Unreachable(_words(error)) from None
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise Unreachable(_words(error)) from None
        # The server closes connections that were idle for 10 s; it may do so while we write.
        return self._ask(method, path, body, timeout)

    def _exchange(self, method: str, path: str, body: bytes | None, timeout: float) -> Answer:
        headers = self._headers if body is None else {**self._headers, "Content-Type": "application/json"}
        key = self._get_key()
        if key is not None:
            headers = {**headers, "Authorization": f"Bearer {key}"}
        connection = self._connection
        if connection is None:
            connection = self._connection = self._connect(timeout)
        elif connection.sock is not None:
            connection.sock.settimeout(timeout)
        connection.request(method, self._prefix + path, body, headers)
        with connection.getresponse() as response:
            content = response.read(ANSWER_BYTES)
            whole = response.isclosed() or not response.read(1)
            answer = Answer(response.status, _object(content), _seconds(response.getheader("Retry-After")))
        if not whole:
            self.close()
        return answer

    def _get_key(self) -> str | None:
        try:
            return None if self._key is None else self._key.get()
        except NoKey as error:
            raise Unreachable(str(error)) from None

    def _connect(self, timeout: float) -> http.client.HTTPConnection:
        if self._secure:
            return http.client.HTTPSConnection(self._host, timeout=timeout, context=ssl.create_default_context())
        return http.client.HTTPConnection(self._host, timeout=timeout)


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _object(content: bytes) -> dict[str, Any]:
    try:
        said = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


def _seconds(header: str | None) -> float | None:
    """How long to wait, of a Retry-After: seconds, or a date. None when it says neither."""
    if header is None:
        return None
    text = header.strip()
    if text.isascii() and text.isdigit():
        seconds = float(text[:9])
    else:
        try:
            seconds = email.utils.parsedate_to_datetime(text).timestamp() - time.time()
        except (TypeError, ValueError, IndexError, OverflowError):
            return None
    return min(max(seconds, 0.0), RETRY_AFTER_SECONDS)
