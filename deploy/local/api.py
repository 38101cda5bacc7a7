"""./dev api: the API's own commands (keys, watch-token, revoke, ..) on the database of the running stack."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping

from deploy.local.environment import Environment
from deploy.local.errors import LocalError
from deploy.local.place import CHECKOUT
from deploy.local.process import spawn, stop
from deploy.local.psql import database_url
from deploy.local.supervise import ending
from deploy.local.told import check_terminal

PROGRAM = {"RUNFEED_PROGRAM": "./dev api"}  # how the usage lines call it
CALL_SECONDS = 60.0  # a command takes 0.5 s
KILL_SECONDS = 5.0  # for a killed command to be gone


def main(arguments: list[str]) -> int:
    """Becomes `python -m orchestrator_api`, with `arguments` passed on.

    LocalError when nothing runs, or the running stack has other keys than this terminal.
    """
    environment = Environment.from_env(os.environ)
    url = database_url(environment)
    if arguments and not {"-h", "--help"} & set(arguments):
        check_terminal(environment, url)
    command = [sys.executable, "-m", "orchestrator_api", *(arguments or ["--help"])]
    os.execve(command[0], command, {**os.environ, **PROGRAM, "DATABASE_URL": url})  # noqa: S606 - a shell is what we avoid


def called(
    environ: Mapping[str, str],
    *words: str,
    seconds: float = CALL_SECONDS,
    wait: Callable[[float], object] | None = None,
) -> str:
    """What one of these commands says in a process of its own.

    wait: returns after so many seconds, or when a child has ended; it may raise. LocalError when the command fails or
    takes longer than `seconds`.
    """
    command = [sys.executable, "-m", "orchestrator_api", *words]
    with tempfile.TemporaryFile() as output:
        process = spawn(command, output=output, environ=environ, cwd=CHECKOUT)
        deadline = time.monotonic() + seconds
        try:
            while process.poll() is None and (left := deadline - time.monotonic()) > 0:
                if wait is not None:
                    wait(left)
                else:
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        process.wait(left)
        finally:
            code = stop(process, ((signal.SIGKILL, KILL_SECONDS),)) if process.poll() is None else process.returncode
        output.seek(0)
        said = output.read().decode(errors="replace")
    if code != 0:
        raise LocalError(f"{' '.join(words[:2])} {ending(code)}: {said.strip()}")
    return said
