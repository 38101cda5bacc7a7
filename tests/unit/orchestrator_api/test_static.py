"""orchestrator_api/static.py: which files a page may have, and who gets them packed."""

import gzip
import re
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import pytest

from orchestrator_api import live_page, openapi, static
from orchestrator_api.errors import StartError
from orchestrator_api.static import File, accepts_gzip


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("gzip", True),
        ("gzip, deflate, br", True),
        ("br;q=1.0, GZIP;q=0.8", True),
        ("deflate,gzip ; q = 0.001", True),
        ("*", True),
        ("identity, *;q=0.5", True),
        ("", False),
        ("identity", False),
        ("gzip;q=0", False),
        ("gzip; q=0.000, *", False),
        ("*;q=0", False),
        ("gzipped", False),
        ("x-gzip", False),
        (",,;", False),
    ],
)
def test_accepts_gzip(header: str, expected: bool) -> None:
    """gzip is taken when it is named, or stood for by a star, at a weight above 0."""
    assert accepts_gzip(header) is expected


def page(directory: Path, **files: str) -> Path:
    """A built page: an index, and files by their names, an underscore for the full stop."""
    directory.joinpath("index.html").write_text("<!doctype html>")
    for name, text in files.items():
        directory.joinpath(name.replace("_", ".")).write_text(text)
    return directory


def test_files_are_read(tmp_path: Path) -> None:
    """Every file is there by its name, as it is on the disk; what is hidden is none of the page's."""
    found = static.read(page(tmp_path, app_js="1;", app_css="a{}", icon_svg="<svg/>", _DS_Store="x"), "")

    assert {name: (file.content_type, file.plain.body) for name, file in found.items()} == {
        "index.html": ("text/html; charset=utf-8", b"<!doctype html>"),
        "app.js": ("text/javascript; charset=utf-8", b"1;"),
        "app.css": ("text/css; charset=utf-8", b"a{}"),
        "icon.svg": ("image/svg+xml; charset=utf-8", b"<svg/>"),
    }


def test_unknown_type(tmp_path: Path) -> None:
    """A file of a type that no header is known for ends the start, by its name."""
    for name in ("app.exe", "LICENSE", "app.JS"):
        (tmp_path / name).mkdir()
        page(tmp_path / name).joinpath(name).write_text("x")
        with pytest.raises(
            StartError, match=rf"^{re.escape(name)}/{re.escape(name)} is of an unknown type: known are \.html "
        ):
            static.read(tmp_path / name, "")


def test_no_text(tmp_path: Path) -> None:
    """A file that is not UTF-8 ends the start: its header would not be true."""
    page(tmp_path).joinpath("app.js").write_bytes(b"// \xff")

    with pytest.raises(StartError, match=rf"^{tmp_path.name}/app\.js is not UTF-8"):
        static.read(tmp_path, "")


def test_directory_within(tmp_path: Path) -> None:
    """A directory in the page ends the start: nobody could get what is in it."""
    page(tmp_path).joinpath("assets").mkdir()

    with pytest.raises(StartError, match=rf"^{tmp_path.name}/assets is no file"):
        static.read(tmp_path, "")


def test_not_built(tmp_path: Path) -> None:
    """Without an index there is no route, whether its directory is there or not; off, there is the address alone."""
    (tmp_path / "app.js").write_text("1;")

    assert live_page.calls(tmp_path) == live_page.calls(tmp_path / "none") == []
    assert [(method, path) for method, path, _, _ in live_page.calls(None)] == [("GET", "/")]
    assert [(method, path) for method, path, _, _ in live_page.calls(page(tmp_path))] == [
        ("GET", "/"),
        ("GET", "/page/{name}"),
    ]


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("text/html", True),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", True),
        ("application/json, TEXT/HTML ; level=1; q=0.4", True),
        ("", False),
        ("*/*", False),
        ("text/*", False),
        ("application/json", False),
        ("text/html-x", False),
        ("text/html;q=0", False),
        ("text/html; level=1; q=0.000", False),
    ],
)
def test_takes_html(header: str, expected: bool) -> None:
    """Only who names HTML, and not at a weight of 0, is shown a document where the page is off."""
    assert live_page.takes_html(header) is expected


async def test_packed_where_it_saves() -> None:
    """Each coding has its own strong tag, which follows the content; what would grow is not packed."""
    long, other, short = (File("a.js", text) for text in (b"x" * 1000, b"y" * 1000, b"x"))
    packed, packed_other = await long.packed(), await other.packed()

    assert gzip.decompress(packed.body) == b"x" * 1000
    assert packed.body[4:8] == bytes(4)  # the time of packing: other processes pack at others
    assert await long.packed() is packed
    assert await short.packed() is short.plain
    tags = [long.plain.tag, packed.tag, other.plain.tag, packed_other.tag, short.plain.tag]
    assert len(set(tags)) == len(tags)
    assert all(re.fullmatch(r'"[0-9a-z-]+"', tag) for tag in tags)
    assert File("b.css", b"x" * 1000).plain.tag == long.plain.tag


@pytest.mark.parametrize(
    ("directory", "at"), [(live_page.built(), "/"), (openapi.built(), "/api/v1/docs")], ids=["page", "docs"]
)
def test_the_committed_pages(directory: Path, at: str) -> None:
    """Each page in the checkout can be served; all that its index names is there, and no script stands in it."""
    files = static.read(directory, "")
    document = files["index.html"].plain.body.decode()
    below = f"/{directory.name}/" if at == "/" else f"{at}/"
    named = [urljoin(f"http://page{at}", name) for name in re.findall(r'\b(?:src|href)="([^"]*)"', document)]
    own = [urlsplit(url).path for url in named if url.startswith("http://page/") and urlsplit(url).path != "/"]

    assert len(own) > 2
    assert [path for path in own if path.removeprefix(below) not in files] == []
    assert not re.search(r"<script>|<style|\bon[a-z]+=", document)
