"""The usual request for a socket, read and answered in a tenth of the time.

A plain upgrade of `/ws?...` whose every header is understood here gets the answer that the library would give. Whatever
is in the least unusual is not judged here: it goes the library's way, with its checks and its words. A property test
holds the two side by side.
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from functools import lru_cache
from typing import Final

from . import handshake
from .admission import Admission, admit
from .handshake import Rules
from .peers import Hosts
from .wire import CONTROL_PROTOCOL, USERNAME

MAX_USUAL: Final = 4096  # bytes of a head: below the library's limit for a line
MAX_FIELDS: Final = 64  # below the library's
_REQUEST: Final = re.compile(rb"GET /ws\?([!-~]+) HTTP/1\.1\r\n")
_FIELD: Final = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):([\t -~\x80-\xff]*)")
_KEY: Final = re.compile(rb"[A-Za-z0-9+/]{22}==")
_PLAIN: Final = re.compile(rf"username=({USERNAME.pattern.replace('+', '')})")  # '+' is a space in a query
# Of these it matters what they say, and that they say it once.
_JUDGED: Final = frozenset((
    b"connection", b"upgrade", b"host", b"origin", b"content-length", b"transfer-encoding", b"sec-websocket-key",
    b"sec-websocket-version", b"sec-websocket-protocol", b"sec-websocket-extensions",
))  # fmt: skip
_CONNECTION: Final = (b"upgrade", b"keep-alive, upgrade")
_ACCEPT_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3
_ANSWER: Final = b"\r\n".join((
    b"HTTP/1.1 101 Switching Protocols", b"Upgrade: websocket", b"Connection: Upgrade", b"Sec-WebSocket-Accept: %b",
    b"%b\r\n",
))  # fmt: skip
_OURS: Final = CONTROL_PROTOCOL.encode()
_CONTROLS: Final = b"Sec-WebSocket-Protocol: %b\r\n" % _OURS


def read(head: bytes, rules: Rules) -> tuple[bytes, Admission] | None:
    """The answer's bytes and the admission; None: this request is the library's.

    Not for hubs that know users by tokens, or that read what a proxy says: they look at more fields than this.

    Raises:
        Refusal: 400, a rule of the query is broken.
    """
    request = _REQUEST.match(head)
    if request is None or len(head) > MAX_USUAL:
        return None
    fields = _judged(head[request.end() : -4])
    if fields is None or not _fine(fields, rules):
        return None
    offered = fields.get(b"sec-websocket-protocol")
    query = request[1].decode()
    plain = _PLAIN.fullmatch(query)
    admission = admit(query) if plain is None else Admission(plain[1], None)
    if offered is not None:
        admission = replace(admission, controls=True)
    digest = hashlib.sha1(fields[b"sec-websocket-key"] + _ACCEPT_GUID, usedforsecurity=False).digest()
    return _ANSWER % (base64.b64encode(digest), b"" if offered is None else _CONTROLS), admission


def _judged(lines: bytes) -> dict[bytes, bytes] | None:
    """The header fields that matter, by their names in lower case; None: some field is unusual, or their number."""
    fields: dict[bytes, bytes] = {}
    each = lines.split(b"\r\n")
    if len(each) > MAX_FIELDS:
        return None
    for line in each:
        field = _FIELD.fullmatch(line)
        if field is None:
            return None
        name = field[1].lower()
        if name in _JUDGED:
            if name in fields:
                return None
            fields[name] = field[2].strip(b" \t")
    return fields


@lru_cache(maxsize=256)
def _ours(hosts: Hosts, host: bytes) -> bool:
    """Whether `host` may be named; most requests name the one that was named last."""
    return hosts.allow([host.decode("iso-8859-1")])


def _fine(fields: dict[bytes, bytes], rules: Rules) -> bool:
    """Whether all of them say what they usually say."""
    if (
        fields.get(b"upgrade", b"").lower() != b"websocket"
        or fields.get(b"connection", b"").lower() not in _CONNECTION
        or fields.get(b"sec-websocket-version") != b"13"
        or not _KEY.fullmatch(fields.get(b"sec-websocket-key", b""))
        or fields.get(b"sec-websocket-protocol", _OURS) != _OURS
        or (rules.deflate and b"sec-websocket-extensions" in fields)
        or b"content-length" in fields
        or b"transfer-encoding" in fields
        or not _ours(rules.auth.hosts, fields.get(b"host", b""))
    ):
        return False
    origin = fields.get(b"origin")
    return origin is None or handshake.may_watch(origin.decode("iso-8859-1"), rules.origins)
