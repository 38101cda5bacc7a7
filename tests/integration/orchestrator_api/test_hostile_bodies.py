"""Bad bodies over HTTP: each gets a clear answer, and nothing of it is stored."""

import asyncio
import gzip
import zlib
from typing import Any

import orjson
import pytest

from tests.contract.test_events import CONTRACT, EVENTS, body_of
from tests.integration.orchestrator_api.conftest import Api
from tests.integration.orchestrator_api.hostile import assert_refused, get, post, request, send, stored

pytestmark = pytest.mark.any_server  # about this service, whatever the stores' versions

LIMITS = CONTRACT["limits"]
RUN = "/api/v1/runs/r1/events"


def batch(*events: Any) -> bytes:
    return orjson.dumps({"events": events})


def padded(body: bytes, size: int) -> bytes:
    """The body with white space behind it, `size` bytes in all."""
    return body + b" " * (size - len(body))


async def test_contract_bodies(api: Api) -> None:
    """Every valid event of the contract is stored, every invalid one refused by name, alone and inside a batch."""
    await api.create("alice", "r1")
    for case in EVENTS["valid"]:
        assert (await post(api, RUN, body_of(case))).status == 201, case
    before = await stored(api, "r1")
    assert before[0] == len(EVENTS["valid"])

    for case in EVENTS["invalid"]:
        assert_refused(await post(api, RUN, body_of(case)), case["status"], case["field"])
        if len(body_of(case)) < 1000 and case["status"] == 422:
            inside = b'{"events":[{"type":"a"},%b]}' % body_of(case)
            field = "events[1]" if case["field"] == "body" else f"events[1].{case['field']}"
            assert_refused(await post(api, RUN, inside), 422, field)
    assert await stored(api, "r1") == before


async def test_contract_bodies_make_no_run(api: Api) -> None:
    """A run that comes with a bad event is not made: it does not exist afterwards."""
    for number, case in enumerate(EVENTS["invalid"]):
        if len(body_of(case)) > 1000:
            continue
        body = b'{"username":"alice","run_id":"r1","events":[{"type":"a"},%b]}' % body_of(case)
        assert (await post(api, "/runs", body)).status in (400, 422), (number, case)
    assert_refused(await get(api, "/runs/r1"), 404, "run_id", "run_unknown")
    assert (await api.get("/runs?username=alice"))[1]["runs"] == []


async def test_frame_bound(api: Api) -> None:
    """The longest event that is taken comes back as a frame within 64 KiB, and one character more is refused."""
    await api.create("alice", "r1")

    async def fits(count: int) -> bool:
        answer = await post(api, RUN, orjson.dumps({"type": "a", "timestamp": 0, "x": "x" * count}))
        if answer.status == 201:
            return True
        assert_refused(answer, 422, "body", "too_big")
        return False

    taken, refused = 60_000, 65_536
    while refused - taken > 1:
        middle = (taken + refused) // 2
        taken, refused = (middle, refused) if await fits(middle) else (taken, middle)
    async with api.session.get(api.url("/runs/r1/events")) as response:
        body = await response.read()
    longest = max(body.partition(b'"events":[')[2].split(b'{"id":'), key=len).rstrip(b",]}")
    size = len(b'{"id":' + longest + b"}")
    assert LIMITS["frame_bytes"] - 40 < size <= LIMITS["frame_bytes"]  # 40: numbers may grow to 16 digits


async def test_batch_bounds(api: Api) -> None:
    """1,000 events are stored; none and 1,001 are refused, and so is what is no list of events."""
    await api.create("alice", "r1")
    assert (await post(api, RUN, batch(*[{"type": "a"}] * 1000))).status == 201
    assert_refused(await post(api, RUN, batch(*[{"type": "a"}] * 1001)), 422, "events")
    for events in (b"[]", b"null", b"{}", b'"x"', b"1", b"true"):
        assert_refused(await post(api, RUN, b'{"events":%b}' % events), 422, "events")
    assert_refused(await post(api, RUN, b'{"events":[{"type":"a"}],"note":1}'), 422, "note")
    assert_refused(await post(api, RUN, b'{"events":[{"type":"a"}],"events":[{"type":"b"}]}'), 422, "events")
    for event in (b"null", b"1", b'"a"', b"[]", b'[{"type":"a"}]'):
        assert_refused(await post(api, RUN, b'{"events":[{"type":"a"},%b]}' % event), 422, "events[1]")
    assert await stored(api, "r1") == (1000, 1000, "running")


