"""orchestrator_api/web.py: origins and problems."""

from http import HTTPStatus

import orjson
import pytest

from orchestrator_api.errors import BadRequest, Problem, Unavailable
from orchestrator_api.web import Origins, problem_response


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("http://localhost:5173", True),
        ("https://localhost", True),
        ("http://127.0.0.1:8081", True),
        ("http://127.9.9.9", True),
        ("http://[::1]:80", True),
        ("http://localhost.evil.example", False),
        ("http://localhost:80.evil.example", False),
        ("http://evil.example/localhost", False),
        ("http://127.0.0.1.evil.example", False),
        ("null", False),
        ("", False),
    ],
)
def test_default_origins(origin: str, allowed: bool) -> None:
    """Without a setting, pages of any loopback origin may call and no other."""
    assert Origins(None).allows(origin) is allowed


def test_exact_origins() -> None:
    """With a setting, exactly the origins in it may call: not even loopback ones."""
    origins = Origins(("https://app.example.com",))

    assert origins.allows("https://app.example.com")
    assert not origins.allows("https://app.example.com.evil.example")
    assert not origins.allows("http://app.example.com")
    assert not origins.allows("http://localhost")


def test_problem_response() -> None:
    """A problem is RFC 9457 JSON that names the field and the rule."""
    response = problem_response(BadRequest("events[3].type", "must be text"))

    assert response.status == 422
    assert response.content_type == "application/problem+json"
    assert isinstance(response.body, bytes)
    assert orjson.loads(response.body) == {
        "type": "about:blank",
        "title": HTTPStatus(422).phrase,
        "status": 422,
        "code": "invalid",
        "detail": "events[3].type: must be text",
        "field": "events[3].type",
    }


def test_unavailable_says_when_to_come_back() -> None:
    """A 503 has Retry-After, and is one line of text where JSON would be taken for events."""
    response = problem_response(Unavailable("store_away", "later"), plain=True)

    assert (response.status, response.body) == (503, b"later\n")
    assert response.content_type == "text/plain; charset=utf-8"
    assert response.headers["Retry-After"] == "1"


def test_extra_members() -> None:
    """What a program needs to go on stands beside the problem's own members."""
    assert Problem(410, "cursor_unknown", "no", head=7).body()["head"] == 7
