"""A real Chromium, driven by drive.mjs, and the pages in it."""

import json
import signal
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tests.support.servers import family, signal_all

HERE = Path(__file__).parent
CLOSE_SECONDS = 10.0  # a browser closes within a second


@dataclass(frozen=True)
class Socket:
    """A WebSocket that the page opened, and the frames that it received."""

    url: str
    open: bool
    frames: list[str]


@dataclass(frozen=True)
class Cost:
    """What a page cost between two looks: its main thread's work, its longest task, the most rows that it held."""

    seconds: float
    longest_ms: float
    rows: int


@dataclass(frozen=True)
class State:
    """What a page shows and what its browser did until now."""

    seqs: list[int]
    types: list[str]
    terminal: bool
    transport: str  # how the page says that events come; "" when it does not say
    requests: int  # of any kind, the page's own files too
    polls: list[int | None]  # status; None: no answer yet, or none that the page may see
    causes: list[str]  # of those among the polls that say why they ask: the others read a history
    sockets: list[Socket]
    errors: list[str]
    cost: Cost | None = None  # since the look before the last

    @classmethod
    def of(cls, said: dict[str, Any]) -> Self:
        """From what drive.mjs says; AssertionError if the page's own code broke."""
        assert not said["crashes"], said["crashes"]
        return cls(
            seqs=said["seqs"],
            types=said["types"],
            terminal=said["terminal"],
            transport=said["transport"],
            requests=said["requests"],
            polls=[poll["status"] for poll in said["polls"]],
            causes=[poll["cause"] for poll in said["polls"] if poll["cause"] is not None],
            sockets=[Socket(**socket) for socket in said["sockets"]],
            errors=said["errors"],
            cost=Cost(**said["cost"]) if said["cost"] else None,
        )


class Tab:
    """A page in a browser context of its own. Each method answers with the state after it."""

    def __init__(self, browser: "Browser", name: str) -> None:
        self._browser = browser
        self._name = name

    def shown(self, count: int) -> State:
        """Wait until at least so many events stand on the page."""
        return self._do("shown", count=count)

    def ended(self) -> State:
        """Wait until the hook says that the run has ended."""
        return self._do("ended")

    def polled(self, count: int) -> State:
        """Wait until so many polls were answered."""
        return self._do("polled", count=count)

    def complained(self, text: str) -> State:
        """Wait for an error on the console that holds `text`."""
        return self._do("complained", text=text)

    def let_pass(self, seconds: float, why: str) -> State:
        """Let time pass in the browser: only where the time itself is what is tested, and `why` says what for."""
        return self._do("pass", milliseconds=round(1000 * seconds), why=why)

    def by(self, transport: str) -> State:
        """Wait until the page says that events come this way."""
        return self._do("transport", name=transport)

    def block(self, *, sockets: bool = False) -> State:
        """From now on no WebSocket and no event stream opens. sockets: no WebSocket, but event streams do."""
        return self._do("block", sockets=sockets)

    def drop(self, seq: int, *, silent: bool = False) -> State:
        """In sockets that open from now on, the run's event of this number is lost on its way to the page.

        silent: with all that comes after it.
        """
        return self._do("drop", seq=seq, silent=silent)

    def online(self, on: bool) -> State:
        """The network goes, or comes back."""
        return self._do("online", on=on)

    def visible(self, on: bool) -> State:
        """The tab is hidden, or shown again."""
        return self._do("visible", on=on)

    def click(self, selector: str) -> State:
        """Click what this finds."""
        return self._do("click", selector=selector)

    def fill(self, selector: str, text: str) -> State:
        """Type this into what this finds."""
        return self._do("fill", selector=selector, text=text)

    def press(self, key: str) -> State:
        """Press a key, wherever the focus is."""
        return self._do("press", key=key)

    def hides(self, text: str) -> State:
        """AssertionError when the address, localStorage, a cookie or the document has this."""
        return self._do("hides", text=text)

    def find(self, selector: str) -> State:
        """Wait until the page has this."""
        return self._do("find", selector=selector)

    def cost(self) -> Cost:
        """What the page cost since this was asked before."""
        cost = self._do("measure").cost
        assert cost is not None
        return cost

    def become(self, path: Path) -> State:
        """Show this file in the place of the page that was loaded, whose address and origin it has then."""
        return self._do("become", path=str(path))

    def goto(self, url: str) -> State:
        """Load this page."""
        return self._do("goto", url=url)

    def reload(self) -> State:
        """Load the page anew: its state begins at nothing, the browser's cache stays."""
        return self._do("reload")

    def _do(self, command: str, **options: object) -> State:
        return State.of(self._browser.call(command, self._name, **options))


class Browser:
    """A Chromium with an empty profile, gone at the end of its `with` as is all that it started."""

    def __init__(self, chromium: str, node: str, directory: Path, environ: dict[str, str]) -> None:
        self._log = directory / "drive.log"
        self._opened = 0
        self._tabs: list[str] = []
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [node, HERE / "drive.mjs", chromium],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                # Whatever Chromium keeps besides its profile must not land in a developer's home.
                env={**environ, "HOME": str(directory)},
                cwd=HERE,
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._process.communicate(timeout=CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            signal_all(family(self._process.pid), signal.SIGKILL)
            self._process.communicate()

    def open(self, url: str) -> Tab:
        """A new tab with this page, loaded."""
        self._opened += 1
        name = str(self._opened)
        self.call("open", name, url=url)
        self._tabs.append(name)
        return Tab(self, name)

    def close_tabs(self, directory: Path) -> None:
        """Close every tab, so that none speaks to the next test's services; what they showed stays in `directory`."""
        while self._tabs:
            name = self._tabs.pop()
            self.call("close", name, screenshot=str(directory / f"tab-{name}.png"))

    def call(self, command: str, tab: str, **options: object) -> Any:
        """Send drive.mjs a command; what it says. AssertionError with its reason when it could not."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):  # it ended; its log, below, says why
            self._process.stdin.write(json.dumps({"command": command, "tab": tab, **options}).encode() + b"\n")
            self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, f"the browser's driver ended:\n{self._log.read_text(errors='replace')}"
        said = json.loads(line)
        assert "problem" not in said, f"{command} {options}: {said['problem']}"
        return said["state"]
