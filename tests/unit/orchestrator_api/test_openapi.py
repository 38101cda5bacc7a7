"""orchestrator_api/openapi/: the document is OpenAPI 3.1, agrees with the contract, and holds together."""

import re
from collections.abc import Iterator
from typing import Any, cast

import jsonschema_rs
import pytest

from orchestrator_api import __version__, live_page, openapi, serve
from orchestrator_api.tokens import TokenRefused
from tests.contract.test_events import CONTRACT
from tests.support.readme import CHECKOUT
from tests.unit.test_readme import given_codes

DOCUMENT = openapi.document()
SCHEMAS = DOCUMENT["components"]["schemas"]
LIMITS = CONTRACT["limits"]
TOKEN_CODES = {TokenRefused("").code, "token_expired"}  # the guard passes them on


class Anything:
    """Stands for the stages that routes() asks for their calls."""

    def __getattr__(self, name: str) -> "Anything":
        return self


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Every call: method, path, operation."""
    for path, calls in DOCUMENT["paths"].items():
        for method, operation in calls.items():
            yield method.upper(), path, operation


def everything(value: Any = DOCUMENT) -> Iterator[dict[str, Any]]:
    """Every object in the document, however deep."""
    if isinstance(value, dict):
        yield value
    for child in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from everything(child)


def found(pointer: str) -> Any:
    """What a reference leads to. KeyError when there is nothing."""
    value: Any = DOCUMENT
    for name in pointer.removeprefix("#/").split("/"):
        value = value[name.replace("~1", "/").replace("~0", "~")]
    return value


def validator(schema: dict[str, Any]) -> Any:
    """A validator for a schema of the document."""
    return jsonschema_rs.Draft202012Validator({**schema, "components": DOCUMENT["components"]})


def test_routes_are_the_services() -> None:
    """Each call of the service is in the document, and each call of the document is the service's."""
    stages = cast("Any", Anything())
    calls = serve.routes(stages, stages) + openapi.calls() + live_page.calls(live_page.built())

    assert sorted((method, path) for method, path, _ in operations()) == sorted((call[0], call[1]) for call in calls)


def test_security_is_the_services() -> None:
    """Who may make a call by the document is who may by the service's rule: a token, a key, or whoever comes."""
    stages = cast("Any", Anything())
    wanted = {}
    for method, path, rule, _ in serve.routes(stages, stages) + openapi.calls() + live_page.calls(live_page.built()):
        schemes: set[str | None] = {"token"} if rule.users else set()
        schemes |= {"key", None} if rule.keys else set()
        wanted[method, path] = (schemes, set() if rule.users else rule.keys)
    for method, path, operation in operations():
        schemes, keys = wanted[method, path]
        assert {next(iter(each), None) for each in operation["security"]} == schemes, (method, path)
        assert all(f"an API key with `{key}`" in operation["description"].replace("\n", " ") for key in keys)


def test_paths_name_their_parameters() -> None:
    """What stands in braces in a path is a parameter of each of its calls, and each such parameter stands there."""
    for method, path, operation in operations():
        given = [found(each["$ref"]) if "$ref" in each else each for each in operation.get("parameters", ())]
        in_path = {each["name"] for each in given if each["in"] == "path"}
        assert in_path == set(re.findall(r"{(\w+)}", path)), (method, path)
        assert len({(each["in"], each["name"]) for each in given}) == len(given), (method, path)


def test_references_lead_somewhere() -> None:
    """Every reference has a target, and every component is referred to."""
    targets = {each["$ref"] for each in everything() if "$ref" in each}
    for target in targets:
        found(target)
    unused = {
        f"#/components/{kind}/{name}"
        for kind, parts in DOCUMENT["components"].items()
        for name in parts
        if kind != "securitySchemes"
    } - targets

    # The document has no place for what is no route's. The check of every answer knows it.
    assert unused == {"#/components/responses/MethodNotAllowed", "#/components/responses/Preflight"}


def test_schemas_are_schemas() -> None:
    """Every schema is one by JSON Schema 2020-12."""
    for name, schema in SCHEMAS.items():
        jsonschema_rs.meta.validate({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema})
        validator(schema)
        assert "description" in schema or schema["type"] == "object" or "anyOf" in schema, name


