"""What answers mean, pure."""

import pytest

from runfeed.api import Answer, _seconds
from runfeed.verdict import LEAST_SECONDS, MOST_SECONDS, What, judge, judge_creation, window


def problem(status: int, code: str = "", field: str = "") -> Answer:
    """An answer that is a problem."""
    return Answer(status, {"code": code, "detail": "why", "field": field})


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        (Answer(201, {"events": [{}, {}, {}]}), What.STORED),
        (Answer(200, {"events": [{}, {}, {}]}), What.STORED),
        (Answer(200, {"events": [{}]}), What.LATER),
        (Answer(204, {}), What.LATER),
        (Answer(301, {}), What.LATER),
        (problem(400, "malformed"), What.SMALLER),
        (problem(401, "unauthenticated"), What.LATER),
        (problem(403), What.LATER),
        (problem(404, "path_unknown"), What.LATER),
        (problem(404, "run_unknown"), What.CREATE),
        (problem(405), What.LATER),
        (problem(408, "body_timeout"), What.AGAIN),
        (problem(409, "run_finished"), What.OVER),
        (problem(413, "too_big"), What.SMALLER),
        (problem(422, "key_reused"), What.SMALLER),
        (problem(422, "invalid", "events[2].type"), What.WITHOUT),
        (problem(422, "invalid", "events[3].type"), What.SMALLER),
        (problem(429), What.AGAIN),
        (problem(500, "internal"), What.AGAIN),
        (problem(503, "busy"), What.AGAIN),
    ],
    ids=lambda each: each.detail if isinstance(each, Answer) else each.value,
)
def test_judgement(answer: Answer, what: What) -> None:
    """Each answer to three events is stored, for a while, for somebody, for one of them or for the run."""
    assert judge(answer, 3, known_username=True).what is what


def test_one_event_is_dropped_alone() -> None:
    """What is refused alone is dropped; a run without a known user waits for somebody."""
    assert judge(problem(413), 1, known_username=True).what is What.WITHOUT
    assert judge(problem(422, "invalid", "events[2]"), 3, known_username=True).index == 2
    assert judge(problem(404, "run_unknown"), 1, known_username=False).what is What.LATER


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        (Answer(201, {"run_id": "r"}), What.STORED),
        (Answer(200, {"run_id": "r"}), What.STORED),
        (Answer(200, {}), What.LATER),
        (problem(409, "run_exists"), What.CREATE),
        (problem(422, "invalid"), What.LATER),
        (problem(401), What.LATER),
        (problem(503), What.AGAIN),
        (problem(429), What.AGAIN),
    ],
)
def test_judgement_of_a_creation(answer: Answer, what: What) -> None:
    """A run that is there is looked at; what cannot be made is not taken for made."""
    assert judge_creation(answer).what is what


def test_windows_grow_to_a_bound() -> None:
    """The backoff's window doubles from half a second to half a minute."""
    assert [window(tries) for tries in (1, 2, 3, 7, 1000)] == [LEAST_SECONDS, 1.0, 2.0, MOST_SECONDS, MOST_SECONDS]


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("1", 1.0),
        (" 30 ", 30.0),
        ("-1", None),
        ("soon", None),
        ("9" * 50, 300.0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
        ("Wed, 21 Oct 2115 07:28:00 GMT", 300.0),
    ],
)
def test_retry_after(header: str | None, seconds: float | None) -> None:
    """Retry-After is seconds or a date, and at most five minutes."""
    assert _seconds(header) == seconds
