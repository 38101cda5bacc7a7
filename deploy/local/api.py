"""./dev api: the API's own commands (keys, watch-token, revoke, ..) on the database of the running stack."""

import os
import sys

from deploy.local.environment import Environment
from deploy.local.psql import database_url


def main(arguments: list[str]) -> int:
    """Becomes `python -m orchestrator_api`, with `arguments` passed on; LocalError when nothing runs."""
    environ = {**os.environ, "DATABASE_URL": database_url(Environment.from_env(os.environ))}
    command = [sys.executable, "-m", "orchestrator_api", *(arguments or ["--help"])]
    os.execve(command[0], command, environ)  # noqa: S606 - a shell is what we avoid
