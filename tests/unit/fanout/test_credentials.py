"""fanout.credentials: which credential counts, and what it shows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.datastructures import Headers

from fanout.admission import Admission
from fanout.credentials import Credential, as_wide, granted, said, shown
from fanout.errors import Refusal
from fanout.tokens import Principal
from fanout.wire import SSE, TEXT

TICKET = "rft_" + "a" * 43


def request(target: str = "/ws", *fields: tuple[str, str]) -> tuple[str, Headers]:
    """A request."""
    return target, Headers(fields)


def principal(username: str = "alice", runs: set[str] | None = None) -> Principal:
    """Who a token is of."""
    return Principal(username, None if runs is None else frozenset(runs), 9e9, 0.0, None, "runfeed")


def test_the_first_counts() -> None:
    """Header, subprotocol, ticket, in this order; none is a WebSocket's first message."""
    header, offer = ("Authorization", "Bearer h"), ("Sec-WebSocket-Protocol", "runfeed.v1, bearer.s")
    target = f"/ws?ticket={TICKET}"

    assert shown(*request(target, header, offer), TEXT) == Credential("h")
    assert shown(*request(target, offer), TEXT) == Credential("s")
    assert shown(*request(target, ("Origin", "http://a")), TEXT) == Credential(TICKET, True, "http://a")
    assert shown(*request(target), SSE) == Credential(TICKET, True)
    assert shown(*request("/ws?username=a"), TEXT) is None


@pytest.mark.parametrize("value", ["Basic YTpi", "Bearerx", "Digest a"])
def test_other_schemes(value: str) -> None:
    """What is no bearer token is a proxy's business, and none of ours."""
    assert shown(*request("/ws", ("Authorization", value)), TEXT) is None
    assert shown(*request("/ws", ("Authorization", value), ("Authorization", "bearer  t")), TEXT) == Credential("t")


def test_a_stream_must_show_one() -> None:
    """A stream has no first message."""
    with pytest.raises(Refusal) as refused:
        shown(*request("/sse"), SSE)

    assert (refused.value.status, refused.value.code) == (401, "token_missing")
    assert "the subprotocols `runfeed.v1, bearer.<token>`" in refused.value.detail


@pytest.mark.parametrize("more", ["", ", other", ", runfeed.v2", ", xrunfeed.v1"])
def test_a_token_alone_among_the_subprotocols(more: str) -> None:
    """A page that offers a token and nothing that can be told back is told what is missing, and its browser logs it."""
    with pytest.raises(Refusal) as refused:
        shown(*request("/ws", ("Sec-WebSocket-Protocol", f"bearer.s{more}")), TEXT)
    rule = "offer `runfeed.v1` beside `bearer....`: a browser wants one of its protocols told back"
    assert (refused.value.status, refused.value.code, refused.value.detail) == (400, "invalid", rule)

    two = ("Sec-WebSocket-Protocol", "bearer.s"), ("Sec-WebSocket-Protocol", " runfeed.v1")
    assert shown(*request("/ws", *two), TEXT) == Credential("s")


@pytest.mark.parametrize("name", ["token", "Access_Token", "jwt", "authorization", "bearer"])
def test_token_in_the_query(name: str) -> None:
    """A token in the URL is refused, whatever it is called and whatever else is shown; its value is not repeated."""
    with pytest.raises(Refusal) as refused:
        shown(*request(f"/ws?{name}=secret", ("Authorization", "Bearer t")), TEXT)

    assert (refused.value.status, refused.value.code) == (400, "token_in_query")
    assert "secret" not in str(refused.value)


JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl"


@pytest.mark.parametrize("name", ["auth", "key", "api_key", "id_token", "x", "", "Username", "cache-buster", "ticket"])
@pytest.mark.parametrize("value", [JWT, JWT[: JWT.rindex(".") + 1], "rfk_4dY1_c2VjcmV0", "rfk_"])
def test_what_looks_like_a_token_in_the_query(name: str, value: str) -> None:
    """What looks like a token or an API key is refused under any name; none of it is repeated."""
    for query in (f"{name}={value}", f"username=alice&{name}=1&{name}={value}", value):
        with pytest.raises(Refusal) as refused:
            shown(*request(f"/ws?{query}", ("Authorization", "Bearer t")), TEXT)
        assert (refused.value.status, refused.value.code) == (400, "token_in_query")
        assert value not in str(refused.value)


@pytest.mark.parametrize(
    "query",
    [
        f"username={JWT}",
        f"run_id=a&run_id={JWT}",
        f"epoch={JWT}",
        "x=eyJ.a.b",
        "x=1.2.3&cache-buster=0.123.456",
        f"x={JWT}.d",
        f"x=a{JWT}",
        "x=a.rfk_b",
    ],
)
def test_what_only_looks_a_little_like_a_token(query: str) -> None:
    """Names of users and runs may look as they like, and so may what has nothing but dots in common with a token."""
    assert shown(*request(f"/ws?{query}"), TEXT) is None


@given(st.binary(max_size=200))
def test_any_message(message: bytes) -> None:
    """Whatever a client says is a token's message or is not; nothing raises."""
    assert isinstance(said(message), str | None)


def test_said() -> None:
    """Only a message of this type has a token."""
    assert said(b'{"type":"auth","token":"t","more":[1]}') == "t"
    assert said(b'{"type":"auth","token":null}') == ""
    assert said(b'{"type":"other","token":"t"}') is None
    assert said(b'"auth"') is None


def test_granted() -> None:
    """The name is the token's; filters are cut to its runs, and never widened."""
    for asked, runs, expected in (
        (None, None, None),
        ({"a"}, None, {"a"}),
        (None, {"a"}, {"a"}),
        ({"a", "b"}, {"b", "c"}, {"b"}),
        ({"a"}, {"b"}, set()),
    ):
        admission = Admission("", None if asked is None else frozenset(asked))
        found = granted(admission, principal(runs=runs))
        assert (found.username, found.runs) == ("alice", None if expected is None else frozenset(expected))


def test_not_granted() -> None:
    """Another's name is 403; a run that the token does not name is 404, as one that is not there."""
    with pytest.raises(Refusal) as refused:
        granted(Admission("bob", None), principal())
    assert (refused.value.status, refused.value.code, refused.value.field) == (403, "forbidden", "username")
    with pytest.raises(Refusal) as refused:
        granted(Admission("", frozenset({"a"}), run_id="a"), principal(runs={"b"}))
    assert (refused.value.status, refused.value.code) == (404, "run_unknown")


def test_as_wide() -> None:
    """A token is as wide as a socket if it shows all that the socket does."""
    every, some, more = principal(), principal(runs={"a"}), principal(runs={"a", "b"})

    assert as_wide(every, frozenset("a"))
    assert as_wide(every, None)
    assert as_wide(more, frozenset("a"))
    assert as_wide(some, frozenset())
    assert not as_wide(some, frozenset("ab"))
    assert not as_wide(more, None)