async def test_body_bound(api: Api) -> None:
    """4 MiB are taken, one byte more is not, whether their length was said or not."""
    await api.create("alice", "r1")
    most = LIMITS["body_bytes"]

    def chunked(body: bytes) -> bytes:
        pieces = [body[at : at + 65_000] for at in range(0, len(body), 65_000)]
        head = request("POST", RUN, "Transfer-Encoding: chunked")
        return head + b"".join([b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces]) + b"0\r\n\r\n"

    for body, status in ((padded(batch({"type": "a"}), most), 201), (padded(batch({"type": "a"}), most + 1), 413)):
        for data in (request("POST", RUN, body=body), chunked(body)):
            answer = (await send(api.service.port, data)).decode()
            assert answer.startswith(f"HTTP/1.1 {status} "), answer[:300]
            assert status == 201 or '"code":"too_big"' in answer
    assert (await stored(api, "r1"))[0] == 2


async def test_one_bad_event_spoils_the_batch(api: Api) -> None:
    """The first bad event is named by its index, and nothing of its batch is stored."""
    await api.create("alice", "r1", events=[{"type": "a"}])
    for at, bad, field in (
        (499, {"type": "a", "timestamp": 1697234568000}, "events[499].timestamp"),
        (499, {"type": "a", "id": 1}, "events[499].id"),
        (999, {"type": "a", "run_id": "r2"}, "events[999].run_id"),
        (999, {"type": "a", "x": "\0"}, "events[999].x"),
        (0, {"type": "a", "x": "y" * 70_000}, "events[0]"),
        (0, 7, "events[0]"),
    ):
        events: list[Any] = [{"type": "a"}] * 1000
        events[at] = bad
        assert_refused(await post(api, RUN, batch(*events)), 422, field)
    assert await stored(api, "r1") == (1, 1, "running")


async def test_nothing_follows_a_terminal_event(api: Api) -> None:
    """Within a batch an event after a terminal one is refused and nothing is stored; after it a run takes nothing."""
    await api.create("alice", "r1")
    done = {"type": "workflow_completed", "event_id": "end"}
    for after in ({"type": "a"}, {"type": "workflow_failed"}, done):
        assert_refused(await post(api, RUN, batch({"type": "a"}, done, after)), 422, "events[2]")
    assert await stored(api, "r1") == (0, 0, "queued")
    body = b'{"username":"alice","run_id":"r2","events":[{"type":"workflow_failed"},{"type":"a"}]}'
    assert_refused(await post(api, "/runs", body), 422, "events[1]")
    assert_refused(await get(api, "/runs/r2"), 404, "run_id")

    key = "Idempotency-Key: k1"
    assert (await post(api, RUN, batch({"type": "a"}), key)).status == 201
    ended = await post(api, RUN, batch(done))
    assert ended.json["status"] == "completed"
    again = await post(api, RUN, batch(done))
    assert (again.status, again.json) == (200, ended.json)
    assert (await post(api, RUN, batch({"type": "a"}), key)).status == 200
    for late in (batch({"type": "a"}), batch(done, {"type": "a"}), batch({"type": "workflow_failed"})):
        assert (await post(api, RUN, late)).status in (409, 422)
    assert_refused(await post(api, RUN, batch({"type": "a", "event_id": "late"})), 409, code="run_finished")
    assert_refused(await post(api, RUN, batch({"type": "a"}), "Idempotency-Key: k2"), 409, code="run_finished")
    assert await stored(api, "r1") == (2, 2, "completed")


async def test_event_ids(api: Api) -> None:
    """An event_id is stored once: a repeat has its first numbers, a batch with some known stores the others."""
    await api.create("alice", "r1")
    one, two, three = ({"type": "a", "event_id": f"e{n}", "n": n} for n in (1, 2, 3))
    assert_refused(await post(api, RUN, batch(one, two, one)), 422, "events[2].event_id")
    assert await stored(api, "r1") == (0, 0, "queued")

    assert await api.append("r1", one) == [(1, 1)]
    mixed = await post(api, RUN, batch(two, one, {"type": "b"}, three))
    assert mixed.status == 201
    assert mixed.json["events"] == [{"id": i, "seq": i} for i in (2, 1, 3, 4)]
    alone = await post(api, RUN, orjson.dumps(two))
    assert (alone.status, alone.json["events"]) == (200, [{"id": 2, "seq": 2}])

    other = {**one, "n": 2}
    for body in (batch({"type": "new"}, other), batch(other), orjson.dumps(other)):
        assert_refused(await post(api, RUN, body), 422, code="key_reused")
    assert await stored(api, "r1") == (4, 4, "running")
    await api.create("alice", "r2")
    assert await api.append("r2", other) == [(5, 1)], "an event_id belongs to its run"


