"""The live page: the built files in page/, at the address itself; where it is off, a few words for who opens that."""

import base64
import hashlib
import re
from importlib import resources
from importlib.resources.abc import Traversable

from orchestrator_api import static
from orchestrator_api.caller import OPEN
from orchestrator_api.errors import Problem
from orchestrator_api.front import Call
from orchestrator_api.web import Answer, Request

# connect-src: the API that the page came from, and a hub that may be anywhere. Nothing else comes from elsewhere. No
# script that stands in the document runs: an event's text that got in there could not either.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
    " connect-src 'self' http: https: ws: wss:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

STYLE = (
    ":root{color-scheme:light dark}"
    "body{margin:0;padding:12vh 24px 24px;font:16px/25px system-ui,sans-serif;"
    "color:light-dark(#131819,#e6ecea);background:light-dark(#f4f6f5,#101514)}"
    "main{max-width:60ch;margin:auto;overflow-wrap:anywhere}h1{line-height:1.2}"
    "a{color:light-dark(#0a4bc8,#8ab6ff)}:focus-visible{outline:2px solid;outline-offset:2px}"
)
OFF = f"""<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <title>Runfeed's API</title>
    <link rel="icon" href="data:,">
    <style>{STYLE}</style>
  </head>
  <body>
    <main>
      <h1>Runfeed's API</h1>
      <p>The live page is off here: <code>PAGE=on</code> shows it.</p>
      <ul>
        <li><a href="api/v1/docs">What the API takes and answers</a></li>
        <li><a href="api/v1/openapi.json">The same as a document, OpenAPI 3.1</a></li>
      </ul>
    </main>
  </body>
</html>
"""
# Its one style is known by its hash; nothing else is loaded, and nothing is asked.
OFF_POLICY = (
    f"default-src 'none'; style-src 'sha256-{base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()}';"
    " img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
OFF_FILE = static.File(static.INDEX, OFF.encode(), OFF_POLICY, also="Accept")


def calls(directory: Traversable | None) -> list[Call]:
    """Returns the page's routes: without a directory one that says so to people, and none when nothing was built."""
    return [("GET", "/", OPEN, _off)] if directory is None else static.calls(directory, POLICY, "/", "/page/{name}")


async def _off(request: Request) -> Answer:
    """Answers a browser with a document; to a program there is nothing here."""
    if not takes_html(request.headers.get("Accept", "")):
        raise Problem(404, "path_unknown", "there is nothing at this path", field="path")
    return await OFF_FILE.answer(request)


def takes_html(header: str) -> bool:
    """True when an Accept names text/html, and not at a weight of 0."""
    for part in header.lower().split(","):
        kind, _, rest = part.partition(";")
        if kind.strip() == "text/html":
            return not re.search(r"(?:^|;)\s*q\s*=\s*0(\.0*)?\s*(?:;|$)", rest, re.ASCII)
    return False


def built() -> Traversable:
    """Returns the directory that the page is built into."""
    return resources.files("orchestrator_api").joinpath("page")
