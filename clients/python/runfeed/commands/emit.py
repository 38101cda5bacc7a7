"""`runfeed emit RUN TYPE [KEY=VALUE ...]`: one event, stored when the command ends."""

from __future__ import annotations

import argparse
import json
import os
import secrets
import sys
import time
from typing import TYPE_CHECKING, Any

from .. import content
from ..api import Answer, Api, Unreachable
from ..config import Run, read_config
from ..courier import make_run, run_path
from ..verdict import Verdict, What, jittered, judge, window
from . import add_url

if TYPE_CHECKING:
    from . import Subparsers

TIMEOUT_SECONDS = 10.0  # an API that restarts is back by then


def add(subparsers: Subparsers) -> None:
    """The command's arguments."""
    parser = subparsers.add_parser("emit", help="store one event", description=__doc__)
    parser.add_argument("run", metavar="RUN")
    parser.add_argument("type", metavar="TYPE")
    parser.add_argument("fields", metavar="KEY=VALUE", nargs="*", help="the value is JSON if it parses, else text")
    parser.add_argument("--username", help="makes the run if there is none (RUNFEED_USERNAME)")
    parser.add_argument(
        "--timeout", type=float, default=TIMEOUT_SECONDS, metavar="SECONDS", help="for an API that is away (10)"
    )
    add_url(parser)
    parser.set_defaults(call=call)


def call(said: argparse.Namespace) -> int:
    """0 when the event is stored, else 1. Raises ValueError for wrong arguments."""
    config = read_config(said.run, os.environ, url=said.url, username=said.username)
    fields = read_fields(said.fields)
    try:
        line = content.line(said.type, fields, config.run.run_id, secrets.token_hex(16), round(time.time(), 6))
    except content.Refused as refused:
        raise ValueError(str(refused)) from None
    api = Api(config.run.url, config.key)
    try:
        return store(api, config.run, line, time.monotonic() + said.timeout)
    finally:
        api.close()


def read_fields(pairs: list[str]) -> dict[str, Any]:
    """The fields that KEY=VALUE pairs give. Raises ValueError."""
    fields: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not key or not equals:
            raise ValueError(f"{pair!r} is not KEY=VALUE")
        if key in fields:
            raise ValueError(f"{key} is given twice")
        fields[key] = read_value(text)
    return fields


def read_value(text: str) -> Any:
    """JSON if it is JSON, else the text itself."""
    try:
        return json.loads(text, parse_constant=lambda constant: constant)
    except (ValueError, RecursionError):
        return text


def store(api: Api, run: Run, line: bytes, deadline: float) -> int:
    """Sends the line until it is stored or refused, or until time.monotonic() is the deadline; the exit code."""
    made = False
    tries = 0
    while True:
        verdict, answer = send(api, run, line, made)
        if verdict.what is What.STORED and answer is not None:
            numbers = answer.said["events"][0]
            print(f"run {run.run_id} id {numbers['id']} seq {numbers['seq']}")
            return 0
        if verdict.what is What.STORED:
            made = True
            continue
        tries += 1
        pause = verdict.after or jittered(window(tries))
        if verdict.what is not What.AGAIN or time.monotonic() + pause > deadline:
            sys.stderr.write(f"runfeed: {verdict.why}\n")
            return 1
        time.sleep(pause)


def send(api: Api, run: Run, line: bytes, made: bool) -> tuple[Verdict, Answer | None]:
    """(what came of one try, the answer that has the event's numbers); STORED without an answer: the run was made."""
    try:
        answer = api.post(f"{run_path(run)}/events", b'{"events":[' + line + b"]}")
        verdict = judge(answer, 1, run.username is not None and not made)
        if verdict.what is What.CREATE:
            return make_run(api, run), None
        return verdict, answer
    except Unreachable as error:
        return Verdict(What.AGAIN, f"{run.url}: {error}"), None
