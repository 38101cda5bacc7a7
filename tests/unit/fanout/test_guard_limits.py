"""fanout.guard: how many may."""

import time

import pytest

from fanout import guard
from fanout.history import Redeemed
from tests.integration.fanout.hubs import client_frame
from tests.support import eventually
from tests.unit.fanout.pasts import Standing, answered, code, opened, problem, reason, said
from tests.unit.fanout.proofs import OURS, auth, bearer, exposed, message, token
from tests.unit.fanout.worlds import PING, Memory, say


async def test_sockets_of_a_user() -> None:
    """One more socket or stream than a user may have is 429, 1013 for runfeed.v1; another's is none of it."""
    async with Standing(auth=auth(), sockets_per_user=2) as standing:
        first, _ = await opened(standing)
        await opened(standing, "/sse")
        plain = standing.connect("/ws", bearer())[1]
        assert (await answered(plain)).startswith(b"HTTP/1.1 429 ")
        assert problem(plain)["code"] == "too_many_sockets"
        assert b"\r\nRetry-After: " in plain.written
        ours = standing.connect("/ws", bearer() + OURS)[1]
        await answered(ours)
        assert (code(ours), said(ours)[-1]["reason"]) == (1013, "too_many_sockets")
        stream = standing.connect("/sse", bearer())[1]
        assert b"\r\n\r\n: too_many_sockets\nretry: " in await answered(stream)
        await answered(standing.connect("/ws", bearer("bob"))[1])
        assert len(standing.hub.sockets) == 3
        first.connection_lost(None)
        await opened(standing)

        assert standing.hub.metrics.limited == {"user": 3}


async def test_guests_take_no_place_of_the_user() -> None:
    """Whoever has a token for some runs only has places of their own, each token its own: the owner is let in."""
    async with Standing(auth=auth(), sockets_per_user=1) as standing:
        for jti in ("g1", "g2"):
            await opened(standing, run_ids=["r1"], jti=jti)
            second = standing.connect("/ws", bearer(run_ids=["r1"], jti=jti))[1]
            assert (await answered(second)).startswith(b"HTTP/1.1 429 ")
        await opened(standing)
        assert len(standing.hub.sockets) == 3


async def test_sockets_of_an_address() -> None:
    """One more connection of an address is 429, whatever it claims to come from; of IPv6 a /64 is one address."""
    for mine, others in (("192.0.2.1", "192.0.2.2"), ("2001:db8::1", "2001:db8:0:1::1")):
        async with Standing(auth=auth(), sockets_per_address=2) as standing:
            for number in range(2):
                transport = Memory()
                transport.peer = (mine, number)
                standing.say(transport, "/ws", bearer(f"u{number}"))
                assert (await answered(transport)).startswith(b"HTTP/1.1 101 ")
            forged = "X-Forwarded-For: 198.51.100.1\r\n"
            third, stranger = Memory(), Memory()
            third.peer = (mine.replace("::1", "::2:1"), 3)
            stranger.peer = (others, 4)
            connection = standing.say(third, "/ws", bearer() + forged)
            standing.say(stranger, "/ws", bearer() + forged)

            assert (await answered(third)).startswith(b"HTTP/1.1 429 ")
            assert (await answered(stranger)).startswith(b"HTTP/1.1 101 ")
            connection.connection_lost(None)
            assert standing.hub.metrics.limited == {"address": 1}


async def test_crowd() -> None:
    """Far beyond an address' limit nothing is read any more: half a head costs its address, and nobody else."""
    async with Standing(auth=auth(), sockets_per_address=2) as standing:
        transports = []
        for number in range(6):
            transports.append(Memory())
            transports[-1].peer = ("192.0.2.1", number)
            connection = standing.hub.connect()
            connection.connection_made(transports[-1])

        assert [each.written[:12] for each in transports] == [b""] * 4 + [b"HTTP/1.1 429"] * 2
        assert [each.aborted for each in transports] == [False] * 4 + [True] * 2


async def test_behind_a_proxy() -> None:
    """Of a trusted proxy's connections the address is the one that the proxy names."""
    for config in (auth(TRUSTED_PROXIES="10.0.0.0/8"), exposed(TRUSTED_PROXIES="10.0.0.0/8")):
        async with Standing(auth=config, sockets_per_address=1) as standing:
            for address, expected in (("198.51.100.1", b"101"), ("198.51.100.2", b"101"), ("198.51.100.1", b"429")):
                transport = Memory()
                transport.peer = ("10.0.0.1", 1)
                more = f"X-Forwarded-For: 127.0.0.1, {address}\r\n" + ("" if config.insecure else bearer())
                standing.say(transport, "/ws?username=alice", more)
                assert (await answered(transport))[9:12] == expected


