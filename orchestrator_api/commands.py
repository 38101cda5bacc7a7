"""The operator's commands: API keys, revocations, watch tokens.

A secret is all that a command prints on stdout when it makes one, so that `KEY=$(...)` holds it and nothing else.
"""

import argparse
import json
import os
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import asyncpg

from orchestrator_api import events, grants, keys, store, tokens
from orchestrator_api.errors import StartError
from orchestrator_api.settings import Settings

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
LONGEST_NAME = 64  # characters of a key's name for people
HEAD = ("id", "may", "users", "runs", "made", "ends", "state", "name")
PROGRAM_VARIABLE = "RUNFEED_PROGRAM"  # how whoever calls us for somebody else calls us: ./dev api


def program() -> str:
    """Returns how these commands are called, for usage lines and advice."""
    return os.environ.get(PROGRAM_VARIABLE) or "python -m orchestrator_api"


def revoke(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `revoke`, and `do`: a coroutine function of (settings, arguments)."""
    whose = parser.add_mutually_exclusive_group(required=True)
    whose.add_argument("--user", type=_of(events.USERNAME), metavar="U", help="all that U was issued until now")
    whose.add_argument("--token-id", type=_of(tokens.TOKEN_ID), metavar="J", help="the tokens with this `jti`")
    parser.set_defaults(do=_revoke)


def watch_token(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `watch-token`, as above."""
    parser.add_argument("--user", type=_of(events.USERNAME), metavar="U", required=True, help="whose runs")
    parser.add_argument(
        "--run", type=_of(events.RUN_ID), metavar="R", action="append", help="only this run; may be repeated"
    )
    parser.add_argument(
        "--ttl", type=_ttl, metavar="SECONDS", default=grants.WATCH_S[1], help="how long it lasts: 900, at most 86400"
    )
    parser.set_defaults(do=_watch_token)


def api_keys(parser: argparse.ArgumentParser) -> None:
    """Adds the commands of `keys`, as above."""
    commands = parser.add_subparsers(required=True, metavar="command")
    create = commands.add_parser("create", help="make a key and print it: it is not shown again")
    create.add_argument(
        "--may", type=_rights, action="extend", required=True, metavar="RIGHT",
        help=f"what it is for: {', '.join(keys.RIGHTS)}; may be repeated",
    )  # fmt: skip
    for what, pattern in (("user", events.USERNAME), ("run", events.RUN_ID)):
        create.add_argument(
            f"--{what}", type=_scope(pattern), action="append", metavar="NAME",
            help=f"only this {what}, or with `*` at the end all whose names begin so; may be repeated",
        )  # fmt: skip
    create.add_argument("--all", action="store_true", help="for all users and all runs")
    create.add_argument("--name", type=_name, default="", help="for people, in the list")
    create.add_argument("--expires-in", type=_duration, metavar="90d", help="s, m, h or d; never by default")
    create.set_defaults(do=_create)
    listing = commands.add_parser("list", help="list the keys that are good, without their secrets")
    listing.add_argument("--all", action="store_true", help="those that have ended, too")
    listing.add_argument("--json", action="store_true", help="for programs: an object a line; times are unix seconds")
    listing.set_defaults(do=_list)
    rotate = commands.add_parser("rotate", help="make a key that may the same, print it, and let the old one end")
    rotate.add_argument("id", help="of the old key")
    rotate.add_argument(
        "--overlap", type=_duration, default=UNITS["d"], metavar="24h", help="how long the old one still works"
    )
    rotate.set_defaults(do=_rotate)
    revoke = commands.add_parser("revoke", help="end a key: it works no longer, a second later at most")
    revoke.add_argument("id", help="of the key")
    revoke.set_defaults(do=_remove)


async def _create(settings: Settings, said: argparse.Namespace) -> None:
    scoped = said.user is not None or said.run is not None
    if said.all and scoped:
        raise StartError("keys create: --all is for all users and runs: without --user and --run")
    if not (said.all or scoped) and not {"write", "read", "mint"}.isdisjoint(said.may):
        raise StartError("keys create: name whose it is for: --user, --run, or --all")
    if scoped and "hub" in said.may:
        raise StartError("keys create: a hub reads everything: --may hub goes without --user and --run")
    key_id, key, digest = keys.new()
    now = time.time()
    ends = None if said.expires_in is None else now + said.expires_in
    may = sorted(set(said.may))
    async with _connection(settings) as connection:
        row = (key_id, digest, may, said.user, said.run, said.name, now, ends)
        await connection.execute(store.QUERIES["add_api_key"], *row)
    _say(key)


async def _list(settings: Settings, said: argparse.Namespace) -> None:
    async with _connection(settings) as connection:
        rows = await connection.fetch(store.QUERIES["all_api_keys"])
    now = time.time()
    listed = [(row, "good" if row["expires_at"] is None or now < row["expires_at"] else "ended") for row in rows]
    shown = [(row, state) for row, state in listed if said.all or state == "good"]
    if said.json:
        for row, state in shown:
            _say(json.dumps({**row, "state": state}))
        return
    lines = [HEAD]
    for row, state in shown:
        users, runs = (",".join(names) if names is not None else "any" for names in (row["users"], row["runs"]))
        made, ends = _date(row["created_at"]), _date(row["expires_at"])
        lines.append((row["key_id"], ",".join(row["may"]), users, runs, made, ends, state, row["name"]))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        _say("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


async def _rotate(settings: Settings, said: argparse.Namespace) -> None:
    key_id, key, digest = keys.new()
    now = time.time()
    async with _connection(settings) as connection:
        row = (said.id, key_id, digest, now, now + said.overlap)
        made = await connection.fetchrow(store.QUERIES["rotate_api_key"], *row)
    if made is None:
        raise StartError(
            f"keys rotate: there is no API key {said.id}, or it has ended: see `{program()} keys list --all`"
        )
    _say(key)


async def _remove(settings: Settings, said: argparse.Namespace) -> None:
    async with _connection(settings) as connection:
        removed = await connection.fetchval(store.QUERIES["remove_api_key"], said.id)
    if removed is None:
        why = "revoked before, or never made"  # a revoked key is deleted: nobody can say which
        raise StartError(f"keys revoke: there is no API key {said.id} ({why}): see `{program()} keys list --all`")
    _say(f"revoked {removed}")


async def _revoke(settings: Settings, said: argparse.Namespace) -> None:
    until = None if said.user is not None else time.time() + grants.REVOKED_S
    async with _connection(settings) as connection:
        number = await connection.fetchval(store.QUERIES["revoke"], said.user, said.token_id, until)
    _say(f"revoked, number {number}")


async def _watch_token(settings: Settings, said: argparse.Namespace) -> None:
    key = settings.auth.watch_key
    if key is None:
        raise StartError("watch-token: no key is configured: see WATCH_TOKEN_KEY and AUTH_HMAC_KEY")
    if said.run is not None and len(set(said.run)) > tokens.MOST_RUNS:
        raise StartError(f"watch-token: a token names at most {tokens.MOST_RUNS} runs")
    if said.run is not None:
        async with _connection(settings) as connection:
            rows = await connection.fetch(store.QUERIES["owned_runs"], said.user, said.run)
        missing = set(said.run) - {row["run_id"] for row in rows}
        if missing:
            raise StartError(f"watch-token: {said.user} has no run {', '.join(sorted(missing))}")
    audience, now = settings.auth.audience, time.time()
    runs = said.run and set(said.run)
    _say(tokens.mint(key, username=said.user, runs=runs, audience=audience, now=now, ttl=said.ttl))


@asynccontextmanager
async def _connection(settings: Settings) -> AsyncIterator[asyncpg.Connection]:
    connection = await store.connect(settings.database_url)
    try:
        yield connection
    finally:
        await connection.close()


def _say(text: str) -> None:
    print(text)  # noqa: T201 - a command's answer


def _date(seconds: float | None) -> str:
    return "never" if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _of(pattern: re.Pattern[str]) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if not pattern.fullmatch(text):
            raise argparse.ArgumentTypeError(events.RULES.get(pattern, "must be 1 to 256 visible ASCII characters"))
        return text

    return parse


def _scope(pattern: re.Pattern[str]) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if not pattern.fullmatch(text.removesuffix("*")):
            raise argparse.ArgumentTypeError(f"{events.RULES[pattern]}; a `*` at its end stands for any rest")
        return text

    return parse


def _rights(text: str) -> list[str]:
    rights = text.split(",")
    for right in rights:
        if right not in keys.RIGHTS:
            raise argparse.ArgumentTypeError(f"must be of {', '.join(keys.RIGHTS)}, not {right!r}")
    return rights


def _name(text: str) -> str:
    if not text.isprintable() or len(text) > LONGEST_NAME:
        raise argparse.ArgumentTypeError(f"must be printable text of {LONGEST_NAME} characters at most")
    return text


def _duration(text: str) -> int:
    match = re.fullmatch(r"(\d{1,6})([smhd])", text, re.ASCII)
    if match is None:
        raise argparse.ArgumentTypeError("must be a number and a unit, s, m, h or d: 90d, 24h")
    return int(match[1]) * UNITS[match[2]]


def _ttl(text: str) -> int:
    least, _, most = grants.WATCH_S
    if not re.fullmatch(r"\d{1,6}", text, re.ASCII) or not least <= int(text) <= most:
        raise argparse.ArgumentTypeError(f"must be seconds, from {least} to {most}")
    return int(text)
