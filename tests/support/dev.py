"""`./dev` as somebody at a terminal has it."""

import subprocess
from collections.abc import Mapping

from deploy.local.place import CHECKOUT

READY = "Ctrl-C stops everything."  # what ./dev run says at last
SECONDS = 60  # for a command on a loaded machine; 2 s otherwise


def examples(output: str) -> dict[str, str]:
    """The commands that ./dev run shows, by the word before them."""
    shown = output.partition("Try it")[2].split("\n\n")[1]
    return dict(line.split(maxsplit=1) for line in shown.splitlines())


def shell(command: str, environ: Mapping[str, str]) -> str:
    """Run a command as a user would in the checkout; its stdout."""
    command_line = ["/bin/sh", "-c", command]
    done = subprocess.run(
        command_line, cwd=CHECKOUT, env=environ, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert done.returncode == 0, done
    return done.stdout


def dev(environ: Mapping[str, str], *words: str) -> tuple[int, str]:
    """Run `./dev ...` to its end; its exit code, and all that it said."""
    done = subprocess.run(
        [CHECKOUT / "dev", *words],
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    return done.returncode, done.stdout