async def test_idempotency_keys(api: Api) -> None:
    """A key is 1 to 255 visible ASCII characters, given once and not beside event_ids, and stands for one content."""
    await api.create("alice", "r1")
    body = batch({"type": "a"}, {"type": "b"})
    for key in ("", " ", "a b", "k" * 256, "\xe9", "a\tb"):
        assert_refused(await post(api, RUN, body, f"Idempotency-Key: {key}"), 422, "Idempotency-Key")
        assert_refused(await post(api, "/runs", b'{"username":"u"}', f"Idempotency-Key: {key}"), 422, "Idempotency-Key")
    twice = await post(api, RUN, body, "Idempotency-Key: a", "idempotency-key: a")
    assert_refused(twice, 400, "Idempotency-Key")
    both = batch({"type": "a"}, {"type": "b", "event_id": "e"})
    assert_refused(await post(api, RUN, both, "Idempotency-Key: a"), 422, "Idempotency-Key")
    assert await stored(api, "r1") == (0, 0, "queued")

    for key in ("!", "~" * 255, "e", "'; DROP TABLE runs; --".replace(" ", "_")):
        first = await post(api, RUN, body, f"Idempotency-Key: {key}")
        again = await post(api, RUN, b" " + body.replace(b",", b" , "), f"Idempotency-Key: {key}")
        assert (first.status, again.status) == (201, 200)
        assert again.json == first.json
    for other in (batch({"type": "a"}), batch({"type": "b"}, {"type": "a"}), b'{"type":"a"}'):
        assert_refused(await post(api, RUN, other, "Idempotency-Key: !"), 422, code="key_reused")
    assert await stored(api, "r1") == (8, 8, "running")


async def test_metadata_and_workflow(api: Api) -> None:
    """Metadata is an object of 64 KiB at most, workflow a text of 256 characters; whatever is taken comes back."""

    def run(**fields: bytes) -> bytes:
        given = {"username": b'"alice"', "run_id": b'"r1"', **fields}
        return b"{%b}" % b",".join([b'"%b":%b' % (name.encode(), value) for name, value in given.items()])

    refused = [(value, "metadata") for value in (b"1", b"[]", b'"x"', b"true", b'{"x":"%b"}' % (b"x" * 65_536))]
    refused += [
        (b'{"x":1,"x":2}', "metadata.x"),
        (b'{"x":"\\u0000"}', "metadata.x"),
        (b'{"x":["\\ud800"]}', "metadata.x"),
        (b'{"\\ud800":1}', "metadata"),
        (b'{"x":1e400}', "metadata.x"),
        (b'{"x":1e99999999999999999999}', "metadata.x"),
        (b'{"x":18446744073709551616}', "metadata.x"),
    ]
    for value, field in refused:
        assert_refused(await post(api, "/runs", run(metadata=value)), 422, field)
    for value in (b'""', b"1", b"{}", b'"%b"' % (b"w" * 257), b'"\\u0000"', b'"\\ud800"'):
        assert_refused(await post(api, "/runs", run(workflow=value)), 422, "workflow")
    assert_refused(await post(api, "/runs", run(metadata=b'{"x":%b1%b}' % (b"[" * 99, b"]" * 99))), 400, "body")
    assert_refused(await get(api, "/runs/r1"), 404)

    metadata = {"'; --": '%s {} \\ " \u2028 </script>', "run_id": "other", "n": [18446744073709551615, -0.5]}
    made = await post(api, "/runs", run(metadata=orjson.dumps(metadata), workflow=b'"\\u4f60/../%00 \\ud83d\\ude00"'))
    assert made.status == 201
    assert (await get(api, "/runs/r1")).json["metadata"] == metadata


CREATE_REFUSED: list[tuple[str, str | None]] = [
    ('{"run_id":"r1"}', "username"),
    ('{"username":null}', "username"),
    ('{"username":["alice"]}', "username"),
    ('{"username":"a b"}', "username"),
    ('{"username":"alice\\n"}', "username"),
    ('{"username":"alice","username":"bob"}', "username"),
    ('{"username":"alice","run_id":7}', "run_id"),
    ('{"username":"alice","run_id":""}', "run_id"),
    ('{"username":"alice","run_id":"a/b"}', "run_id"),
    ('{"username":"alice","run_id":"!beacon"}', "run_id"),
    ('{"username":"alice","status":"completed"}', "status"),
    ('{"username":"alice","Username":"bob"}', "Username"),
    ('{"username":"alice","\\ud800":1}', None),
    ('{"username":"alice","\\u0000":1}', None),
    ('{"username":"alice","events":null}', "events"),
    ('{"username":"alice","events":[]}', "events"),
    ('{"username":"alice","events":{"type":"a"}}', "events"),
    ('{"username":"alice","events":[{"type":"a","username":"bob"}]}', "events[0].username"),
    ("[]", "body"),
    ("null", "body"),
]


async def test_create_refuses(api: Api) -> None:
    """A run with a wrong, missing, unknown or repeated field is refused by name, and none is made."""
    for body, field in CREATE_REFUSED:
        assert_refused(await post(api, "/runs", body), 422, field)
    for username in ("alice", "bob"):
        assert (await api.get(f"/runs?username={username}"))[1]["runs"] == []