@pytest.mark.parametrize("proxies", ["", "10.0.0.0/8"])
async def test_gone_before_it_was_met(proxies: str) -> None:
    """However many reset their connection before we look who they are, nobody else is one too many."""
    async with Standing(auth=auth(TRUSTED_PROXIES=proxies), sockets_per_address=2) as standing:
        for _ in range(5):
            transport = Memory()
            connection = standing.say(transport, "/ws", bearer())
            await answered(transport)
            connection.connection_lost(None)
        assert standing.clean()
        behind = Memory()
        behind.peer = ("10.0.0.1", 1)
        standing.say(behind, "/ws", bearer() + "X-Forwarded-For: 198.51.100.1\r\n")

        assert (await answered(behind))[9:12] == b"101"


async def test_handshakes() -> None:
    """More handshakes a second than may be are 503; those that prove nothing are at nobody's cost."""
    async with Standing(auth=auth(), handshakes_per_s=2) as standing:
        for _ in range(10):
            assert (await answered(standing.connect("/ws", bearer(exp=1))[1]))[9:12] == b"401"
        results = []
        for more in ("", "", "", OURS):
            results.append(standing.connect("/ws", bearer() + more)[1])
            await answered(results[-1])

        assert [bytes(each.written[9:12]) for each in results] == [b"101", b"101", b"503", b"101"]
        assert problem(results[2])["code"] == "too_many_handshakes"
        assert (code(results[3]), said(results[3])[-1]["reason"]) == (1013, "too_many_handshakes")
        stream = standing.connect("/sse", bearer())[1]
        assert b"\r\n\r\n: too_many_handshakes\nretry: " in await answered(stream)
        assert standing.hub.metrics.limited == {"handshakes": 3}


@pytest.mark.parametrize("leaves", ["at once", "in silence", "with a bad word", "while it is looked at", "refused"])
async def test_who_proves_nothing_takes_nothing(leaves: str) -> None:
    """However many strangers come and go, or stay, nobody with a token finds the handshakes used up by them."""
    async with Standing(auth=auth(), handshakes_per_s=2, sockets_per_user=1) as standing:
        await opened(standing)
        standing.past.gate.clear()
        for number in range(10):
            standing.past.tickets[ticket := f"rft_{number}"] = Redeemed("bob", None, time.time() + 60), None
            held = leaves == "while it is looked at"
            connection, transport = standing.connect(
                f"/ws?ticket={ticket}" if held else "/ws", bearer() if leaves == "refused" else ""
            )
            if held:
                await eventually(lambda: ("redeem", ticket) in standing.past.asked)
            elif leaves == "with a bad word":
                say(connection, client_frame(1, b"hello"))
            elif leaves == "refused":
                assert (await answered(transport))[9:12] == b"429"
            if leaves in ("at once", "while it is looked at"):
                connection.connection_lost(None)
        if leaves == "in silence":
            standing.turn(7)
        standing.past.gate.set()
        assert (await answered(standing.connect("/ws", bearer("carol"))[1]))[9:12] == b"101"

        assert "handshakes" not in standing.hub.metrics.limited


async def test_runs_that_are_not_there() -> None:
    """Who asks for runs that are not there, or for more than they may see, takes no handshake from anybody."""
    for config, more in ((auth(), bearer("bob")), (exposed(), "")):
        async with Standing(auth=config, handshakes_per_s=2, sockets_per_user=1) as standing:
            standing.past.owners = {"r1": "alice"}
            assert (await answered(standing.connect("/ws/runs/r1", more and bearer())[1]))[9:12] == b"101"
            for target, status in [("/ws/runs/missing", b"404"), ("/sse/runs/missing", b"404")] * 5:
                assert (await answered(standing.connect(target, more)[1]))[9:12] == status
            for _ in range(5):
                assert (await answered(standing.connect("/ws/runs/r1", more and bearer())[1]))[9:12] == b"429"
            assert (await answered(standing.connect("/ws?username=bob", more)[1]))[9:12] == b"101"


