"""What the API is, in OpenAPI 3.1: the one document, and the page that shows it.

The document is written in Python, not in YAML: what it says of names, limits and codes is taken from what judges the
requests, so the two cannot differ; nothing has to be parsed at the start, or be built before it; and two prefixes need
not be written twice. It is put together once, at the start, and sent as bytes. The tests hold every answer of the
service against it (tests/support/checked_api.py), and its routes against the service's.
"""

from importlib import resources
from importlib.resources.abc import Traversable

import orjson

from orchestrator_api import static
from orchestrator_api.caller import OPEN
from orchestrator_api.front import Call
from orchestrator_api.openapi.document import PREFIX, document
from orchestrator_api.web import Answer, Request

__all__ = ["POLICY", "built", "calls", "document"]

# The page's own scripts and styles alone, and what it asks is asked of us. Its pictures stand in its style sheet.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def calls() -> list[Call]:
    """Returns the routes of the document and of its page."""
    described = static.File("openapi.json", orjson.dumps(document()))

    async def openapi(request: Request) -> Answer:
        return await described.answer(request)

    page = static.calls(built(), POLICY, f"{PREFIX}/docs", f"{PREFIX}/docs/{{name}}")
    return [("GET", f"{PREFIX}/openapi.json", OPEN, openapi), *page]


def built() -> Traversable:
    """Returns the directory that the page is built into."""
    return resources.files("orchestrator_api").joinpath("docs")
