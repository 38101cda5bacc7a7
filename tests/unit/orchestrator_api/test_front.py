"""orchestrator_api/front.py: the way from a path to what answers it."""

from typing import Any

import pytest

from orchestrator_api.caller import OPEN
from orchestrator_api.front import UNMATCHED, Routes


async def _answer(_: Any) -> Any: ...


ROUTES = Routes(
    [
        ("GET", "/runs", OPEN, _answer),
        ("POST", "/runs", OPEN, _answer),
        ("GET", "/runs/{run_id}", OPEN, _answer),
        ("POST", "/runs/{run_id}/events", OPEN, _answer),
        ("POST", "/feeds/events", OPEN, _answer),
        ("GET", "/feeds/{username}/events", OPEN, _answer),
    ]
)


@pytest.mark.parametrize(
    ("path", "template", "name"),
    [
        ("/runs", "/runs", ""),
        ("/runs/a", "/runs/{run_id}", "a"),
        ("/runs/a:b@c", "/runs/{run_id}", "a:b@c"),
        ("/runs/a%7Cb/events", "/runs/{run_id}/events", "a|b"),
        ("/runs/a%2Fb", "/runs/{run_id}", "a/b"),
        ("/runs/events", "/runs/{run_id}", "events"),
        ("/runs/events/events", "/runs/{run_id}/events", "events"),
        ("/feeds/events", "/feeds/events", ""),
        ("/feeds/u/events", "/feeds/{username}/events", "u"),
    ],
)
def test_found(path: str, template: str, name: str) -> None:
    """A path is one route's, and the name in it is what its escapes stand for."""
    route, found = ROUTES.find(path)

    assert (route.template, found) == (template, name)


@pytest.mark.parametrize(
    "path",
    ["", "/", "/runs/", "/runs//events", "/runs/a/b", "/runs/a/events/", "/Runs", "/feeds", "*", "/runs/events/"],
)
def test_not_found(path: str) -> None:
    """No other path leads anywhere: not with an empty name, nor with a slash more."""
    assert ROUTES.find(path) == (UNMATCHED, "")


def test_allow() -> None:
    """A path names the methods that it takes, with HEAD where there is GET."""
    assert ROUTES.find("/runs")[0].allow == "GET, HEAD, OPTIONS, POST"
    assert ROUTES.find("/runs/a/events")[0].allow == "OPTIONS, POST"
