"""Who may: from a good request to somebody who is known, and until that ends.

With tokens nobody touches a feed before it is known whose token they have, and what they see is cut to it. It ends with
the token: by its time, unless a new one comes on the same socket, or because it was revoked. Without tokens the
username is believed; beyond loopback the limits hold all the same.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Hashable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

import structlog
from websockets.frames import DATA_OPCODES, Frame, Opcode
from websockets.http11 import Request

from . import controls, credentials, limits
from .credentials import Credential
from .door import AUTH, CLOSING, OPEN, WAITING, history_away
from .errors import Refusal
from .guest import Guest
from .handshake import CLOSE_CODES, TOO_MANY_MESSAGES, problem
from .peers import counted_as
from .pings import Expiries
from .tokens import Principal
from .verify import Verification, keys_away

if TYPE_CHECKING:
    from .deliver import Connection
    from .hub import Hub

SPARE: Final = 64  # connections beyond the process' limit that are read until they can be refused in their own words
CROWD: Final = 2  # times its limit that an address may be connected before it is not even read
TICK: Final = 0.25  # seconds to which an expiry is exact
UNAUTHENTICATED: Final = CLOSE_CODES[401]
log = structlog.stdlib.get_logger("fanout")


class Guard:
    """Judges all connections.

    Attributes:
        proven: tokens say who asks.
        in_force: the limits for users, addresses, handshakes and messages hold.
        verification: whose a credential is.
        tasks: the verifications that are under way.
    """

    def __init__(self, hub: Hub) -> None:
        settings = hub.settings
        self._hub = hub
        self._auth = settings.auth
        self.proven = not self._auth.insecure
        self.in_force = self.proven or self._auth.exposed
        self._most_messages = settings.messages_per_min
        self._users = limits.Counts(settings.sockets_per_user)
        self._addresses = limits.Counts(settings.sockets_per_address)
        self._handshakes = limits.Bucket(settings.handshakes_per_s if self.in_force else 0, hub.loop.time())
        self._expiries: Expiries[Connection] = Expiries(TICK, hub.clock())
        self.verification = Verification(settings.auth, hub.history, hub.revocations, hub.metrics, hub.clock)
        self.tasks: set[asyncio.Task[None]] = set()

    # The connection.

    def met(self, connection: Connection) -> None:
        """Somebody has connected; far beyond the limits they are told so, and nothing of theirs is read."""
        hub = self._hub
        beyond = len(hub.connections) > hub.settings.max_sockets + SPARE
        if self.in_force:
            connection.guest = guest = Guest()
            peer = connection.transport.get_extra_info("peername")
            if peer and not self._auth.proxies.trust(peer[0]):
                self._count(guest, peer[0])
                beyond = beyond or self._addresses.over(guest.address, CROWD)
        if beyond and (refusal := self.busy(connection)) is not None:
            connection.turn_away(problem(refusal))

    def gone(self, connection: Connection) -> None:
        """Its connection has ended."""
        guest = connection.guest
        if guest is not None and guest.address:
            self._addresses.remove(guest.address)
            guest.address = ""

    def left(self, connection: Connection) -> None:
        """It is, or waits for, nothing any more. May be said twice."""
        guest = connection.guest
        if guest is None:
            return
        if guest.task is not None:
            guest.task.cancel()
            guest.task = None
        if guest.seat is not None:
            self._users.remove(guest.seat)
            guest.seat = None
        self._expiries.drop(connection, guest.ends)
        guest.principal = None
        guest.forget()

    def _count(self, guest: Guest, address: str) -> None:
        guest.address = counted_as(address)
        self._addresses.add(guest.address)

    # The request.

    def busy(self, connection: Connection) -> Refusal | None:
        """Why nobody is let in now who comes from there, whatever they ask; nothing is taken for it yet."""
        hub, guest = self._hub, connection.guest
        if len(hub.connections) > hub.settings.max_sockets:
            return self._limited("process", _busy(503, "too_many_sockets"))
        if guest is None:
            return None
        if guest.address and self._addresses.over(guest.address):
            return self._limited("address", _busy(429, "too_many_sockets", "address"))
        if self._handshakes.empty(hub.loop.time()):
            return self._limited("handshakes", _busy(503, "too_many_handshakes"))
        return None

    def arrive(self, connection: Connection, request: Request | None) -> None:
        """A good request; None: one whose every field was understood, which is told apart without tokens only."""
        guest = connection.guest
        if guest is not None and not guest.address and request is not None:
            peer = connection.transport.get_extra_info("peername")
            forwarded = request.headers.get_all("X-Forwarded-For")
            if peer:  # else it has gone already: the address of nobody is not counted, and never too often there
                self._count(guest, self._auth.proxies.client_address(peer[0], forwarded))
        if (refusal := self.busy(connection)) is not None:
            connection.refuse_waiting(refusal)
        elif guest is None:
            self._hub.joins.arrive(connection)
        elif self.proven and request is not None:
            # Nothing is taken for those who only ask: there may be as many of them as addresses and sockets let be.
            self._ask(connection, guest, request)
        else:
            self._enter(connection)

    def _ask(self, connection: Connection, guest: Guest, request: Request) -> None:
        try:
            credential = credentials.shown(request.path, request.headers, connection.admission.encoding)
        except Refusal as refusal:
            connection.refuse_waiting(refusal)
            return
        if credential is None:
            connection.ask_who()
        else:
            self._begin(connection, guest, credential, self._judge)

    def _enter(self, connection: Connection) -> None:
        """Whoever this is may see what it asks for, if it is not one too many."""
        # A run is looked up before it is let in: one that is not there takes nothing from anybody.
        judge = self.let_in if connection.admission.run_id is None else self._seat
        if (refusal := judge(connection)) is not None:
            connection.refuse_waiting(refusal)
        else:
            self._hub.joins.arrive(connection)

    def let_in(self, connection: Connection) -> Refusal | None:
        """It is known whose feed this one is to see: count it, or say why it is one too many."""
        if (refusal := self._seat(connection)) is not None:
            return refusal
        if connection.guest is None or self._handshakes.take(self._hub.loop.time()):
            return None
        # There was room when it came; others have proven themselves since.
        return self._limited("handshakes", _busy(503, "too_many_handshakes"))

    def _seat(self, connection: Connection) -> Refusal | None:
        """Count the socket as its user's, once, as soon as that is known."""
        guest, username = connection.guest, connection.admission.username
        if guest is None or guest.seat is not None or not username:
            return None
        guest.seat = _seat_of(username, guest.principal)
        self._users.add(guest.seat)
        if self._users.over(guest.seat):
            return self._limited("user", _busy(429, "too_many_sockets", "username"))
        return None

    def late(self, connection: Connection) -> Refusal:
        """Why a connection that has waited for long enough waits for nothing more."""
        guest = connection.guest
        if connection.state == AUTH and (guest is None or guest.task is None):
            return credentials.missing()
        if guest is not None and guest.task is not None and not guest.by_ticket:
            return keys_away()
        return history_away()

    # The verification.

    def _begin(
        self,
        connection: Connection,
        guest: Guest,
        credential: Credential,
        judge: Callable[[Connection, Guest, Credential], Coroutine[Any, Any, None]],
    ) -> None:
        """Verify; what was being verified for the same socket is of no interest any more."""
        if guest.task is not None:
            guest.task.cancel()
        guest.by_ticket = credential.ticket
        guest.task = task = self._hub.loop.create_task(judge(connection, guest, credential))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _judge(self, connection: Connection, guest: Guest, credential: Credential) -> None:
        """Let in whoever waits, with what their credential shows."""
        try:
            principal = await self.verification.principal(credential)
            admission = credentials.granted(connection.admission, principal)
        except Refusal as refusal:
            guest.task = None
            connection.refuse_waiting(refusal)
            return
        guest.task = None
        guest.principal = principal
        connection.admission = admission
        connection.known()
        self._enter(connection)
        if connection.state == WAITING and not connection.transport.is_closing():
            connection.transport.pause_reading()

    async def _renew(self, connection: Connection, guest: Guest, credential: Credential) -> None:
        """Prolong an open socket's time, or end it: a token that is no good is no better for having had a good one."""
        before = guest.principal
        try:
            principal = await self.verification.principal(credential)
        except Refusal as refusal:
            guest.task = None
            if refusal.status == 401:
                self._close(connection, refusal.code)
            return  # nobody knows whether it is good: the socket has the time that it has
        guest.task = None
        if (
            before is None
            or principal.username != before.username
            or not credentials.as_wide(principal, connection.admission.runs)
        ):
            self._hub.metrics.auth_refused("forbidden")
            connection.close(CLOSE_CODES[403], "forbidden")
            return
        guest.principal = principal
        self.opened(connection)
        if connection.admission.controls:
            # The socket goes on with the runs that it has: those that the token shows besides take another socket.
            wider = {} if credentials.as_wide(before, principal.runs) else {"wider": True}
            connection.write(controls.control("authenticated", expires_at=principal.expires_at, **wider))

    # What it says.

    def heard(self, connection: Connection, frames: Sequence[object]) -> None:
        """What came on a WebSocket: nothing of it is of interest but its number, and a token."""
        guest = connection.guest
        for frame in frames:
            if guest is None or connection.state == CLOSING or not isinstance(frame, Frame):
                return
            if frame.opcode not in DATA_OPCODES:
                continue
            if frame.opcode is not Opcode.CONT and guest.one_too_many(self._hub.loop.time(), self._most_messages):
                refusal = self._limited("messages", Refusal(429, "too many messages", code=TOO_MANY_MESSAGES))
                connection.close(1008, refusal.detail)
                connection.refuse_waiting(refusal)
            elif self.proven and (message := guest.collect(frame)) is not None:
                self._said(connection, guest, message)

    def _said(self, connection: Connection, guest: Guest, message: bytes) -> None:
        token = credentials.said(message)
        if connection.state == OPEN:
            if token is not None:
                self._begin(connection, guest, Credential(token), self._renew)
        elif connection.state == AUTH and (guest.task is None) is (token is None):
            # What follows a token is of no interest before it is verified, but a second token is a second try.
            detail = 'the first message must be {"type":"auth","token":...}, and there is one try'
            connection.refuse_waiting(credentials.refused("token_invalid", detail))
        elif connection.state == AUTH and token is not None:
            self._begin(connection, guest, Credential(token), self._judge)

    # The end.

    def opened(self, connection: Connection) -> None:
        """It is a socket now, or has a new token: its time runs."""
        guest = connection.guest
        if guest is not None and guest.principal is not None:
            self._expiries.drop(connection, guest.ends)
            guest.ends = self._expiries.put(connection, guest.principal.expires_at)
            guest.warned = False

    def turn(self) -> None:
        """Some time has passed: tell those whose token has expired, and close those who were told long enough ago."""
        _each(self._expired, self._expiries.due(self._hub.clock()))

    def _expired(self, connection: Connection) -> None:
        guest = connection.guest
        if guest is None or connection.state != OPEN:
            return
        if guest.warned or connection.stream:
            self._close(connection, "token_expired")
            return
        guest.warned = True
        grace = self._hub.settings.auth_grace
        guest.ends = self._expiries.put(connection, self._hub.clock() + grace)
        if connection.admission.controls:
            connection.write(controls.control("auth_expiring", closes_in_ms=round(grace * 1000)))

    def turn_out(self) -> None:
        """Something was revoked: end what was had for it, in whatever state it is."""
        _each(self._turned_out, list(self._hub.connections))

    def _turned_out(self, connection: Connection) -> None:
        guest = connection.guest
        if guest is None or guest.principal is None or not (why := self._hub.revocations.revoked(guest.principal)):
            return
        if connection.state == OPEN:
            self._close(connection, "token_revoked")
        else:
            connection.refuse_waiting(credentials.revoked(why))

    def _close(self, connection: Connection, code: str) -> None:
        """End an open socket or stream for want of a good token."""
        self._hub.metrics.auth_refused(code)
        if connection.stream:
            connection.write(controls.sse_token_ended(code))
        connection.close(UNAUTHENTICATED, code)

    def _limited(self, limit: str, refusal: Refusal) -> Refusal:
        self._hub.metrics.limit_refused(limit)
        return refusal


def _each(end: Callable[[Connection], None], connections: Iterable[Connection]) -> None:
    """End them all. One socket's trouble is not to leave the others open; and it has no right to stay, either."""
    for connection in connections:
        try:
            end(connection)
        except Exception:
            log.exception("fanout.end_failed")
            connection.transport.abort()


def _seat_of(username: str, principal: Principal | None) -> Hashable:
    """What a socket counts as. Guests who were shown some runs take no place of the user's own sockets.

    Each token is a guest; those without `jti` are one for all who are shown the same runs.
    """
    if principal is None or principal.runs is None:
        return username
    return username, principal.token_id or principal.runs


def _busy(status: int, code: str, of: str = "") -> Refusal:
    detail = {
        "username": "this user, or this token for some runs, has as many sockets as one may have",
        "address": "this address has as many connections as one may have",
    }.get(of, "this hub is as busy as it may be") + "; come back in a moment"
    wait = random.randint(1, 3)  # noqa: S311 - spreads load
    return Refusal(status, detail, code=code, headers=(("Retry-After", str(wait)),))
