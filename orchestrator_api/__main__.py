"""python -m orchestrator_api [serve|migrate|check-config|new-epoch]"""

import argparse
import os
import re
import sys

import asyncpg
import uvloop

from orchestrator_api import __version__, crash, logs, migrate, store
from orchestrator_api.auth_config import DOCUMENTED, SECRETS
from orchestrator_api.errors import StartError
from orchestrator_api.serve import serve
from orchestrator_api.settings import Settings


async def _migrate(settings: Settings) -> None:
    applied = await migrate.migrate(settings.database_url)
    print("\n".join(f"applied {name}" for name in applied) or "the schema is current")  # noqa: T201 - a command's answer


async def _new_epoch(settings: Settings) -> None:
    connection = await store.connect(settings.database_url)
    try:
        await connection.execute(store.QUERIES["new_epoch"])
        print(await connection.fetchval(store.QUERIES["epoch"]))  # noqa: T201 - a command's answer
    finally:
        await connection.close()


async def _check_config(settings: Settings) -> None:
    for name, _, _ in (*Settings.documented(), *DOCUMENTED):
        text = " ".join(os.environ.get(name, "").split())  # on one line, as a PEM is not
        value = "***" if text and name in SECRETS else re.sub(r"//\S*@", "//***@", text)
        print(f"{name} = {value or '(default)'}")  # noqa: T201 - a command's answer


COMMANDS = {"serve": serve, "migrate": _migrate, "check-config": _check_config, "new-epoch": _new_epoch}


def main() -> int:
    """Runs one command. Returns the exit status: 0, 1 when it could not be done, 2 for a bad setting."""
    parser = argparse.ArgumentParser(prog="python -m orchestrator_api", description=f"orchestrator_api {__version__}")
    parser.add_argument("command", nargs="?", default="serve", choices=COMMANDS)
    command = parser.parse_args().command
    try:
        settings = Settings.from_env(os.environ)
        crash.arm(os.environ)
    except StartError as error:
        print(f"orchestrator_api: {error}", file=sys.stderr)  # noqa: T201 - before there is a log
        return 2
    logs.set_up(settings.log_level, settings.log_format)
    try:
        uvloop.run(COMMANDS[command](settings))
    except StartError as error:
        print(f"orchestrator_api: {error}", file=sys.stderr)  # noqa: T201 - one line, for whoever started it
        return 1
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        print(f"orchestrator_api {command}: {type(error).__name__}: {error}", file=sys.stderr)  # noqa: T201 - the same
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
