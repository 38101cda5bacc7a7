"""./dev run [--processes N]: servers, migration, services; ready, it says where everything is and how to try it.

--processes: so many processes of each service, which share its public port.
"""

import contextlib
import http.client
import os
import re
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from deploy.local.binaries import find_postgres, find_redis
from deploy.local.environment import MOST_PROCESSES, Environment
from deploy.local.errors import LocalError
from deploy.local.hub_key import hub_key
from deploy.local.place import CHECKOUT, DataDirectory
from deploy.local.postgres import Postgres
from deploy.local.supervise import StopRequested, Supervisor, ending, procfile
from deploy.local.valkey import Valkey

BIN_DIR = Path(sys.executable).parent
SERVICES = {"api": "API", "fanout": "FANOUT"}  # in this order, stopped in the other; what their ports begin with
RELEASE_SECONDS = 120.0  # a migration of a developer's data; the first takes 0.1 s
READY_SECONDS = 30.0  # both are ready within 1 s when nothing is wrong
LOOK_SECONDS = 0.1  # between two looks at /readyz
ANSWER_SECONDS = 2.0  # a /readyz that takes longer is not ready


@dataclass(frozen=True)
class Stores:
    """The two URLs, and in words what answers there."""

    database_url: str
    redis_url: str
    database: str
    redis: str


def main(arguments: list[str]) -> int:
    """Run until a signal (0) or until something dies (1, which thing in one line)."""
    environment = Environment.from_env(os.environ, processes_of(arguments))
    environment.check_bind()
    try:
        with contextlib.ExitStack() as stack:
            # Outermost for its signal handlers: until the last server is stopped, no signal may end us.
            supervisor = stack.enter_context(Supervisor(CHECKOUT))
            data = stack.enter_context(data_directory(environment))
            environment.check_ports()
            stores = stack.enter_context(open_stores(environment, data, supervisor))
            stack.callback(supervisor.stop)
            environ = environment.for_services(
                stores.database_url, stores.redis_url, terminal=sys.stdout.isatty(), bin_dir=BIN_DIR
            )
            release(environ, supervisor)
            hub = stack.enter_context(hub_key(environment, environ, supervisor))
            start_services(environment, environ, hub, supervisor)
            supervisor.say(banner(environment, stores))
            raise supervisor.wait()
    except StopRequested:
        return 0


def processes_of(arguments: list[str]) -> int:
    """How many processes of each service were asked for; LocalError when that is no sensible number."""
    if not arguments:
        return 1
    given = " ".join(arguments)
    option, _, value = given.replace("=", " ", 1).partition(" ")
    if option != "--processes":
        raise LocalError(f"run takes --processes N and nothing else, and was given {given}")
    if not re.fullmatch("[0-9]{1,2}", value) or not 1 <= int(value) <= MOST_PROCESSES:
        raise LocalError(f"--processes takes a whole number, 1 to {MOST_PROCESSES}, and was given {value or 'none'}")
    return int(value)


@contextlib.contextmanager
def data_directory(environment: Environment) -> Iterator[DataDirectory]:
    """The data directory, ours alone unless both stores were given: then nobody needs it."""
    data = DataDirectory(environment.data)
    if environment.database_url is None or environment.redis_url is None:
        data.create()
        data.lock()
    try:
        yield data
    finally:
        data.unlock()


@contextlib.contextmanager
def open_stores(environment: Environment, data: DataDirectory, supervisor: Supervisor) -> Iterator[Stores]:
    """The stores that were given, and servers of our own for those that were not."""
    database_url, redis_url = environment.database_url, environment.redis_url
    database, redis = "given by DATABASE_URL", "given by REDIS_URL"
    with contextlib.ExitStack() as stack:
        if database_url is None:
            postgres = stack.enter_context(Postgres(data, find_postgres(os.environ)))
            supervisor.watch("postgres", postgres.running)
            database_url, database = postgres.url(), f"PostgreSQL {postgres.version}"
        if redis_url is None:
            valkey = stack.enter_context(Valkey(data, find_redis(os.environ)))
            supervisor.watch("redis", valkey.running)
            redis_url, redis = valkey.url, f"{valkey.name} {valkey.version}"
        yield Stores(database_url, redis_url, database, redis)


def release(environ: Mapping[str, str], supervisor: Supervisor) -> None:
    """The Procfile's release; LocalError when it fails."""
    supervisor.start("release", procfile(CHECKOUT / "Procfile")["release"], environ)
    code = supervisor.finish("release", RELEASE_SECONDS)
    if code != 0:
        raise LocalError(f"release {ending(code)}; its reason is above")


def start_services(
    environment: Environment, environ: Mapping[str, str], hub: Mapping[str, str], supervisor: Supervisor
) -> None:
    """The Procfile's services; returns when all are ready, LocalError when one is not. hub: for the hub alone."""
    commands = procfile(CHECKOUT / "Procfile")
    for name, _, process in instances(environment):
        service = name.partition(".")[0]
        own = {**environment.for_process(environ, process), **(hub if service == "fanout" else {})}
        supervisor.start(name, commands[service], own)
    wait_until_ready(environment, supervisor)


