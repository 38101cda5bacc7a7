"""python -m orchestrator_api [serve|migrate|check-config|new-epoch|keys|revoke|watch-token]"""

import argparse
import os
import sys
from collections.abc import Awaitable, Callable

import asyncpg
import uvloop

from orchestrator_api import __version__, commands, crash, logs, migrate, store
from orchestrator_api.errors import StartError
from orchestrator_api.serve import serve
from orchestrator_api.settings import Settings

Run = Callable[[Settings, argparse.Namespace], Awaitable[None]]


async def _serve(settings: Settings, _: argparse.Namespace) -> None:
    await serve(settings)


async def _migrate(settings: Settings, _: argparse.Namespace) -> None:
    applied = await migrate.migrate(settings.database_url)
    print("\n".join(f"applied {name}" for name in applied) or "the schema is current")  # noqa: T201 - a command's answer


async def _new_epoch(settings: Settings, _: argparse.Namespace) -> None:
    connection = await store.connect(settings.database_url)
    try:
        await connection.execute(store.QUERIES["new_epoch"])
        print(await connection.fetchval(store.QUERIES["epoch"]))  # noqa: T201 - a command's answer
    finally:
        await connection.close()


async def _check_config(settings: Settings, _: argparse.Namespace) -> None:
    print("\n".join(settings.in_force(os.environ)))  # noqa: T201 - a command's answer


def _plain(run: Run) -> Callable[[argparse.ArgumentParser], None]:
    return lambda parser: parser.set_defaults(do=run)


# What each is for, and what adds its arguments to its parser.
COMMANDS = {
    "serve": ("run the service", _plain(_serve)),
    "migrate": ("bring the database's schema to this release", _plain(_migrate)),
    "check-config": ("show the settings in force, without what is secret, and who asks", _plain(_check_config)),
    "new-epoch": ("after a database was set back: make clients drop their cursors", _plain(_new_epoch)),
    "keys": ("API keys of workers, hubs and backends", commands.api_keys),
    "revoke": ("refuse tokens from now on, and close their sockets", commands.revoke),
    "watch-token": ("print a token with which a user's runs can be watched", commands.watch_token),
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=commands.program(), description=f"orchestrator_api {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="command", help="serve by default")
    parser.set_defaults(do=_serve, command="serve")
    for name, (what, add) in COMMANDS.items():
        add(subparsers.add_parser(name, help=what, description=what))
    return parser


def main() -> int:
    """Runs one command. Returns the exit status: 0, 1 when it could not be done, 2 for a bad setting or argument."""
    said = _parser().parse_args()
    try:
        settings = Settings.from_env(os.environ)
        crash.arm(os.environ)
    except StartError as error:
        print(f"orchestrator_api: {error}", file=sys.stderr)  # noqa: T201 - before there is a log
        return 2
    if said.do is _serve:  # a log is on stdout, and what other commands say there is their answer
        logs.set_up(settings.log_level, settings.log_format)
    try:
        uvloop.run(said.do(settings, said))
    except StartError as error:
        print(f"orchestrator_api: {error}", file=sys.stderr)  # noqa: T201 - one line, for whoever started it
        return 1
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        print(f"orchestrator_api {said.command}: {type(error).__name__}: {error}", file=sys.stderr)  # noqa: T201 - the same
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
