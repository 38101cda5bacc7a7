"""tests/support/described.py and answers.py: the check of all answers sees what it is there to see."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from orchestrator_api import openapi
from tests.support.answers import FAULTS, Findings, Ledger
from tests.support.described import Asked, Description, Said

RUN = "/api/v1/runs/{run_id}"
EVENTS = "/api/v1/runs/{run_id}/events"
CACHED = {"cache-control": "private, no-cache"}
DOCUMENT = openapi.document()
EXAMPLE: dict[str, Any] = DOCUMENT["paths"][RUN]["get"]["responses"]["200"]["content"]["application/json"]["example"]
MISSING = {
    "type": "about:blank", "title": "Not Found", "status": 404, "code": "run_unknown", "detail": "x", "field": "run_id",
}  # fmt: skip
DESCRIPTION = Description(DOCUMENT)


def found(method: str, template: str, said: Said, description: Description = DESCRIPTION) -> list[str]:
    """What the check says of an answer."""
    return list(description.answer_faults(description.operation(method, template), said))


def run(status: int = 200, kind: str = "application/json", headers: Any = CACHED, **fields: Any) -> Said:
    """An answer to GET /runs/{run_id}."""
    return Said(status, kind, headers, orjson.dumps(EXAMPLE | fields))


def test_what_is_described_passes() -> None:
    """The example is right, to GET and to HEAD, with the headers that any answer may have; so is the 404."""
    missing = Said(404, "application/problem+json", {"Vary".lower(): "Origin"}, orjson.dumps(MISSING))

    assert found("GET", RUN, run()) == found("HEAD", RUN, run(headers={**CACHED, "server": "x"})) == []
    assert found("GET", RUN, missing) == []


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        (run(status=202), "202 is not documented"),
        (run(kind="text/html"), "200: is text/html"),
        (run(headers={}), "200: has no header cache-control"),
        (run(headers={"cache-control": "public"}), "200: header cache-control: it: "),
        (run(headers={**CACHED, "x-powered-by": "x"}), "200: header x-powered-by is not documented"),
        (run(progress=101), "200: progress: "),
        (run(status_of="x"), "200: it: Additional properties are not allowed ('status_of' was unexpected)"),
        (run(run_id=None), "200: run_id: "),
        (Said(200, "application/json", CACHED, b"{"), "200: is no application/json: "),
        (Said(404, "application/problem+json", {}, orjson.dumps(MISSING | {"code": "busy"})), "404: code: "),
        (Said(404, "application/problem+json", {}, orjson.dumps(MISSING | {"sql": "x"})), "404: it: Additional"),
        (Said(503, "application/problem+json", {}, b"{}"), "503: has no header retry-after"),
    ],
)
def test_what_is_not_described_is_found(said: Said, fault: str) -> None:
    """A status, a type, a header, a field or a value that the document does not have is named."""
    assert [each for each in found("GET", RUN, said) if each.startswith(fault)], found("GET", RUN, said)


@pytest.mark.parametrize(
    "place",
    [
        ("paths", RUN, "get", "responses", "200"),
        ("components", "schemas", "Run", "properties", "progress"),
        ("components", "schemas", "Status", "enum", 0),
    ],
)
def test_what_is_not_documented_any_more_is_found(place: tuple[Any, ...]) -> None:
    """Whatever is taken out of the document, an answer that has it is wrong by it."""
    changed: Any = orjson.loads(orjson.dumps(DOCUMENT))
    inside = changed
    for name in place[:-1]:
        inside = inside[name]
    del inside[place[-1]]

    assert len(found("GET", RUN, run(), Description(changed))) == 1


def test_answers_of_no_operation() -> None:
    """An unknown path, another method and what is no HTTP are held against what the document says of those."""
    nothing = orjson.dumps(MISSING | {"code": "path_unknown"})

    assert found("GET", "unmatched", Said(404, "application/problem+json", {}, nothing)) == []
    assert found("DELETE", RUN, Said(404, "application/problem+json", {}, orjson.dumps(MISSING))) != []
    assert found("OPTIONS", RUN, Said(204, "", {}, b"")) != [], "it has headers"


def asked(**more: Any) -> list[str]:
    """What the check says of a request to append."""
    request = Asked(**{"path": "r1", "query": {}, "headers": {}, "body": b'{"type":"a"}'} | more)
    operation = DESCRIPTION.operation("POST", EVENTS)
    assert operation is not None
    return list(operation.request_faults(request))


def test_requests() -> None:
    """What was taken although the document does not let it pass is found: in the path, a header, the body."""
    assert asked() == asked(headers={"Idempotency-Key": "k"}, body=b'{"events":[{"type":"a","x":1e-999999}]}') == []
    assert asked(path="-r")[0].startswith("was taken with run_id='-r': ")
    assert asked(headers={"Idempotency-Key": "a b"})[0].startswith("was taken with Idempotency-Key='a b': ")
    assert asked(body=b'{"type":"A"}')[0].startswith("was taken with a body: ")


def test_queries() -> None:
    """Parameters are read as their schemas have it: numbers as numbers, repeated ones as lists; some must be there."""
    feed = DESCRIPTION.operation("GET", "/api/v1/feeds/{username}/events")
    trace = DESCRIPTION.operation("GET", "/api/v1/runs/{run_id}/trace")
    assert feed is not None
    assert trace is not None
    right = Asked("alice", {"limit": ["5000"], "run_id": ["a", "b"], "after": ["0"], "other": ["x"]}, {}, None)
    wrong = Asked("alice", {"limit": ["5001"], "run_id": ["a", "-"], "after": ["00"]}, {}, None)

    assert list(feed.request_faults(right)) == []
    assert len(list(feed.request_faults(wrong))) == 3
    assert list(trace.request_faults(Asked("r1", {}, {}, None))) == ["was taken without seq"]


def test_findings(tmp_path: Path) -> None:
    """Counts and faults of all processes come together; the same fault is told once, with how often and where."""
    first, second = Ledger(tmp_path), Ledger(tmp_path)
    first.checked(0)
    first.checked(3)
    second.checked(3)
    assert Findings.of(tmp_path).report() == ["openapi: 3 answers of 1 operations checked"]
    assert not (tmp_path / FAULTS).read_text()
    first.fault("GET /x: 500 is\nnot documented")
    second.fault("GET /x: 500 is\nnot documented")

    summary, fault = Findings.of(tmp_path).report()
    assert summary.endswith("3 answers of 1 operations checked, 2 are not what the document says:")
    assert fault.startswith("  2 x GET /x: 500 is not documented   [")
    assert "test_findings" in fault
