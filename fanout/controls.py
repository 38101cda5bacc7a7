"""What the hub itself has to say: control frames for `runfeed.v1` clients, comments and resets for SSE. Bytes only."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from .wire import text

_encode: Final = msgspec.json.Encoder().encode


def control(kind: str, **fields: Any) -> bytes:
    """A control frame as a WebSocket text frame: `"control":true` and no username, which an event always has."""
    return text(_encode({"control": True, "type": kind, **fields}))


def heartbeat(head: int | None, epoch: str | None) -> bytes:
    """Browsers cannot see pings."""
    return control("heartbeat", head=head, epoch=epoch)


def closing(code: int, retry_ms: int, reason: str) -> bytes:
    """The socket will be closed; come back after `retry_ms` milliseconds. reason: for programs, as a refusal's code."""
    return control("closing", code=code, retry_in_ms=retry_ms, reason=reason)


def sse_comment(word: bytes, head: int | None) -> bytes:
    """A comment that carries the cursor: `id:` without data sets Last-Event-ID and shows nothing."""
    return b": %b\n\n" % word if head is None else b": %b\nid: %d\n\n" % (word, head)


def sse_partial(head: int, epoch: str | None) -> bytes:
    """The first words of a stream that leaves out runs: `connected` as a socket says it, under a name of its own."""
    said = _encode({"control": True, "type": "connected", "head": head, "epoch": epoch, "partial": True})
    return b": connected\nid: %d\nevent: connected\ndata: %b\n\n" % (head, said)


def sse_reset(epoch: str | None, head: int | None) -> bytes:
    """The numbering changed: the empty `id:` makes the browser forget its Last-Event-ID."""
    return b"event: reset\nid:\ndata: %b\n\n" % _encode(
        {"control": True, "type": "reset", "epoch": epoch, "head": head}
    )


def sse_token_ended(code: str) -> bytes:
    """The token that the stream was opened with ended: `token_expired` or `token_revoked`. Come with another one."""
    reason = code.removeprefix("token_")
    return b"event: token_expired\ndata: %b\n\n" % _encode({"control": True, "type": "token_expired", "reason": reason})


def sse_retry(retry_ms: int) -> bytes:
    """Come back after `retry_ms` milliseconds: the last thing on a stream that ends."""
    return b"retry: %d\n\n" % retry_ms


def sse_refused(code: str, retry_ms: int) -> bytes:
    """The same of a stream that never began, with the refusal's code for people: a client reads no comment.

    One block, since a block that is a comment alone is a sign of life.
    """
    return b": %b\n%b" % (code.encode(), sse_retry(retry_ms))
