"""fanout.ask among servers that mean no good, and behind TLS."""

import asyncio
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from fanout import answers, ask
from fanout.ask import Client
from fanout.errors import HistoryAway
from tests.support import eventually
from tests.support.certificates import certificate
from tests.unit.fanout.askers import LOOPS, OK, Asked, on_each_loop, with_server


@pytest.fixture(autouse=True)
def soon() -> Iterator[None]:
    """What takes seconds takes tenths."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ask, "TIMEOUT", 0.5)
        yield


@on_each_loop
async def test_not_asked_for(asked: Asked) -> None:
    """Bytes between two questions end the connection: they are the answer to nothing."""
    gate = asyncio.Event()

    async def does(writer: asyncio.StreamWriter, number: int) -> None:
        writer.write(OK)
        if number == 0:
            await gate.wait()
            writer.write(OK.replace(b"ok", b"no"))

    asked.does = does  # type: ignore[method-assign]
    await asked.client.ask("GET", "/x")
    gate.set()
    await eventually(lambda: asked.ended == 1, within=ask.KEPT / 2)
    assert await asked.client.ask("GET", "/x") == (200, b"ok")


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        OK + b"!",
        OK + OK,
        b"HTTP/1.1 200 OK\r\nContent-Length: 17000000\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 20_000 + b"Content-Length: 0\r\n\r\n",
    ],
    ids=["garbage", "surplus", "two", "announced", "switch", "fields"],
)
def test_hostile(loop: str, answer: bytes) -> None:
    """What is no answer is HistoryAway, and the next question goes another way."""

    async def hostile(asked: Asked) -> None:
        asked.answers(answer)
        with pytest.raises(HistoryAway):
            await asked.client.ask("GET", "/x")
        assert await asked.client.ask("GET", "/x") == (200, b"ok")
        assert len(asked.sources) == 2

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(with_server(hostile, None))


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize(
    ("begin", "more"),
    [
        (b"HTTP/1.1 200 OK\r\nX: ", b"x" * 65536),
        (b"", b"HTTP/1.1 102 Processing\r\n\r\n" * 1000),
        (b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 65536),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n" * 10_000),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: ", b"x" * 65536),
    ],
    ids=["field", "interim", "body", "chunks", "trailer"],
)
def test_flood(loop: str, begin: bytes, more: bytes) -> None:
    """Who sends for ever is cut when the bound is reached."""
    sent = 0

    async def flooded(asked: Asked) -> None:
        async def does(writer: asyncio.StreamWriter, number: int) -> None:
            nonlocal sent
            writer.write(begin)
            while not writer.transport.is_closing():
                writer.write(more)
                sent += len(more)
                await writer.drain()

        asked.does = does  # type: ignore[method-assign]
        with pytest.raises(HistoryAway):
            await asked.client.ask("GET", "/x")
        assert sent < 32 << 20  # most of it lay in the kernel

    with pytest.MonkeyPatch.context() as patch, asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        patch.setattr(answers, "MAX_ANSWER", 1 << 20)
        patch.setattr(ask, "TIMEOUT", 5.0)
        runner.run(with_server(flooded, None))


@on_each_loop
async def test_drip(asked: Asked) -> None:
    """Who sends a byte now and then is cut when the time is over: it is counted from the question on."""

    async def does(writer: asyncio.StreamWriter, number: int) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nX: ")
        loop, drip = asyncio.get_running_loop(), asyncio.Event()
        while not writer.transport.is_closing():
            writer.write(b"x")
            loop.call_later(0.02, drip.set)
            await drip.wait()
            drip.clear()

    asked.does = does  # type: ignore[method-assign]
    began = asyncio.get_running_loop().time()
    with pytest.raises(TimeoutError):
        await asked.client.ask("GET", "/x")
    assert asyncio.get_running_loop().time() - began < 2 * ask.TIMEOUT
    await eventually(lambda: asked.ended == 1)


@pytest.mark.parametrize("loop", LOOPS)
def test_tls(loop: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """https:// asks over TLS, keeps its connections, checks the certificate, and refuses another's."""
    for name in ("own", "other"):
        certificate(tmp_path, name)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "own.pem", tmp_path / "own.key")

    async def trusting(asked: Asked) -> None:
        asked.answers(OK, b"", OK)
        assert await asked.client.ask("GET", "/x") == (200, b"ok")
        question = asyncio.create_task(asked.client.ask("GET", "/x"))
        await eventually(lambda: len(asked.requests) == 2)
        assert len(asked.sources) == 1
        question.cancel()
        assert await asked.client.ask("GET", "/x") == (200, b"ok")
        stranger = Client(f"https://127.0.0.1:{asked.port}")  # the certificate is localhost's
        with pytest.raises(ssl.SSLCertVerificationError):
            await stranger.ask("GET", "/x")
        await stranger.close()

    async def distrustful(asked: Asked) -> None:
        with pytest.raises(ssl.SSLCertVerificationError):
            await asked.client.ask("GET", "/x")
        assert asked.requests == []

    async def plain(asked: Asked) -> None:
        client = Client(f"https://localhost:{asked.port}")
        with pytest.raises(OSError):  # noqa: PT011 - the loops word it differently
            await client.ask("GET", "/x")
        await client.close()

    # The plain server waits for a request's end, and we for its greeting: that one is a timeout.
    cases = (("own", trusting, context, 5.0), ("other", distrustful, context, 5.0), ("own", plain, None, 0.5))
    for name, test, server, timeout in cases:
        monkeypatch.setattr(ask, "TIMEOUT", timeout)
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / f"{name}.pem"))
        with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
            runner.run(with_server(test, server))
