"""The live page: the built files in page/, read once at the start and answered from memory."""

import gzip
import hashlib
import re
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import PurePath
from typing import Any

import structlog

from orchestrator_api.caller import OPEN
from orchestrator_api.errors import Problem, StartError
from orchestrator_api.front import Call
from orchestrator_api.history import matches
from orchestrator_api.web import Answer, Request

log = structlog.get_logger("orchestrator_api")

INDEX = "index.html"
KINDS = {
    ".html": "text/html",
    ".js": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
    ".json": "application/json",
    ".webmanifest": "application/manifest+json",
    ".txt": "text/plain",
}

# connect-src: the API that the page came from, and a hub that may be anywhere. Nothing else comes from elsewhere. No
# script that stands in the document runs: an event's text that got in there could not either.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
    " connect-src 'self' http: https: ws: wss:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
ALWAYS = {
    "Cache-Control": "no-cache",  # asked for again each time, and answered 304: a new release shows at once
    "X-Content-Type-Options": "nosniff",
}
DOCUMENT = {"Content-Security-Policy": POLICY, "Referrer-Policy": "no-referrer"}
VARY = b"\r\nVary: Origin\r\n", b"\r\nVary: Origin, Accept-Encoding\r\n"


class FileAnswer(Answer):
    """An answer that also depends on what the client can unpack: a cache must be told."""

    __slots__ = ()

    def _head(self, request: Any) -> bytes:
        return super()._head(request).replace(*VARY, 1)


@dataclass(frozen=True, slots=True)
class Coded:
    """A file's bytes in one coding. tag: strong, so each coding has its own."""

    body: bytes
    tag: str
    headers: dict[str, str]


@dataclass(frozen=True, slots=True)
class File:
    """A file as it is sent. packed: by gzip; None where that saves nothing."""

    content_type: str
    headers: dict[str, str]  # of every answer, but for the tag
    plain: Coded
    packed: Coded | None

    @classmethod
    def of(cls, name: str, content: bytes) -> "File":
        """Makes it of a file's name and content. Raises StartError for one that a page cannot have."""
        kind = KINDS.get(PurePath(name).suffix)
        if kind is None:
            raise StartError(f"page/{name} is of an unknown type: known are {' '.join(KINDS)}")
        try:
            content.decode()
        except UnicodeDecodeError:
            raise StartError(f"page/{name} is not UTF-8, as all of the page is said to be") from None
        headers = ALWAYS | (DOCUMENT if kind == "text/html" else {})
        digest = hashlib.sha256(content).hexdigest()[:32]
        packed = gzip.compress(content, mtime=0)  # no time in it: one tag means the same bytes in every process
        return cls(
            f"{kind}; charset=utf-8",
            headers,
            Coded(content, f'"{digest}"', {}),
            Coded(packed, f'"{digest}-gzip"', {"Content-Encoding": "gzip"}) if len(packed) < len(content) else None,
        )

    def answer(self, request: Request) -> Answer:
        """Returns the answer to a GET: 304 for who has it."""
        coded = self.plain
        if self.packed is not None and accepts_gzip(request.headers.get("Accept-Encoding", "")):
            coded = self.packed
        headers = {**self.headers, "ETag": coded.tag}
        if matches(request.headers.get("If-None-Match"), coded.tag):
            return FileAnswer(status=304, headers=headers)
        return FileAnswer(coded.body, content_type=self.content_type, headers=headers | coded.headers)


def accepts_gzip(header: str) -> bool:
    """True when an Accept-Encoding names gzip, or `*` in its place, and not at a weight of 0."""
    takes: dict[str, bool] = {}
    for part in header.lower().split(","):
        name, _, weight = part.partition(";")
        takes[name.strip()] = not re.fullmatch(r"\s*q\s*=\s*0(\.0*)?\s*", weight, re.ASCII)
    return takes.get("gzip", takes.get("*", False))


def read(directory: Traversable) -> dict[str, File]:
    """Returns a page's files by name; none when it was not built. Raises StartError that names a file of no use."""
    if not directory.joinpath(INDEX).is_file():
        return {}
    found = {}
    for entry in directory.iterdir():
        if entry.name.startswith("."):  # what editors and file managers leave behind
            continue
        if not entry.is_file():
            raise StartError(f"page/{entry.name} is no file: the page is one directory of files")
        found[entry.name] = File.of(entry.name, entry.read_bytes())
    return found


def calls(directory: Traversable | None) -> list[Call]:
    """Returns the page's routes: none without a directory, or when nothing was built into it."""
    files = {} if directory is None else read(directory)
    if not files:
        if directory is not None:
            log.warning("orchestrator.page_not_built", missing=INDEX)
        return []

    async def index(request: Request) -> Answer:
        """GET /"""
        return files[INDEX].answer(request)

    async def file(request: Request) -> Answer:
        """GET /page/{name}"""
        found = files.get(request.name)
        if found is None:
            raise Problem(404, "path_unknown", "there is nothing at this path", field="path")
        return found.answer(request)

    return [("GET", "/", OPEN, index), ("GET", "/page/{name}", OPEN, file)]


def built() -> Traversable:
    """Returns the directory that the page is built into."""
    return resources.files("orchestrator_api").joinpath("page")
