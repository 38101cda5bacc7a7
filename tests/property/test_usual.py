"""fanout.usual beside the library: what it takes, the library takes, with the same answer."""

from hypothesis import event, given, settings
from hypothesis import strategies as st

from fanout import handshake, usual
from fanout.admission import Admission
from fanout.auth_config import AuthConfig
from fanout.errors import Refusal
from fanout.peers import Hosts

ORIGINS = handshake.origins(("https://app.example",))
RULES = st.sampled_from([
    handshake.Rules(ORIGINS, AuthConfig(hosts=hosts), deflate)
    for hosts in (Hosts(), Hosts(frozenset({"hub.example", "[2001:db8::1]"})))
    for deflate in (False, True)
])  # fmt: skip
FIELDS = st.sampled_from([
    "Upgrade: websocket", "upgrade:WebSocket", "Upgrade: websocket, h2c", "Upgrade: \tWEBSOCKET ", "Upgrade: h2c",
    "Connection: Upgrade", "Connection: keep-alive, Upgrade", "CONNECTION: upgrade", "Connection: close",
    "Connection: Upgrade, ;", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    "sec-websocket-key:AAAAAAAAAAAAAAAAAAAAAB==",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=", "Sec-WebSocket-Key: dGhlIHNhbXBs ZSBub25jZQ==",
    "Sec-WebSocket-Version: 13", "Sec-WebSocket-Version: 8", "Sec-WebSocket-Version: 13, 8", "Host: a", "Host: a:b:c",
    "host:hub.example:1", "HOST: LOCALHOST:8085", "Host: evil.example", "Host:",
    "Host: 192.0.2.7:8085", "Host: [2001:db8::1]:80", "Host: hub.example@evil", "Host: x.localhost", "Host: 2130706433",
    "Origin: https://app.example", "Origin: https://APP.example", "Origin: null", "Origin:", "Origin: http://localhost",
    "Sec-WebSocket-Protocol: runfeed.v1", "Sec-WebSocket-Protocol: runfeed.v1, b", "Sec-WebSocket-Protocol: b",
    "Sec-WebSocket-Protocol: ", "Sec-WebSocket-Extensions: permessage-deflate", "Sec-WebSocket-Extensions: ;",
    "Content-Length: 0", "Content-Length: 3", "Transfer-Encoding: chunked", "X-Name: \xe9\xff", "X: a\x7f", "X : a",
    " folded", "X: " + "a" * 200, "X-Y: ", ":", "no colon", "X:\x0b",
    "\r\n".join(["X: y"] * 130),
])  # fmt: skip
USUAL = [
    "Host: localhost",
    "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version: 13",
]  # fmt: skip
LINES = st.sampled_from(["GET /ws?%s HTTP/1.1", "GET /ws?%s HTTP/1.0", "POST /ws?%s HTTP/1.1", "GET /sse?%s HTTP/1.1"])
QUERIES = st.one_of(
    st.sampled_from([
        "username=alice", "username=a%40b", "username=a+b", "username=", "", "username=a&username=b", "a=%zz",
        "username=a&after=7", "username=a&after=07", "username=a&run_id=r1&run_id=r:2", "username=a&run_id=", "?#&;=",
        "username=a#b", "username=a&epoch=e&epoch=f", "username=%ff", "username=a%00",
    ]),
    st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=30).map(lambda text: "username=a" + text),
)  # fmt: skip
Verdict = tuple[object, ...] | None


@st.composite
def heads(draw: st.DrawFn) -> bytes:
    """Usual requests, with up to three fields changed, added or left out, in any order."""
    fields = list(USUAL)
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, len(fields)))
        fields[place : place + draw(st.integers(0, 1))] = draw(st.lists(FIELDS, max_size=1))
    line = draw(st.one_of(st.just("GET /ws?%s HTTP/1.1"), LINES)) % draw(QUERIES)
    return "\r\n".join([line, *draw(st.permutations(fields)), "", ""]).encode("iso-8859-1")


def short_way(head: bytes, rules: handshake.Rules) -> Verdict:
    """What `usual` says: the answer's lines and the admission, a refusal, or nothing."""
    try:
        found = usual.read(head, rules)
    except Refusal as refusal:
        return refusal.status, refusal.field, refusal.detail
    return None if found is None else (sorted(found[0].split(b"\r\n")), found[1])


def long_way(head: bytes, rules: handshake.Rules) -> Verdict:
    """What the library and `respond` say; the date left out."""
    protocol = handshake.Handshake(rules)
    protocol.receive_data(head)
    try:
        (request,) = protocol.events_received()
        response, admission = handshake.respond(protocol, request, rules)  # type: ignore[arg-type]
    except Refusal as refusal:
        return refusal.status, refusal.field, refusal.detail
    except ValueError:  # no request: the parser has refused it
        return None
    del response.headers["Date"]
    return sorted(response.serialize().split(b"\r\n")), admission


@given(heads(), RULES)
@settings(max_examples=1500, deadline=None)
def test_the_same_as_the_library(head: bytes, rules: handshake.Rules) -> None:
    """Every request that takes the short way gets, byte for byte, what it would get on the long one."""
    found = short_way(head, rules)
    event("short" if found else "long")

    if found is not None:
        assert found == long_way(head, rules)
        assert len(found) == 3 or isinstance(found[1], Admission)