async def test_many_at_once() -> None:
    """Of many that prove themselves at the same moment no more are let in than may be; the others come back."""
    async with Standing(auth=auth(), handshakes_per_s=2) as standing:
        transports = [standing.connect("/ws", bearer(f"u{number}"))[1] for number in range(6)]
        for transport in transports:
            await answered(transport)

        assert sorted(bytes(each.written[9:12]) for each in transports) == [b"101"] * 2 + [b"503"] * 4
        assert standing.hub.metrics.limited == {"handshakes": 4}
        assert len(standing.hub.guard._users) == 2


async def test_when_to_come_back() -> None:
    """Those who are one too many are told to come back in one to three seconds, not all in the same."""
    async with Standing(auth=auth(), sockets_per_user=1) as standing:
        await opened(standing)
        seconds = set()
        for _ in range(60):
            written = await answered(standing.connect("/ws", bearer())[1])
            seconds.add(written.partition(b"\r\nRetry-After: ")[2].partition(b"\r\n")[0])

        assert seconds == {b"1", b"2", b"3"}


async def test_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the process' limit a request is 503, health is answered, and far beyond nothing is read."""
    monkeypatch.setattr(guard, "SPARE", 2)
    async with Standing(max_sockets=2) as standing:
        transports = [standing.connect(f"/ws?username=u{n}")[1] for n in range(2)]
        await answered(transports[1])
        third = standing.connect("/ws?username=c")[1]
        health = standing.connect("/healthz")[1]
        assert problem(third)["code"] == "too_many_sockets"
        assert b"\r\nRetry-After: " in third.written
        assert health.written.startswith(b"HTTP/1.1 200 ")
        fifth = Memory()
        standing.hub.connect().connection_made(fifth)

        assert fifth.written.startswith(b"HTTP/1.1 503 ")
        assert fifth.aborted
        assert standing.hub.metrics.limited == {"process": 2}


async def test_messages() -> None:
    """More messages a minute than may be close the socket 1008; pings are no messages."""
    for config in (auth(), exposed()):
        async with Standing(auth=config, messages_per_min=3) as standing:
            more = bearer() if not config.insecure else ""
            connection, transport = standing.connect("/ws?username=alice", more)
            await answered(transport)
            say(connection, PING * 50 + client_frame(1, b"a") * 2 + client_frame(2, b"b", fin=False) + client_frame(0))
            assert code(transport) == 0
            say(connection, client_frame(1, b"a"))

            assert (code(transport), reason(transport)) == (1008, "too many messages")
            assert standing.hub.metrics.limited == {"messages": 1}


async def test_messages_before_it_is_known() -> None:
    """Too many messages are closed 1008 as well while it is verified who says them."""
    for more in ("", OURS):
        async with Standing(auth=auth(), messages_per_min=1) as standing:
            connection, transport = standing.connect("/ws", more)
            say(connection, message(token()) + client_frame(1, b"hello"))

            assert (code(transport), reason(transport)) == (1008, "too many messages")
            assert standing.hub.metrics.limited == {"messages": 1}


async def test_not_in_force() -> None:
    """On loopback without a key nothing is counted."""
    async with Standing(sockets_per_user=1, sockets_per_address=1, handshakes_per_s=1, messages_per_min=1) as standing:
        for _ in range(3):
            connection, transport = standing.connect()
            assert (await answered(transport)).startswith(b"HTTP/1.1 101 ")
            say(connection, client_frame(1, b"a") * 5)
            assert (connection.guest, code(transport)) == (None, 0)


async def test_health_beyond_loopback_without_a_key() -> None:
    """A hub that others can reach and that believes usernames says so, for whoever watches over it."""
    for config, mode in ((exposed(), "insecure-username"), (auth("0.0.0.0"), "jwt")):
        async with Standing(auth=config) as standing:
            transport = standing.connect("/healthz")[1]
            assert transport.written.startswith(b"HTTP/1.1 200 OK\r\n")
            assert problem(transport) == {"status": "ok", "auth": mode}


async def test_beyond_loopback() -> None:
    """Without a key, beyond loopback, usernames are believed and limits hold; a run's owner is found first."""
    async with Standing(auth=exposed(), sockets_per_user=1) as standing:
        standing.past.owners = {"r1": "alice"}
        assert (await answered(standing.connect()[1]))[9:12] == b"101"
        for target in ("/ws?username=alice", "/ws/runs/r1", "/ws/runs/r1?username=alice"):
            assert (await answered(standing.connect(target)[1]))[9:12] == b"429"
        assert (await answered(standing.connect("/ws?username=bob")[1]))[9:12] == b"101"
