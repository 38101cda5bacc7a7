"""orchestrator_api/polls.py: what a client's poll came to."""

import pytest

from orchestrator_api import events, history, polls
from orchestrator_api.errors import BadRequest

ASKED_AT = 1795310970.5


def answer(*recorded_at: float) -> bytes:
    """A run's history as the API answers it, its events recorded at these times."""
    tails = [
        events.event(events.parse(b'{"type":"a","recorded":{"recorded_at":1}}'), "r1", "alice", 5.0).tail(at).decode()
        for at in recorded_at
    ]
    rows = [{"id": n, "seq": n, "tail": tail} for n, tail in enumerate(tails, 1)]
    return b'{"run_id":"r1","status":"running","last_seq":3,"head":3,"epoch":"e","events":[%b]}' % (
        history.page_frames(rows)
    )


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (answer(), "empty"),
        (b"", "empty"),
        (answer(ASKED_AT), "fresh"),
        (answer(ASKED_AT - 0.99), "fresh"),
        (answer(ASKED_AT - 1), "revealed"),
        (answer(ASKED_AT - 5000.25), "revealed"),
        (answer(1), "revealed"),
        (answer(ASKED_AT + 10), "fresh"),  # another machine's clock
        (answer(ASKED_AT - 1, ASKED_AT), "revealed"),
        (answer(ASKED_AT, ASKED_AT - 2), "fresh"),  # in the order of ids the first is the oldest
    ],
)
def test_outcome(body: bytes, expected: str) -> None:
    """A poll is judged by the age of its first event: a second or more, and no socket had brought it."""
    assert polls.outcome(body, ASKED_AT) == expected


def test_outcome_of_a_beginning() -> None:
    """The beginning of a long answer is judged as the whole of it."""
    begun = answer(ASKED_AT - 2, ASKED_AT - 1, ASKED_AT)

    assert polls.outcome(begun[: begun.index(b'"seq":2')], ASKED_AT) == "revealed"


def test_outcome_of_a_feeds_page() -> None:
    """What a feed's page brings is judged in the same way."""
    events_of = answer(ASKED_AT - 2).partition(b'"events":')[2].removesuffix(b"}")

    assert polls.outcome(b'{"epoch":"e","events":%b,"next":1,"head":1}' % events_of, ASKED_AT) == "revealed"
    assert polls.outcome(b'{"epoch":"e","events":[],"next":1,"head":1}', ASKED_AT) == "empty"


def test_cause() -> None:
    """A cause is one of the contract's, and anything else is 400 and names the field."""
    assert [polls.cause(cause) for cause in polls.CAUSES] == list(polls.CAUSES)
    for value in ("", "WS_GAP", "ws_gap ", "poll"):
        with pytest.raises(BadRequest) as refused:
            polls.cause(value)
        assert (refused.value.status, refused.value.field) == (400, "cause")
