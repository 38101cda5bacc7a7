"""What ./dev run says when it is ready: where everything is, and a command to copy for each thing to try."""

import os
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from deploy.local.environment import Environment
from deploy.local.place import CHECKOUT

BIN_DIR = Path(sys.executable).parent


@dataclass(frozen=True)
class Stores:
    """The two URLs, and in words what answers there. apart: our PostgreSQL's directory, where the data's has it not."""

    database_url: str
    redis_url: str
    database: str
    redis: str
    apart: Path | None = None


def banner(environment: Environment, stores: Stores) -> str:
    """All of it."""
    api, fanout = environment.url("API_PORT"), environment.url("FANOUT_PORT", scheme="ws")
    api_admin, fanout_admin = (
        ", ".join(environment.url(f"{ports}_ADMIN_PORT", process=process) for process in range(environment.processes))
        for ports in ("API", "FANOUT")
    )
    tried = "\n".join(f"  {what:<10} {command}" for what, command in _to_try(environment).items())
    return f"""
Runfeed is ready.

  database   {stores.database:<24} {without_password(stores.database_url)}
  redis      {stores.redis:<24} {without_password(stores.redis_url)}
  API        {api}   (metrics, readiness: {api_admin})
  fanout     {fanout}     (metrics, readiness: {fanout_admin})

{_heading(environment)}

{tried}

Ctrl-C stops everything.{_to_delete(environment, stores)}
{_warning(environment)}"""


def without_password(url: str) -> str:
    """For showing: an URL whose password is three dots."""
    parts = urlsplit(url)
    if parts.password is None:
        return url
    login, _, host = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{login.partition(':')[0]}:...@{host}"))


def _heading(environment: Environment) -> str:
    if environment.proven:
        return "Try it, in another terminal that has this one's keys:"
    page = "the page in a browser, each other line" if environment.shows_page else "each line"
    return f"Try it: {page} in another terminal:"


def _to_try(environment: Environment) -> dict[str, str]:
    """Commands by what they show."""
    api, dev = environment.url("API_PORT"), _dev(environment)
    asked = f" (it asks for {'that token' if environment.mints else 'a token'})" if environment.proven else ""
    page = {"page": f"{api}/{asked}"} if environment.shows_page else {}
    proofs, key = {}, ""
    fanout = environment.url("FANOUT_PORT", "/ws?username=alice", scheme="ws")
    watch = f"{shlex.quote(os.path.relpath(BIN_DIR / 'websockets'))} '{fanout}'"
    if environment.proven:
        proofs, key = _proofs(environment, dev), '-H "Authorization: Bearer $KEY" '
        watch = f'curl -sSN -H "Authorization: Bearer $TOKEN" {environment.url("FANOUT_PORT")}/sse'
    send = f"curl -sS {key}-H 'Content-Type: application/json'"
    return {
        **proofs,
        **page,
        "watch": watch,
        "create": f"""{send} -d '{{"username":"alice","run_id":"hello"}}' {api}/api/v1/runs""",
        "append": f"""{send} -d '{{"type":"node_completed","node_id":"first"}}' {api}/api/v1/runs/hello/events""",
        "poll": f"curl -sS {key}{api}/runs/hello/events",
        "metrics": f"curl -sS {environment.url('FANOUT_ADMIN_PORT', '/metrics')}",
        "psql": f"{dev} psql",
    }


def _dev(environment: Environment) -> str:
    """How ./dev is called from here, for the data or the database that we have."""
    names = {"DATABASE_URL": "'...'", "RUNFEED_DATA": shlex.quote(str(environment.data))}
    given = "".join(f"{name}={value} " for name, value in names.items() if environment.given.get(name))
    return given + shlex.quote(f"./{os.path.relpath(CHECKOUT / 'dev')}")


def _proofs(environment: Environment, dev: str) -> dict[str, str]:
    """Where tokens are wanted: the lines that make a token, which is shown as the page wants it, and a worker's key."""
    made, given = (
        f'TOKEN=$({dev} api watch-token --user alice); echo "$TOKEN"',
        "TOKEN='...'  # your issuer's, of alice",
    )
    key = f"KEY=$({dev} api keys create --may write --may read --user alice --expires-in 1d)"
    return {"token": made if environment.mints else given, "key": key}


def _to_delete(environment: Environment, stores: Stores) -> str:
    """Whose directories below /var/tmp are ours is not to be seen by their names."""
    if stores.apart is None:
        return ""
    return f" To begin again, delete {environment.data} and {stores.apart}, which has its PostgreSQL."


def _warning(environment: Environment) -> str:
    """The last line, where everybody is believed."""
    if not environment.open_to_all:
        return ""
    host = f"[{environment.bind}]" if ":" in environment.bind else environment.bind
    public = " and ".join(f"{host}:{environment.ports[name]}" for name in ("API_PORT", "FANOUT_PORT"))
    return f"\nAnybody who reaches {public} can read and write as anybody (ALLOW_INSECURE_USERNAME).\n"
