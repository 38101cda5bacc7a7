"""Whether an answer is what the API's OpenAPI document says of it, and whether what was taken is what it says of that.

Objects in answers are held closed: a field that the document does not have may not come. Answers that are no
operation's (an unknown path, another method, what is no HTTP) are held against the responses that ELSEWHERE names.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jsonschema_rs
import orjson

ELSEWHERE = {
    204: "Preflight",
    400: "Malformed",
    403: "HostForbidden",
    404: "PathUnknown",
    405: "MethodNotAllowed",
    431: "HeadTooBig",
    500: "Internal",
}
USUAL = {
    "access-control-allow-origin", "access-control-expose-headers", "connection", "content-length", "content-type",
    "date", "server", "transfer-encoding", "vary",
}  # fmt: skip
SHOWN = 200  # characters of what is wrong


@dataclass(frozen=True)
class Said:
    """An answer. headers: by their names in small letters; body: None when it was streamed."""

    status: int
    content_type: str
    headers: Mapping[str, str]
    body: bytes | None


@dataclass(frozen=True)
class Asked:
    """A request that was taken. path: the name in it. query: each parameter's values. body: None: nobody read it."""

    path: str
    query: Mapping[str, Sequence[str]]
    headers: Mapping[str, str]
    body: bytes | None


def closed(value: Any) -> Any:
    """A copy of a document in which every object that lists its fields has no others."""
    if isinstance(value, list):
        return [closed(item) for item in value]
    if not isinstance(value, dict):
        return value
    copy = {name: closed(item) for name, item in value.items()}
    if isinstance(value.get("properties"), dict) and "$ref" not in value:
        copy.setdefault("additionalProperties", False)
    return copy


class Schemas:
    """Validators of a document's schemas, each compiled once."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        self._compiled: dict[int, Any] = {}

    def faults(self, schema: dict[str, Any], value: Any) -> Iterator[str]:
        """What is wrong with a value, three things at most. schema: a part of the document."""
        validator = self._compiled.get(id(schema))
        if validator is None:
            whole = {**schema, "components": self.document["components"]}
            validator = self._compiled[id(schema)] = jsonschema_rs.Draft202012Validator(whole)
        if validator.is_valid(value):
            return
        for error, _ in zip(validator.iter_errors(value), range(3), strict=False):
            place = "/".join(str(part) for part in error.instance_path)
            yield f"{place or 'it'}: {error.message}"[:SHOWN]

    def target(self, part: dict[str, Any]) -> dict[str, Any]:
        """The part, or what it refers to."""
        while "$ref" in part:
            found: Any = self.document
            for name in part["$ref"].removeprefix("#/").split("/"):
                found = found[name.replace("~1", "/").replace("~0", "~")]
            part = found
        return part


class Operation:
    """A call of the document. place: its number in it, from 1."""

    def __init__(self, place: int, described: dict[str, Any], answers: Schemas, requests: Schemas) -> None:
        self.place = place
        self._described = described
        self._answers = answers
        self._requests = requests

    @cached_property
    def responses(self) -> dict[int, dict[str, Any]]:
        """What it may answer, by status."""
        return {int(status): self._answers.target(part) for status, part in self._described["responses"].items()}

    @cached_property
    def parameters(self) -> list[dict[str, Any]]:
        """What it takes beside a body."""
        return [self._requests.target(part) for part in self._described.get("parameters", ())]

    def request_faults(self, asked: Asked) -> Iterator[str]:
        """What the document would not have let pass."""
        for parameter in self.parameters:
            name, schema = parameter["name"], parameter["schema"]
            if parameter["in"] == "path":
                values: Sequence[str] = [asked.path]
            elif parameter["in"] == "query":
                values = asked.query.get(name, ())
            else:
                given = asked.headers.get(name)
                # bytes that are no UTF-8 stand in it as lone surrogates
                values = [] if given is None else [given.encode(errors="backslashreplace").decode()]
            if not values:
                if parameter.get("required"):
                    yield f"was taken without {name}"
                continue
            kind = self._requests.target(schema).get("type")
            value = list(values) if kind == "array" else int(values[0]) if kind == "integer" else values[0]
            for fault in self._requests.faults(schema, value):
                yield f"was taken with {name}={str(value)[:50]!r}: {fault}"
        if "requestBody" in self._described and asked.body:
            schema = self._described["requestBody"]["content"]["application/json"]["schema"]
            for fault in self._requests.faults(schema, parsed(asked.body)):
                yield f"was taken with a body: {fault}"


def parsed(body: bytes) -> Any:
    """A JSON body that the API has taken, which may hold what orjson does not: numbers of odd forms."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return json.loads(body)


class Description:
    """A document, ready to be held against answers."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._answers, self._requests = Schemas(closed(document)), Schemas(document)
        self._operations: dict[tuple[str, str], Operation] = {}
        for path, calls in self._requests.document["paths"].items():
            for method in calls:
                described = {**calls[method], "responses": self._answers.document["paths"][path][method]["responses"]}
                place = len(self._operations) + 1
                self._operations[method.upper(), path] = Operation(place, described, self._answers, self._requests)

    def operation(self, method: str, template: str) -> Operation | None:
        """The operation of a method at a route; None: there is none."""
        return self._operations.get(("GET" if method == "HEAD" else method, template))

    def answer_faults(self, operation: Operation | None, said: Said) -> Iterator[str]:
        """What is not as the document says."""
        if operation is not None:
            response = operation.responses.get(said.status)
        else:
            name = ELSEWHERE.get(said.status)
            response = self._answers.document["components"]["responses"][name] if name else None
        if response is None:
            yield f"{said.status} is not documented"
            return
        for fault in (*self._header_faults(response, said), *self._body_faults(response, said)):
            yield f"{said.status}: {fault}"

    def _header_faults(self, response: dict[str, Any], said: Said) -> Iterator[str]:
        documented = {name.lower(): self._answers.target(part) for name, part in response.get("headers", {}).items()}
        for name, part in documented.items():
            if name not in said.headers:
                if part.get("required"):
                    yield f"has no header {name}"
                continue
            for fault in self._answers.faults(part["schema"], said.headers[name]):
                yield f"header {name}: {fault}"
        for name in said.headers.keys() - documented.keys() - USUAL:
            yield f"header {name} is not documented"

    def _body_faults(self, response: dict[str, Any], said: Said) -> Iterator[str]:
        content = response.get("content")
        if content is None:
            if said.body:
                yield "has a body"
            return
        media = said.content_type.partition(";")[0]
        if media not in content:
            yield f"is {media or 'of no type'}"
        elif said.body is not None and "content-encoding" not in said.headers:
            schema = content[media]["schema"]
            try:
                value = orjson.loads(said.body) if media.endswith("json") else said.body.decode()
            except ValueError as error:
                yield f"is no {media}: {error}"
                return
            yield from self._answers.faults(schema, value)