def instances(environment: Environment) -> Iterator[tuple[str, str, int]]:
    """(name, name of its admin port, number from 0) of each process; the names as Procfile runners make them."""
    for service, ports in SERVICES.items():
        for process in range(environment.processes):
            name = service if environment.processes == 1 else f"{service}.{process + 1}"
            yield name, f"{ports}_ADMIN_PORT", process


def wait_until_ready(environment: Environment, supervisor: Supervisor) -> None:
    """Every /readyz answers 200; LocalError says which does not and what it says, or which process died."""
    waiting = {name: (port, process) for name, port, process in instances(environment)}
    deadline = time.monotonic() + READY_SECONDS
    while True:
        said = {name: readiness(environment, *port) for name, port in waiting.items()}
        waiting = {name: port for name, port in waiting.items() if said[name] is not None}
        if not waiting:
            return
        if (dead := supervisor.dead()) is not None:
            supervisor.pump(0)
            raise LocalError(f"{dead}; its reason is above")
        if time.monotonic() > deadline:
            answers = "; ".join(f"{name}: {said[name]}" for name in waiting)
            raise LocalError(f"not ready after {READY_SECONDS:.0f} s: {answers}")
        supervisor.pump(LOOK_SECONDS)


def readiness(environment: Environment, port: str, process: int = 0) -> str | None:
    """None when /readyz of this admin port answers 200, else what it answers."""
    address = environment.host(port), environment.port(port, process)
    connection = http.client.HTTPConnection(*address, timeout=ANSWER_SECONDS)
    try:
        connection.request("GET", "/readyz")
        response = connection.getresponse()
        body = response.read(1000).decode(errors="replace").strip()
        return None if response.status == 200 else f"{response.status} {body}"
    except (OSError, http.client.HTTPException) as error:
        return f"{environment.url(port, '/readyz', process=process)} does not answer ({error})"
    finally:
        connection.close()


def without_password(url: str) -> str:
    """For showing: an URL whose password is three dots."""
    parts = urlsplit(url)
    if parts.password is None:
        return url
    login, _, host = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{login.partition(':')[0]}:...@{host}"))


def proofs(environment: Environment, dev: str) -> str:
    """For the banner, where tokens are wanted: the lines that make a token and a worker's key. dev: calls ./dev."""
    make = f"{dev} api"
    token = f"$({make} watch-token --user alice)" if environment.mints else "'...'  # your issuer's, of alice"
    key = f"$({make} keys create --may write --may read --user alice --expires-in 1d)"
    return f"  token      TOKEN={token}\n  key        KEY={key}\n"


def banner(environment: Environment, stores: Stores) -> str:
    """Where everything is, and a command to copy for each thing to try."""
    api, fanout = environment.url("API_PORT"), environment.url("FANOUT_PORT", scheme="ws")
    headers = "-H 'Content-Type: application/json'"
    websockets = os.path.relpath(BIN_DIR / "websockets")
    names = {"DATABASE_URL": "'...'", "RUNFEED_DATA": str(environment.data)}
    dev = "".join(f"{name}={value} " for name, value in names.items() if environment.given.get(name))
    dev += f"./{os.path.relpath(CHECKOUT / 'dev')}"
    api_admin, fanout_admin = (
        ", ".join(environment.url(f"{ports}_ADMIN_PORT", process=process) for process in range(environment.processes))
        for ports in SERVICES.values()
    )
    shown = environment.given.get("PAGE") or ("off" if environment.proven else "on")
    page = "" if shown == "off" else f"  page       {api}/\n"
    terminal, token, watch, key = "another terminal", "", f"{websockets} '{fanout}/ws?username=alice'", ""
    if environment.proven:
        terminal, token = "another terminal that has this one's keys", proofs(environment, dev)
        watch = f'curl -sSN -H "Authorization: Bearer $TOKEN" {environment.url("FANOUT_PORT")}/sse'
        key = '-H "Authorization: Bearer $KEY" '
    return f"""
Runfeed is ready.

  database   {stores.database:<24} {without_password(stores.database_url)}
  redis      {stores.redis:<24} {without_password(stores.redis_url)}
  API        {api}   (metrics, readiness: {api_admin})
  fanout     {fanout}     (metrics, readiness: {fanout_admin})

Try it: the page in a browser, each other line in {terminal}:

{page}{token}  watch      {watch}
  create     curl -sS {key}{headers} -d '{{"username":"alice","run_id":"hello"}}' {api}/api/v1/runs
  append     curl -sS {key}{headers} -d '{{"type":"node_completed","node_id":"first"}}' {api}/api/v1/runs/hello/events
  poll       curl -sS {key}{api}/runs/hello/events
  metrics    curl -sS {environment.url("FANOUT_ADMIN_PORT", "/metrics")}
  psql       {dev} psql

Ctrl-C stops everything.
"""
