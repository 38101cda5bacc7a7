"""Pages: built files in a directory of the package, read once at the start and answered from memory."""

import asyncio
import gzip
import hashlib
import re
from dataclasses import dataclass
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

ALWAYS = {
    "Cache-Control": "no-cache",  # asked for again each time, and answered 304: a new release shows at once
    "X-Content-Type-Options": "nosniff",
}
VARY = b"\r\nVary: Origin\r\n"


class FileAnswer(Answer):
    """An answer that also depends on what the client can unpack: a cache must be told. vary: all that it depends on."""

    __slots__ = ("vary",)
    vary: str

    def _head(self, request: Any) -> bytes:
        return super()._head(request).replace(VARY, f"\r\nVary: {self.vary}\r\n".encode(), 1)


@dataclass(frozen=True, slots=True)
class Coded:
    """A file's bytes in one coding. tag: strong, so each coding has its own."""

    body: bytes
    tag: str
    headers: dict[str, str]


class File:
    """A file as it is sent. policy: the Content-Security-Policy of a document.

    also: headers of a request, comma-separated, on which it depends whether there is this file.
    """

    def __init__(self, path: str, content: bytes, policy: str = "", also: str = "") -> None:
        """Raises StartError for what no page can have. path: with the file's name at its end."""
        kind = KINDS.get(PurePath(path).suffix)
        if kind is None:
            raise StartError(f"{path} is of an unknown type: known are {' '.join(KINDS)}")
        try:
            content.decode()
        except UnicodeDecodeError:
            raise StartError(f"{path} is not UTF-8, as all of the page is said to be") from None
        self.content_type = f"{kind}; charset=utf-8"
        document = {"Content-Security-Policy": policy, "Referrer-Policy": "no-referrer"}
        self._headers = ALWAYS | (document if kind == "text/html" else {})
        self.plain = Coded(content, f'"{hashlib.sha256(content).hexdigest()[:32]}"', {})
        self._packed: Coded | None = None
        self._vary = ", ".join(filter(None, ("Origin", also, "Accept-Encoding")))

    async def packed(self) -> Coded:
        """Returns the file packed by gzip; as it is where that saves nothing."""
        if self._packed is None:  # when it is first asked for: the largest takes 50 ms, which a start need not wait for
            body = await asyncio.to_thread(gzip.compress, self.plain.body, mtime=0)  # the same bytes in every process
            coded = Coded(body, f'{self.plain.tag[:-1]}-gzip"', {"Content-Encoding": "gzip"})
            self._packed = coded if len(body) < len(self.plain.body) else self.plain
        return self._packed

    async def answer(self, request: Request) -> Answer:
        """Returns the answer to a GET: 304 for who has it."""
        packs = accepts_gzip(request.headers.get("Accept-Encoding", ""))
        coded = await self.packed() if packs else self.plain
        headers = {**self._headers, "ETag": coded.tag}
        if matches(request.headers.get("If-None-Match"), coded.tag):
            answer = FileAnswer(status=304, headers=headers)
        else:
            answer = FileAnswer(coded.body, content_type=self.content_type, headers=headers | coded.headers)
        answer.vary = self._vary
        return answer


def accepts_gzip(header: str) -> bool:
    """True when an Accept-Encoding names gzip, or `*` in its place, and not at a weight of 0."""
    takes: dict[str, bool] = {}
    for part in header.lower().split(","):
        name, _, weight = part.partition(";")
        takes[name.strip()] = not re.fullmatch(r"\s*q\s*=\s*0(\.0*)?\s*", weight, re.ASCII)
    return takes.get("gzip", takes.get("*", False))


def read(directory: Traversable, policy: str) -> dict[str, File]:
    """Returns a page's files by name; none when it was not built. Raises StartError that names a file of no use."""
    if not directory.joinpath(INDEX).is_file():
        return {}
    found = {}
    for entry in directory.iterdir():
        if entry.name.startswith("."):  # what editors and file managers leave behind
            continue
        path = f"{directory.name}/{entry.name}"
        if not entry.is_file():
            raise StartError(f"{path} is no file: a page is one directory of files")
        found[entry.name] = File(path, entry.read_bytes(), policy)
    return found


def calls(directory: Traversable, policy: str, at: str, below: str) -> list[Call]:
    """Returns a page's routes; none when nothing was built into its directory.

    policy: the Content-Security-Policy of its documents. at, below: the paths of its index and, with {name}, its files.
    """
    files = read(directory, policy)
    if not files:
        log.warning("orchestrator.page_not_built", page=at, missing=INDEX)
        return []

    async def index(request: Request) -> Answer:
        return await files[INDEX].answer(request)

    async def file(request: Request) -> Answer:
        found = files.get(request.name)
        if found is None:
            raise Problem(404, "path_unknown", "there is nothing at this path", field="path")
        return await found.answer(request)

    return [("GET", at, OPEN, index), ("GET", below, OPEN, file)]