async def test_an_answer_does_not_grow_with_the_request(api: Api) -> None:
    """An unknown field's name is not sent back by the megabyte, and one that is no text does not break the answer."""
    await api.create("alice", "r1")
    for name in ("x" * 1_000_000, "\\ud800", "\\u0000"):
        for path, body in (
            ("/runs", f'{{"username":"alice","{name}":1}}'),
            (RUN, f'{{"events":[{{"type":"a"}}],"{name}":1}}'),
            (RUN, f'{{"type":"a","{name}":{{"x":1e400}}}}'),
        ):
            assert_refused(await post(api, path, body), 422)


async def test_runs_of_others(api: Api) -> None:
    """A run's id belongs to its first owner: nobody else makes it again or writes to it in his own name."""
    said = {"username": "alice", "run_id": "r1", "workflow": "w", "events": [{"type": "a"}]}
    made = await post(api, "/runs", orjson.dumps(said))
    again = await post(api, "/runs", orjson.dumps(dict(reversed(said.items()))))
    assert (made.status, again.status, again.json["last_seq"]) == (201, 200, 1)
    for other in (
        {**said, "workflow": "v"},
        {**said, "events": [{"type": "b"}]},
        {**said, "username": "bob"},
        {"username": "bob", "run_id": "r1"},
        {"username": "Alice", "run_id": "r1"},
    ):
        for headers in ((), ("Idempotency-Key: k",)):
            assert_refused(await post(api, "/runs", orjson.dumps(other), *headers), 409, "run_id", "run_exists")
    assert_refused(await post(api, RUN, b'{"type":"a","username":"bob"}'), 422, "username")
    assert await stored(api, "r1") == (1, 1, "running")
    assert (await api.get("/runs?username=bob"))[1]["runs"] == []
    assert (await post(api, "/runs", b'{"username":"bob"}', "Idempotency-Key: k")).status == 201  # none was kept


async def test_heads_refuses(api: Api) -> None:
    """Heads wants a list of at most 10,000 usernames; the first bad one is named."""
    path = "/api/v1/feeds/heads"
    for body in (b"[]", b'"x"', b"null"):
        assert_refused(await post(api, path, body), 422, "body")
    for body in (b"{}", b'{"usernames":null}', b'{"usernames":{"a":1}}', b'{"usernames":"alice"}'):
        assert_refused(await post(api, path, body), 422, "usernames")
    for bad in (b"1", b"null", b'""', b'"a b"', b'["a"]', b'"a\\u0000"', b'"\\ud800"', b'{"a":1}'):
        assert_refused(await post(api, path, b'{"usernames":["alice",%b]}' % bad), 422, "usernames[1]")
    names = [f"u{number}" for number in range(10_001)]
    assert_refused(await post(api, path, orjson.dumps({"usernames": names})), 413, "usernames", "too_big")
    found = await post(api, path, orjson.dumps({"usernames": [*names[:9_998], "u1", "u1"]}))
    assert (found.status, len(found.json["heads"])) == (200, 9_998)


COMPRESSED = [
    ("gzip", b"garbage"),
    ("gzip", gzip.compress(b'{"type":"a"}' + b" " * 9000)[:-8]),  # cut off, and nobody would notice
    ("gzip", gzip.compress(b" " * 2**27)),  # a bomb
    ("deflate", zlib.compress(b'{"type":"a"}')[:5]),
    ("br", b"x"),
    ("zstd", b"x"),
    ("nonsense", b'{"type":"a"}'),
]


async def test_compressed_bodies(api: Api) -> None:
    """A compressed body is refused as such (415): garbage, cut off, a bomb or of an encoding that nobody knows."""
    await api.create("alice", "r1")
    for encoding, body in COMPRESSED:
        assert_refused(await post(api, RUN, body, f"Content-Encoding: {encoding}"), 415, "Content-Encoding")
    assert await stored(api, "r1") == (0, 0, "queued")


async def test_callers_that_go_away_leave_whole_batches(api: Api) -> None:
    """Whoever hangs up in the middle of an append has it stored whole or not at all, and the service lives on."""
    await api.create("alice", "r1")
    data = request("POST", RUN, body=batch(*[{"type": "a"}] * 10))

    async def hang_up(after: int) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", api.service.port)
        writer.write(data[:after])
        await writer.drain()
        writer.transport.abort()

    await asyncio.gather(*[hang_up(len(data) - (number % 3)) for number in range(60)])
    assert (await post(api, RUN, batch({"type": "last"}))).status == 201
    last_seq, count, _ = await stored(api, "r1")
    assert last_seq == count
    assert (count - 1) % 10 == 0
