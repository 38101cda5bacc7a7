"""`python -m fanout [serve|check-config]`: the hub as a process, and what it would read.

Exit codes: 0 drained, 1 could not start or a stage died, 2 a bad setting.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
from argparse import ArgumentParser

import structlog

from . import __version__, logs
from .errors import SettingsError
from .serve import serve
from .settings import Settings

if sys.platform != "win32":
    from uvloop import new_event_loop
else:
    from asyncio import new_event_loop


def main() -> int:
    """Run until a signal, or show the settings; the exit code."""
    parser = ArgumentParser(prog="python -m fanout", description=f"fanout {__version__}: set by the environment alone")
    what = "run the hub, which is the default, or show the settings in force, without what is secret, and who asks"
    parser.add_argument("command", nargs="?", choices=("serve", "check-config"), default="serve", help=what)
    command = parser.parse_args().command
    try:
        settings = Settings.from_env(os.environ)
    except SettingsError as exc:
        sys.stderr.write(f"fanout: {exc}\n")
        return 2
    if command == "check-config":
        sys.stdout.write("\n".join((*settings.in_force(os.environ), "")))
        return 0
    logs.set_up(settings.log_level, settings.log_format)
    log = structlog.stdlib.get_logger("fanout")
    for name in Settings.unknown(os.environ):
        log.warning("fanout.unknown_variable", variable=name)
    # A connection is some thirty objects that the collector watches, and none of them is in a circle when it goes
    # (Handshake.release): looking at all of them again every few hundred handshakes is a seventh of their cost.
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    try:
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            runner.run(serve(settings))
    except SettingsError as exc:
        sys.stderr.write(f"fanout: {exc}\n")
        return 1
    except BaseExceptionGroup:  # a stage died, and has said so in the log
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
