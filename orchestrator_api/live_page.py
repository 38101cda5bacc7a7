"""The live page: the built files in page/, at the address itself."""

from importlib import resources
from importlib.resources.abc import Traversable

from orchestrator_api import static
from orchestrator_api.front import Call

# connect-src: the API that the page came from, and a hub that may be anywhere. Nothing else comes from elsewhere. No
# script that stands in the document runs: an event's text that got in there could not either.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
    " connect-src 'self' http: https: ws: wss:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def calls(directory: Traversable | None) -> list[Call]:
    """Returns the page's routes: none without a directory, or when nothing was built into it."""
    return [] if directory is None else static.calls(directory, POLICY, "/", "/page/{name}")


def built() -> Traversable:
    """Returns the directory that the page is built into."""
    return resources.files("orchestrator_api").joinpath("page")