def test_operations_are_named_once() -> None:
    """Operations have names of their own, a tag that is explained, and a summary."""
    names = [operation["operationId"] for _, _, operation in operations()]
    tags = {tag for _, _, operation in operations() for tag in operation["tags"]}

    assert len(set(names)) == len(names)
    assert tags == {tag["name"] for tag in DOCUMENT["tags"]}
    assert all(operation["summary"] for _, _, operation in operations())
    assert DOCUMENT["info"]["version"] == __version__


def test_examples_are_examples() -> None:
    """Every example is what its schema describes."""
    seen = 0
    for media in (each for each in everything() if "schema" in each and ("example" in each or "examples" in each)):
        given = [media["example"]] if "example" in media else [each["value"] for each in media["examples"].values()]
        for example in given:
            validator(media["schema"]).validate(example)
            seen += 1

    assert seen > 40


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("RunId", CONTRACT["names"]["run_id"]["pattern"]),
        ("Username", CONTRACT["names"]["username"]["pattern"]),
        ("EventType", CONTRACT["names"]["type"]["pattern"]),
        ("Cursor", CONTRACT["cursor"]["pattern"]),
        ("Key", CONTRACT["idempotency_key"]["pattern"]),
    ],
)
def test_patterns_are_the_contracts(name: str, pattern: str) -> None:
    """Each name's pattern is the contract's, letter by letter."""
    assert SCHEMAS[name]["pattern"] == pattern


def test_limits_are_the_contracts() -> None:
    """Each limit that the document states is the contract's, and so are the names that it lists."""
    event = SCHEMAS["NewEvent"]
    parameters = DOCUMENT["components"]["parameters"]
    feed = DOCUMENT["paths"]["/api/v1/feeds/{username}/events"]["get"]["parameters"]
    limit = next(each["schema"] for each in feed if each.get("name") == "limit")

    assert [event["properties"]["timestamp"][end] for end in ("minimum", "maximum")] == LIMITS["timestamp"]
    assert f"{LIMITS['frame_bytes']} bytes" in event["description"]
    assert f"{LIMITS['depth']} levels" in event["description"]
    assert {name for name, schema in event["properties"].items() if schema is False} == set(CONTRACT["reserved"])
    assert all(kind in event["description"] for kind in CONTRACT["terminal"])
    assert [SCHEMAS["Id"]["minimum"], SCHEMAS["Id"]["maximum"]] == LIMITS["id"]
    assert SCHEMAS["Batch"]["properties"]["events"]["maxItems"] == LIMITS["batch_events"]
    assert SCHEMAS["HeadsWanted"]["properties"]["usernames"]["maxItems"] == LIMITS["heads_usernames"]
    assert SCHEMAS["Status"]["enum"] == CONTRACT["statuses"]
    assert parameters["cause"]["schema"]["enum"] == CONTRACT["poll_causes"]
    assert parameters["run_ids"]["schema"]["maxItems"] == LIMITS["run_filters"]
    assert (limit["default"], limit["maximum"]) == (LIMITS["history_events"], LIMITS["history_events_max"])


def test_codes_are_the_services() -> None:
    """The codes of the document are those that the code gives, and each is explained in the protocol."""
    codes = set(SCHEMAS["Problem"]["properties"]["code"]["enum"])
    text = (CHECKOUT / "docs/protocol.md").read_text()

    assert codes == set(given_codes()) | TOKEN_CODES
    assert {code for code in codes if f"`{code}`" not in text} == set()


def test_valid_events_are_new_events() -> None:
    """What the contract lets a worker append is what the document calls a new event."""
    validate = validator(SCHEMAS["NewEvent"])
    kinds = [{"type": name} for name in CONTRACT["names"]["type"]["valid"]]

    assert all(validate.is_valid(event) for event in kinds)
    assert not any(validate.is_valid({"type": name}) for name in CONTRACT["names"]["type"]["invalid"])
    assert not any(validate.is_valid({"type": "a", name: 1}) for name in CONTRACT["reserved"])
