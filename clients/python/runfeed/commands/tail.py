"""`runfeed tail`: prints what happens, one line an event.

runfeed tail RUN               a run, from its beginning to its end; 0 if it completed, 1 if it failed or was cancelled
runfeed tail --username NAME   what happens in all of a user's runs, until Ctrl-C

Where the services ask who watches: RUNFEED_TOKEN, or RUNFEED_API_KEY when the key may mint tokens.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import sys
import time
from typing import TYPE_CHECKING, Any, Final

from ..api import Api, Unreachable
from ..config import read_url
from ..core.protocol import CLOSED, RunfeedError
from ..key import Key
from ..names import RUN_ID
from ..verdict import TRANSIENT
from . import add_url

if TYPE_CHECKING:
    from ..client import Runfeed
    from ..driver import GetToken
    from . import Subparsers

INTERRUPTED: Final = 130  # as a shell has it for Ctrl-C
REFUSED: Final = 2  # nothing could be watched
SHOWN: Final = ("id", "seq", "run_id", "username", "type", "timestamp", "recorded_at", "event_id")  # no other field
_PLAIN: Final = re.compile(r'[^\s"=\\]+')


def add(subparsers: Subparsers) -> None:
    """The command's arguments."""
    parser = subparsers.add_parser(
        "tail",
        help="print what happens in a run, as it happens",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", nargs="?", metavar="RUN", help="a run's id; left out: all of a user's runs")
    parser.add_argument("--username", help="whose; of a RUN its owner, unless it is not there yet")
    parser.add_argument("--after", type=int, metavar="ID", help="begin behind this event's id")
    parser.add_argument("--json", action="store_true", help="print the frames, one a line")
    add_url(parser)
    parser.add_argument("--hub", metavar="URL", help="the hub's, ws or wss; what the API says when left out")
    parser.set_defaults(call=main)


def main(args: argparse.Namespace) -> int:
    """Prints events until the run's end, or for ever; the exit code."""
    try:
        return asyncio.run(_tail(args))
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # `| head` has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (RunfeedError, ImportError) as error:
        sys.stderr.write(f"runfeed: {error}\n")
        return REFUSED


async def _tail(args: argparse.Namespace) -> int:
    from .. import Runfeed

    url, key = read_url(args.url, os.environ), _key()
    username = args.username or (None if args.run is None else await _owner(args.run, url, key))
    async with Runfeed(username, url, args.hub, get_token=_minting(url, key, username)) as feed:
        watch = feed.feed(args.after) if args.run is None else feed.run(args.run, args.after or 0)
        async for event in watch:
            _print(_harmless(event) if args.json else line(event))
        return 0 if watch.status not in CLOSED or watch.status == "completed" else 1


async def _owner(run: str, url: str, key: Key | None) -> str:
    """The run's owner. Raises RunfeedError when there is no such run."""
    from .. import Runfeed

    if not RUN_ID.fullmatch(run):
        raise RunfeedError("invalid", f"RUN: {run!r} is none")
    anybody: Runfeed
    async with Runfeed("anybody", url, get_token=None if key is None else lambda: str(key.get())) as anybody:
        return str((await anybody.info(run))["username"])


def _key() -> Key | None:
    """RUNFEED_API_KEY, where there is no token: it opens no stream, but a token may be minted with it."""
    key = Key(None, os.environ)
    return None if key.get() is None or os.environ.get("RUNFEED_TOKEN") else key


def _minting(url: str, key: Key | None, username: str | None) -> GetToken | None:
    """What brings tokens that the key mints, as often as one is asked for."""
    who = username or os.environ.get("RUNFEED_USERNAME", "")
    return None if key is None else lambda: asyncio.to_thread(mint, url, key, who)


def mint(url: str, key: Key, username: str) -> str:
    """A token to watch all of the user's runs with. Raises Unreachable, and RunfeedError when the key may not."""
    api = Api(url, key)
    try:
        answer = api.post("/watch-tokens", json.dumps({"username": username}).encode())
    finally:
        api.close()
    token = answer.said.get("token")
    if answer.status == 201 and isinstance(token, str):
        return token
    if answer.status == 404 or answer.code == "not_configured":
        return str(key.get())  # an API that asks nobody who they are
    if answer.status >= 500 or answer.status in TRANSIENT:
        raise Unreachable(answer.detail)
    raise RunfeedError(answer.code or "http", f"no token with RUNFEED_API_KEY: {answer.detail}", answer.status)


def line(event: dict[str, Any]) -> str:
    """An event for people: local time, run, type, and the other fields as key=value."""
    if event.get("control") is True and "username" not in event:
        return "-- the server's numbering began anew: what stands above is void"
    happened = event.get("timestamp")
    clock = _clock(happened) if isinstance(happened, (int, float)) else "-"
    number = [f"id={event['id']}"] if "id" in event else []
    others = [f"{_plain(name)}={_plain(value)}" for name, value in event.items() if name not in SHOWN]
    return " ".join([clock, _plain(event["run_id"]), _plain(event["type"]), *number, *others])


def _clock(seconds: float) -> str:
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds)) + f".{int(seconds % 1 * 1000):03d}"
    except (ValueError, OverflowError, OSError):  # another producer may mean anything by it
        return "-"


def _plain(value: object) -> str:
    """A value as one word; whatever a terminal might obey is escaped."""
    if isinstance(value, str) and value.isprintable() and _PLAIN.fullmatch(value):
        return value
    return _harmless(value)


def _harmless(value: object) -> str:
    """A value as JSON that no terminal takes for a command."""
    said = json.dumps(value, ensure_ascii=False)
    return said if said.isprintable() else json.dumps(value).replace("\x7f", "\\u007f")


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
