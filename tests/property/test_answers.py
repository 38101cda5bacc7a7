"""fanout.answers: whatever pieces an answer comes in, it is the same answer, or the same refusal."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanout import answers
from fanout.answers import MAX_HEAD, Answers
from fanout.errors import HistoryAway

Result = tuple[int, bytes, bool] | str
BODIES = st.binary(max_size=300)
INTERIM = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nContent-Length: 3\r\n\r\n"
BAD = [
    b"garbage\r\n\r\n", b"SSH-2.0-OpenSSH_9.6\r\n", b"\x15\x03\x03\x00\x02\x02\x28", b"HTTP/1.1 2x0 OK\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\nab", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nabc",
    b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\nab",
    b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nab", b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab",
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    b"HTTP/1.1 101 Yes\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n" * (MAX_HEAD // 25 + 1) + b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nX: " + b"x" * MAX_HEAD + b"\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * (MAX_HEAD // 6) + b"\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length:" + b" " * MAX_HEAD + b"0\r\n\r\n",
]  # fmt: skip


def read(data: bytes, cuts: list[int]) -> Result:
    """What comes of `data`, cut at these places; whoever sent it ends the connection then."""
    found = Answers()
    bounds = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    complete = False
    try:
        for start, end in pairwise(bounds):
            if complete:
                return "away"  # Connection has none waiting any more, and cuts it
            complete = found.feed(data[start:end])
    except HistoryAway:
        return "away"
    if complete or found.until_end:
        return found.status, bytes(found.body), found.keep
    return "away"


@st.composite
def good(draw: st.DrawFn, framings: tuple[str, ...] = ("length", "chunked", "end", "none")) -> tuple[bytes, Result]:
    """An answer, and what it says."""
    status = draw(st.sampled_from([200, 200, 302, 404, 410, 500]))
    body, interim = draw(BODIES), draw(st.integers(0, 2))
    framing = draw(st.sampled_from(framings))
    version, fields, keep = draw(st.sampled_from([(b"1.1", b"", True), (b"1.1", b"Connection: close\r\n", False)]))
    if framing == "length":
        fields += b"CONTENT-length:  %d\r\n" % len(body)
        sent = body
    elif framing == "chunked":
        fields += b"Transfer-Encoding: Chunked\r\n"
        cuts = sorted({0, len(body), *draw(st.lists(st.integers(0, len(body)), max_size=5))})
        pieces = [body[start:end] for start, end in pairwise(cuts)]
        sent = b"".join([b"%x;a=b\r\n%b\r\n" % (len(piece), piece) for piece in pieces]) + b"0\r\nX-Sum: 1\r\n\r\n"
    elif framing == "end":
        sent, keep = body, False
    else:
        status, sent, body = draw(st.sampled_from([204, 304])), b"", b""
    head = b"HTTP/%b %d Some Words\r\nServer: x\r\n%b\r\n" % (version, status, fields)
    return INTERIM * interim + head + sent, (status, body, keep)


CUTS = st.lists(st.integers(min_value=0), max_size=12)


@given(good(), CUTS)
def test_good(answer: tuple[bytes, Result], cuts: list[int]) -> None:
    """An answer says what it says, in any pieces: length, chunks, the end; 1xx before it are skipped."""
    assert read(answer[0], cuts) == answer[1]


@given(good())
def test_byte_by_byte(answer: tuple[bytes, Result]) -> None:
    """A byte at a time is no other answer."""
    assert read(answer[0], list(range(len(answer[0])))) == answer[1]


@pytest.mark.parametrize("data", BAD, ids=range(len(BAD)))
@given(cuts=CUTS)
def test_bad(data: bytes, cuts: list[int]) -> None:
    """What is no answer is none, in any pieces."""
    assert read(data, cuts) == "away"


@given(st.sampled_from([b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\n\r\n"]), st.binary(max_size=200), CUTS)
def test_garbage(begin: bytes, data: bytes, cuts: list[int]) -> None:
    """Any bytes give the same result in any pieces, and never another exception."""
    assert read(begin + data, cuts) == read(begin + data, [])


@given(good(("length", "chunked", "none")), st.data())
def test_cut_short(answer: tuple[bytes, Result], data: st.DataObject) -> None:
    """A part of an answer that says its own end is no answer."""
    assert read(answer[0][: data.draw(st.integers(0, len(answer[0]) - 1))], []) == "away"


@given(st.integers(1, 50), st.integers(0, 3), CUTS)
def test_bound(size: int, over: int, cuts: list[int]) -> None:
    """A body of as much as there may be is read; one byte more is not, whether it is announced or comes in chunks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(answers, "MAX_ANSWER", size)
        body = b"x" * (size + over)
        plain = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        chunks = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * len(body) + b"0\r\n\r\n"
        until = b"HTTP/1.1 200 OK\r\n\r\n" + body
        expected = [(200, body, True), (200, body, True), (200, body, False)] if not over else ["away"] * 3
        assert [read(each, cuts) for each in (plain, chunks, until)] == expected
