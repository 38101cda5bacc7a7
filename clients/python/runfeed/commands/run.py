"""`runfeed run -- COMMAND ARGS`: runs a command and reports it as a run: its start, its lines, its end."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

from ..config import FLUSH_SECONDS
from ..content import clean
from ..reporter import RunReporter
from . import add_url
from .child import Child, forwarding
from .output import Log

if TYPE_CHECKING:
    from . import Subparsers

NOT_FOUND, NOT_EXECUTABLE, BY_SIGNAL = 127, 126, 128  # what a shell answers
COMMAND_CHARACTERS = 1024  # of each argument in the event
COMMAND_ARGUMENTS = 32  # in the event: with their escapes below a frame


def add(subparsers: Subparsers) -> None:
    """The command's arguments."""
    parser = subparsers.add_parser("run", help="run a command and report it", description=__doc__)
    parser.add_argument("--run", help="the run's id (RUN_ID, JOB_ID, or a new one)")
    parser.add_argument("--username", help="makes the run if there is none (RUNFEED_USERNAME)")
    parser.add_argument("--workflow", help="the name of what runs, of a run that is made")
    parser.add_argument(
        "--flush-timeout",
        type=float,
        default=FLUSH_SECONDS,
        metavar="SECONDS",
        help="how long the end may wait for the API (5)",
    )
    add_url(parser)
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="-- COMMAND ARGS")
    parser.set_defaults(call=call)


def call(said: argparse.Namespace) -> int:
    """The exit code of the command, 128 and the number for a signal. Raises ValueError for wrong arguments."""
    command = said.command[1:] if said.command[:1] == ["--"] else said.command
    if not command:
        raise ValueError("run needs a command: runfeed run -- COMMAND ARGS")
    reporter = RunReporter(
        said.run, url=said.url, username=said.username, workflow=said.workflow, flush_timeout=said.flush_timeout
    )
    if said.run is None and not (os.environ.get("RUN_ID") or os.environ.get("JOB_ID")):
        sys.stderr.write(f"runfeed: run {reporter.run_id}\n")
    environ = {**os.environ, "RUN_ID": reporter.run_id, "RUNFEED_URL": reporter.url}
    if said.username is not None:
        environ["RUNFEED_USERNAME"] = said.username
    try:
        return run(reporter, command, environ)
    finally:
        reporter.close()


def run(reporter: RunReporter, command: list[str], environ: dict[str, str]) -> int:
    """Runs the command and reports it; its exit code."""
    reporter.started(command=[clean(each, COMMAND_CHARACTERS) for each in command[:COMMAND_ARGUMENTS]])
    began = time.monotonic()
    log = Log(began)
    early: list[int] = []  # signals that came before there was a child
    children: list[Child] = []

    def pass_on(number: int) -> None:
        for child in children:
            child.signal(number)
        if not children:
            early.append(number)

    def report(events: list[dict[str, Any]]) -> None:
        for event in events:
            reporter.event("log", **event)

    with forwarding(pass_on):
        try:
            child = Child(
                command,
                environ,
                lambda stream, data: report(log.feed(stream, data, time.monotonic())),
                lambda: report(log.due(time.monotonic())),
            )
        except OSError as error:
            sys.stderr.write(f"runfeed: {command[0]}: {error.strerror}\n")
            code = NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE
            reporter.failed(f"{command[0]}: {error.strerror}", exit_code=code)
            return code
        children.append(child)
        for number in early:
            child.signal(number)
        code = child.wait()
    report(log.end(time.monotonic()))
    return report_end(reporter, code, round(time.monotonic() - began, 3))


def report_end(reporter: RunReporter, code: int, duration: float) -> int:
    """Reports how the command ended; the exit code for us. code: as subprocess has it. duration: seconds."""
    if code == 0:
        reporter.completed(exit_code=0, duration=duration)
    elif code > 0:
        reporter.failed(f"exit code {code}", exit_code=code, duration=duration)
    else:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
        reporter.failed(f"ended by {name}", signal=name, duration=duration)
    return code if code >= 0 else BY_SIGNAL - code
