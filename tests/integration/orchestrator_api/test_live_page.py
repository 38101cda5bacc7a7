"""The live page over real HTTP: its files, their headers, and the address without one."""

import base64
import gzip
import hashlib
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator_api import live_page
from orchestrator_api.errors import StartError
from orchestrator_api.serve import running
from tests.integration.orchestrator_api.conftest import Api, served
from tests.integration.orchestrator_api.hostile import Answer, answers, assert_refused, get, one, request, send

pytestmark = pytest.mark.any_server  # about this service, whatever the stores' versions

FILES = {
    "index.html": "<!doctype html><title>\u2713</title>" + "<p>page</p>" * 50,
    "app.js": "let a = 1;\n" * 100,
    "app.css": "a{}",
    "icon.svg": "<svg/>",
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self' http: https: ws: wss:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the service finds its page from now on: FILES."""
    directory = tmp_path / "page"
    directory.mkdir()
    for name, text in FILES.items():
        (directory / name).write_text(text)
    monkeypatch.setattr(live_page, "built", lambda: directory)
    return directory


@pytest.fixture
async def paged(directory: Path, api: Api) -> AsyncIterator[Api]:
    """A second service, with that page."""
    async with served(api.settings) as other:
        yield other


async def test_files(paged: Api) -> None:
    """The address shows the index, /page/ its files: each with its type, a strong tag, and no room for guessing."""
    for path, name, kind in (
        ("/", "index.html", "text/html"),
        ("/page/index.html", "index.html", "text/html"),
        ("/page/app.js", "app.js", "text/javascript"),
        ("/page/app.css?v=1", "app.css", "text/css"),
        ("/page/icon.svg", "icon.svg", "image/svg+xml"),
    ):
        answer = await get(paged, path)
        content = FILES[name].encode()
        assert (answer.status, answer.body) == (200, content)
        assert answer.headers["content-type"] == f"{kind}; charset=utf-8"
        assert answer.headers["cache-control"] == "no-cache"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["etag"] == f'"{hashlib.sha256(content).hexdigest()[:32]}"'
        assert answer.headers["vary"] == "Origin, Accept-Encoding"
        assert "content-encoding" not in answer.headers


async def test_document_headers(paged: Api) -> None:
    """The document may load its own files and connect anywhere, and nothing else; it tells nobody where it is."""
    for path in ("/", "/page/index.html"):
        for headers in ((), ("Accept-Encoding: gzip",)):
            document = await get(paged, path, *headers)
            assert document.headers["content-security-policy"] == POLICY
            assert document.headers["referrer-policy"] == "no-referrer"
    assert "content-security-policy" not in (await get(paged, "/page/app.js")).headers


async def test_packed(paged: Api) -> None:
    """Who can unpack gets the file packed, under a tag of its own; what does not shrink comes as it is."""
    for path, name in (("/", "index.html"), ("/page/app.js", "app.js")):
        plain, packed = await get(paged, path), await get(paged, path, "Accept-Encoding: br, gzip")
        assert (packed.headers["content-encoding"], packed.headers["vary"]) == ("gzip", "Origin, Accept-Encoding")
        assert gzip.decompress(packed.body) == FILES[name].encode()
        assert int(packed.headers["content-length"]) == len(packed.body) < len(plain.body)
        assert packed.headers["content-type"] == plain.headers["content-type"]
        assert packed.headers["etag"] != plain.headers["etag"]
    small = await get(paged, "/page/app.css", "Accept-Encoding: gzip")
    assert (small.body, "content-encoding" in small.headers) == (b"a{}", False)
    async with paged.session.get(paged.url("/")) as response:
        assert await response.text() == FILES["index.html"]


async def test_not_modified(paged: Api) -> None:
    """Who has the file in that coding gets 304 without a body, and the tag; another coding's tag is no match."""
    for path in ("/", "/page/app.js"):
        for mine, theirs in (((), ("Accept-Encoding: gzip",)), (("Accept-Encoding: gzip",), ())):
            tag = (await get(paged, path, *mine)).headers["etag"]
            for header in (tag, f'"x", W/{tag}', "*"):
                again = await get(paged, path, *mine, f"If-None-Match: {header}")
                assert (again.status, again.body, again.headers["etag"]) == (304, b"", tag)
                assert again.headers["vary"] == "Origin, Accept-Encoding"
                assert again.headers["cache-control"] == "no-cache"
            assert (await get(paged, path, *theirs, f"If-None-Match: {tag}")).status == 200


async def test_methods(paged: Api) -> None:
    """HEAD has the headers of GET and no body; nothing else is taken."""
    for path in ("/", "/page/app.js"):
        for headers in ((), ("Accept-Encoding: gzip",)):
            full = await get(paged, path, *headers)
            (head,) = answers(await send(paged.service.port, request("HEAD", path, *headers)), head=True)
            assert (head.status, head.body) == (200, b"")
            assert without_date(head) == without_date(full)
        refused = await one(paged, request("POST", path, body=b"{}"))
        assert_refused(refused, 405, "method", "method_not_allowed")
        assert refused.headers["allow"] == "GET, HEAD, OPTIONS"


def without_date(answer: Answer) -> dict[str, str]:
    """An answer's headers but the one that may differ."""
    return {name: value for name, value in answer.headers.items() if name != "date"}


async def test_unknown_files(paged: Api) -> None:
    """A name that is none of the page's is the 404 that any unknown path gets."""
    for path in ("/page/none.js", "/page/", "/page", "/page/.js", "/page/..%2findex.html", "/page/a/app.js", "/app.js"):
        assert_refused(await get(paged, path), 404, "path", "path_unknown")


async def test_read_once(paged: Api, directory: Path) -> None:
    """The page is what it was at the start, whatever becomes of its files."""
    (directory / "app.js").write_text("changed")
    (directory / "index.html").unlink()

    assert (await get(paged, "/page/app.js")).body == FILES["app.js"].encode()
    assert (await get(paged, "/")).status == 200


async def nothing_there(api: Api) -> None:
    """AssertionError unless the page's addresses are unknown paths, and the API's are not."""
    for path in ("/", "/page/app.js", "/page/index.html"):
        assert_refused(await get(api, path), 404, "path", "path_unknown")
    assert (await get(api, "/api/v1/runs?username=alice")).status == 200


@pytest.mark.usefixtures("directory")
async def test_switched_off(api: Api) -> None:
    """With PAGE=off there is no page: 404 as for any unknown path."""
    async with served(replace(api.settings, page=False)) as other:
        await nothing_there(other)
        for accept in ("*/*", "application/json", "text/html;q=0", "text/*", "text/htmlx"):
            assert_refused(await get(other, "/", f"Accept: {accept}"), 404, "path", "path_unknown")


async def test_switched_off_in_a_browser(api: Api) -> None:
    """With PAGE=off who opens the address reads that, and where the API is described; there are no scripts."""
    accept = "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
    async with served(replace(api.settings, page=False)) as other:
        said = await get(other, "/", accept)
        (head,) = answers(await send(other.service.port, request("HEAD", "/", accept)), head=True)
        again = await get(other, "/", accept, f"If-None-Match: {said.headers['etag']}")
        text = said.body.decode()
        for link in ("api/v1/docs", "api/v1/openapi.json"):
            assert f'href="{link}"' in text
            assert (await get(other, f"/{link}")).status == 200

    assert (said.status, head.status, again.status) == (200, 200, 304)
    assert without_date(head) == without_date(said)
    assert said.headers["content-type"] == "text/html; charset=utf-8"
    assert said.headers["vary"] == again.headers["vary"] == "Origin, Accept, Accept-Encoding"
    assert "PAGE" in text
    assert "<script" not in text
    (style,) = re.findall("<style>(.*?)</style>", text)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert said.headers["content-security-policy"] == (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    assert said.headers["referrer-policy"] == "no-referrer"


async def test_not_built(api: Api, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A page that was not built is no page, and no reason not to start: one line says so."""
    (directory / "index.html").unlink()
    capsys.readouterr()
    async with served(api.settings) as other:
        await nothing_there(other)

    assert capsys.readouterr().out.count("orchestrator.page_not_built") == 1


async def test_unknown_type(api: Api, directory: Path) -> None:
    """A file that nobody knows how to send ends the start, and is named; with PAGE=off it is not looked at."""
    (directory / "app.wasm").write_text("x")
    with pytest.raises(StartError, match=r"^page/app\.wasm is of an unknown type"):
        async with running(api.settings):
            pass
    async with served(replace(api.settings, page=False)) as other:
        assert (await get(other, "/healthz")).status == 200


async def test_the_committed_page(api: Api) -> None:
    """What is in the checkout is what the address shows."""
    answer = await get(api, "/")

    assert (answer.status, answer.headers["content-security-policy"]) == (200, POLICY)
    assert answer.body == Path(live_page.__file__).with_name("page").joinpath("index.html").read_bytes()
