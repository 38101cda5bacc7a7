"""`runfeed tail`: prints what happens, one line an event.

runfeed tail RUN               a run, from its beginning to its end; 0 if it completed, 1 if it failed or was cancelled
runfeed tail --username NAME   what happens in all of a user's runs, until Ctrl-C
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

from ..core.protocol import CLOSED, RunfeedError
from ..names import RUN_ID

if TYPE_CHECKING:
    from ..client import Runfeed
    from . import Subparsers

INTERRUPTED: Final = 130  # as a shell has it for Ctrl-C
REFUSED: Final = 2  # nothing could be watched
SHOWN: Final = ("id", "seq", "run_id", "username", "type", "timestamp", "recorded_at", "event_id")  # no other field
_PLAIN: Final = re.compile(r'[^\s"=\\]+')


def add(subparsers: Subparsers) -> None:
    """The command's arguments."""
    parser = subparsers.add_parser("tail", help="print what happens in a run, as it happens")
    parser.add_argument("run", nargs="?", metavar="RUN", help="a run's id; left out: all of a user's runs")
    parser.add_argument("--username", help="whose; of a RUN its owner, unless it is not there yet")
    parser.add_argument("--after", type=int, metavar="ID", help="begin behind this event's id")
    parser.add_argument("--json", action="store_true", help="print the frames, one a line")
    parser.add_argument("--url", help="the API's base URL; RUNFEED_URL, else http://127.0.0.1:8081")
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

    username = args.username or (None if args.run is None else await _owner(args))
    async with Runfeed(username, args.url, args.hub, get_token=_token()) as feed:
        watch = feed.feed(args.after) if args.run is None else feed.run(args.run, args.after or 0)
        async for event in watch:
            _print(_harmless(event) if args.json else line(event))
        return 0 if watch.status not in CLOSED or watch.status == "completed" else 1


async def _owner(args: argparse.Namespace) -> str | None:
    """The run's owner. Raises RunfeedError when there is no such run."""
    from .. import Runfeed

    if not RUN_ID.fullmatch(args.run):
        raise RunfeedError("invalid", f"RUN: {args.run!r} is none")
    anybody: Runfeed
    async with Runfeed("anybody", args.url, get_token=_token()) as anybody:
        return str((await anybody.info(args.run))["username"])


def _token() -> Any:
    """RUNFEED_API_KEY as what returns a token, if it is set."""
    key = os.environ.get("RUNFEED_API_KEY")
    return (lambda: key) if key else None


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
