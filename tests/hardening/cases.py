"""The Autobahn|Testsuite's own cases, as its package has them, made readable for the Python that we run.

The package (`autobahntestsuite` 25.10.1) is written for Python 2.7 and its client for the Autobahn|Python of 2015:
neither can be imported here. Its cases can be: a case is a small class that says what to send and what to expect, and
judges. They are read from the installed package, statement for statement; what is changed is below, in `CHANGES`, and

* a byte string of Python 2 is a text of the same code points (`latin-1`), for which `peer` sends those bytes;
* what a case imports from Autobahn and Twisted is a stand-in that has the few names which cases use.

The other half, the client that carries a case out, is `peer`.
"""

from __future__ import annotations

import binascii
import builtins
import importlib.util
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

PACKAGE = "autobahntestsuite"
CHANGES = (
    (re.compile(r"^(\s*)print (?=\S)(.*)$", re.MULTILINE), r"\1print(\2)"),
    (re.compile(r"\(object, Case, \)"), "(Case,)"),  # a class of Python 3 has `object` anyhow, and last
    (re.compile(r"len\(self\.payload\) / "), "len(self.payload) // "),
)
# Plain equality of what came and what was expected; the package's compares pickles, which tell equal texts apart here.
COMPARE = "compare"
UNUSED = "case9_9_1"  # no case of the list, and the one that needs Twisted


@dataclass
class Offer:
    """A client's offer of permessage-deflate; the fields are Autobahn's, and so are their names."""

    acceptNoContextTakeover: bool = True
    acceptMaxWindowBits: bool = True
    requestNoContextTakeover: bool = False
    requestMaxWindowBits: int = 0

    def __str__(self) -> str:
        parts = ["permessage-deflate"]
        parts += ["client_no_context_takeover"] if self.acceptNoContextTakeover else []
        parts += ["client_max_window_bits"] if self.acceptMaxWindowBits else []
        parts += ["server_no_context_takeover"] if self.requestNoContextTakeover else []
        parts += [f"server_max_window_bits={self.requestMaxWindowBits}"] if self.requestMaxWindowBits else []
        return "; ".join(parts)


class States:
    """What cases take from Autobahn's protocol class."""

    STATE_CLOSED, STATE_CONNECTING, STATE_CLOSING, STATE_OPEN = range(4)
    CLOSE_STATUS_CODE_NORMAL = 1000
    CLOSE_STATUS_CODE_PROTOCOL_ERROR = 1002
    CLOSE_STATUS_CODE_INVALID_PAYLOAD = 1007


class Utf8Validator:
    """The one question that the cases ask while they are made: is this valid, and complete."""

    def reset(self) -> None:
        """It has no memory."""

    def validate(self, text: str) -> tuple[bool, bool]:
        """(valid, complete) of the bytes that `text` stands for."""
        try:
            text.encode("latin-1").decode()
        except UnicodeDecodeError as error:
            return error.reason == "unexpected end of data", False
        return True, True


def _hex(data: str | bytes) -> str:
    return binascii.hexlify(data.encode("latin-1") if isinstance(data, str) else data).decode()


class Suite:
    """The modules of the installed package's folder `case`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._modules: dict[str, ModuleType] = {}
        deflate = {"PerMessageDeflateOffer": Offer, "PerMessageDeflateResponse": object}
        self._others: dict[str, Any] = {
            "autobahn.websocket.protocol": SimpleNamespace(WebSocketProtocol=States),
            "autobahn.websocket.compress": SimpleNamespace(**deflate, __all__=[*deflate]),
            "autobahn.websocket.utf8validator": SimpleNamespace(Utf8Validator=Utf8Validator),
            "pkg_resources": SimpleNamespace(resource_filename=lambda _, name: str(folder.parent / name)),
            "binascii": SimpleNamespace(b2a_hex=_hex, hexlify=_hex),
        }
        self._builtins = {**vars(builtins), "__import__": self._bring, "xrange": range, "unichr": chr}
        self.names = [match[1] for match in re.finditer(r"^from (case\w+) import \*", self._source("__init__"), re.M)]

    def classes(self) -> Iterator[tuple[str, type[Any]]]:
        """(id, class) of every case, in the package's order."""
        base = self._load("case").Case
        setattr(base, COMPARE, lambda case, one, other: one == other)
        found: dict[str, type[Any]] = {}
        for name in self.names:
            if name == UNUSED:
                continue
            for value in vars(self._load(name)).values():
                for each in value if isinstance(value, list) else [value]:
                    if isinstance(each, type) and re.fullmatch(r"Case\d+(_\d+)+", each.__name__):
                        found[each.__name__.removeprefix("Case").replace("_", ".")] = each
        yield from sorted(found.items(), key=lambda item: [int(part) for part in item[0].split(".")])

    def _source(self, name: str) -> str:
        return (self._folder / f"{name}.py").read_bytes().decode("latin-1")

    def _load(self, name: str) -> ModuleType:
        if name not in self._modules:
            self._modules[name] = module = ModuleType(name)
            source = self._source(name)
            for pattern, new in CHANGES:
                source = pattern.sub(new, source)
            vars(module)["__builtins__"] = self._builtins
            exec(compile(source, f"{PACKAGE}/case/{name}.py", "exec"), vars(module))  # noqa: S102 - the package's code
        return self._modules[name]

    def _bring(
        self,
        name: str,
        module_globals: dict[str, Any] | None = None,
        module_locals: dict[str, Any] | None = None,
        names: tuple[str, ...] = (),
        level: int = 0,
    ) -> Any:
        if name in self._others:
            return self._others[name]
        if (self._folder / f"{name}.py").is_file():
            return self._load(name)
        return builtins.__import__(name, module_globals, module_locals, names, level)


def suite() -> Suite:
    """The installed package's.

    Raises:
        ModuleNotFoundError: it is not installed.
    """
    found = importlib.util.find_spec(PACKAGE)  # does not run it
    if found is None or not found.submodule_search_locations:
        raise ModuleNotFoundError(f"{PACKAGE} is not installed: pip install --no-deps -r requirements-autobahn.lock")
    return Suite(Path(found.submodule_search_locations[0]) / "case")
