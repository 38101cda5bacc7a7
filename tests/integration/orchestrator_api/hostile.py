"""What the hostile tests share: requests byte by byte, and what every refusal must look like."""

import asyncio
import re
from dataclasses import dataclass
from typing import Any

import orjson

from tests.integration.orchestrator_api.conftest import Api

LEAKS = re.compile(
    r"Traceback|File \"|\.py\b|SELECT |INSERT |UPDATE |FROM \w+|append_events|asyncpg|aiohttp|orjson|0x[0-9a-f]{6}"
    r"|\w(?:Error|Exception)\b|127\.0\.0\.1|/(?:root|home|tmp|usr|var)/"
)


@dataclass
class Answer:
    """An HTTP answer, read by hand."""

    status: int
    headers: dict[str, str]  # names in small letters
    body: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)


def request(method: str, target: str, *headers: str, body: bytes | None = None, close: bool = True) -> bytes:
    """The bytes of a request; its length is added, and that the connection is to be closed after it."""
    lines = [f"{method} {target} HTTP/1.1", "Host: runfeed", *headers]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    if close:
        lines.append("Connection: close")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b"")


async def send(port: int, data: bytes, *, within: float = 5.0) -> bytes:
    """Everything that comes back until the server closes. The other half stays open: we never say that we are done."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    received = bytearray()
    try:
        async with asyncio.timeout(within):
            writer.write(data)
            while more := await reader.read(1 << 16):
                received += more
    except ConnectionError:
        pass  # reset, because we wrote more than it wanted: what came before counts
    finally:
        writer.transport.abort()
    return bytes(received)


def answers(data: bytes, *, head: bool = False) -> list[Answer]:
    """The answers in what was received, without informational ones. AssertionError when they are not well-formed.

    head: they answer HEAD, so none has a body.
    """
    found = []
    while data:
        top, end, rest = data.partition(b"\r\n\r\n")
        assert end, data[:200]
        start, *lines = top.decode("latin-1").split("\r\n")
        assert re.fullmatch(r"HTTP/1\.[01] \d{3} .*", start), start
        status = int(start.split(" ")[1])
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        if status < 200:
            data = rest
            continue
        if headers.get("transfer-encoding") == "chunked" and not head:
            body, data = _chunks(rest)
        else:
            length = 0 if head or status in (204, 304) else int(headers.get("content-length", len(rest)))
            assert len(rest) >= length, "cut off"
            body, data = rest[:length], rest[length:]
        found.append(Answer(status, headers, body))
    return found


def _chunks(data: bytes) -> tuple[bytes, bytes]:
    """A chunked body, and what stands behind it."""
    body = bytearray()
    while True:
        size, end, data = data.partition(b"\r\n")
        assert end, "cut off"
        length = int(size, 16)
        body += data[:length]
        assert data[length : length + 2] == b"\r\n", "cut off"
        data = data[length + 2 :]
        if not length:
            return bytes(body), data


async def one(api: Api, data: bytes, *, within: float = 5.0) -> Answer:
    """The only answer to a request."""
    found = answers(await send(api.service.port, data, within=within))
    assert len(found) == 1, found
    return found[0]


async def post(api: Api, path: str, body: bytes | str, *headers: str) -> Answer:
    """The answer to a POST of these bytes."""
    content = body.encode() if isinstance(body, str) else body
    return await one(api, request("POST", path, *headers, body=content))


async def get(api: Api, path: str, *headers: str) -> Answer:
    """The answer to a GET."""
    return await one(api, request("GET", path, *headers))


def assert_refused(answer: Answer, status: int, field: str | None = None, code: str | None = None) -> None:
    """It is a problem document, complete and short, and tells nothing about our inside."""
    shown = (answer.status, answer.body[:300])
    assert answer.status == status, shown
    assert answer.headers["content-type"] == "application/problem+json", (shown, answer.headers)
    assert answer.headers["server"] == "runfeed"  # not which versions to attack
    problem = answer.json
    assert problem["status"] == status
    assert {"type", "title", "code", "detail"} <= problem.keys(), problem
    assert all(isinstance(problem[name], str) and problem[name] for name in ("title", "code", "detail"))
    if field is not None:
        assert problem.get("field") == field, problem
    if code is not None:
        assert problem["code"] == code, problem
    assert len(answer.body) < 2048, len(answer.body)
    assert not (leak := LEAKS.search(answer.body.decode())), leak


async def stored(api: Api, run_id: str) -> tuple[int, int, str]:
    """How much of a run is stored: last_seq, events, status. AssertionError when its numbers are not 1..n."""
    answer = await get(api, f"/runs/{run_id}/events")
    assert answer.status == 200, answer
    history = answer.json
    assert [event["seq"] for event in history["events"]] == list(range(1, history["last_seq"] + 1))
    return history["last_seq"], len(history["events"]), history["status"]
