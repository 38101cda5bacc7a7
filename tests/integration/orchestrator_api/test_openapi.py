"""The OpenAPI document, and the page that shows it, over real HTTP."""

import gzip

import pytest

from orchestrator_api import openapi
from tests.integration.orchestrator_api.conftest import Api
from tests.integration.orchestrator_api.hostile import answers, assert_refused, get, one, request, send

pytestmark = pytest.mark.any_server  # about this service, whatever the stores' versions

DOCUMENT = "/api/v1/openapi.json"
DOCS = "/api/v1/docs"


async def test_document(api: Api) -> None:
    """The document is there for everybody, packed for who can unpack it, and asked for again costs a 304."""
    plain, packed = await get(api, DOCUMENT), await get(api, DOCUMENT, "Accept-Encoding: gzip")

    assert plain.status == 200
    assert plain.headers["content-type"] == "application/json; charset=utf-8"
    assert plain.json == openapi.document()
    assert gzip.decompress(packed.body) == plain.body
    assert (await get(api, DOCUMENT, f"If-None-Match: {plain.headers['etag']}")).status == 304
    (head,) = answers(await send(api.service.port, request("HEAD", DOCUMENT)), head=True)
    assert (head.status, head.headers["etag"]) == (200, plain.headers["etag"])
    assert_refused(await one(api, request("POST", DOCUMENT, body=b"{}")), 405, "method")


async def test_document_for_pages(api: Api) -> None:
    """A page of an allowed origin may read the document; another gets no header that lets it."""
    near = await get(api, DOCUMENT, "Origin: http://localhost:3000")
    far = await get(api, DOCUMENT, "Origin: https://example.com")

    assert near.headers["access-control-allow-origin"] == "http://localhost:3000"
    assert "access-control-allow-origin" not in far.headers


async def test_page(api: Api) -> None:
    """The page's document may run its own scripts and styles and ask the API, and nothing else; its files are there."""
    page = await get(api, DOCS)

    assert page.status == 200
    assert b'<html lang="en">' in page.body
    assert b"<title>Runfeed API</title>" in page.body
    assert page.headers["content-security-policy"] == openapi.POLICY
    for word in ("unsafe", "http:", "https:", "blob:", "*"):
        assert word not in openapi.POLICY
    for name in ("docs.js", "docs.css", "swagger-ui.css", "swagger-ui-bundle.js"):
        file = await get(api, f"{DOCS}/{name}", "Accept-Encoding: gzip")
        content = openapi.built().joinpath(name).read_bytes()
        packed = file.headers.get("content-encoding") == "gzip"
        assert (gzip.decompress(file.body) if packed else file.body) == content
    assert_refused(await get(api, f"{DOCS}/none.js"), 404, "path", "path_unknown")
