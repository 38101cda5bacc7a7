"""./dev run [--processes N]: servers, migration, services; ready, it says where everything is and how to try it.

--processes: so many processes of each service, which share its public port.
"""

import contextlib
import os
import re
import sys
import time
from collections.abc import Iterator, Mapping

from deploy.local.ask import NO_ANSWER, ask
from deploy.local.banner import BIN_DIR, Stores, banner
from deploy.local.binaries import find_postgres, find_redis
from deploy.local.environment import MOST_PROCESSES, Environment
from deploy.local.errors import LocalError
from deploy.local.hub_key import hub_key
from deploy.local.place import CHECKOUT, DataDirectory
from deploy.local.postgres import Postgres
from deploy.local.supervise import StopRequested, Supervisor, ending, procfile
from deploy.local.told import told
from deploy.local.valkey import Valkey

SERVICES = {"api": "API_ADMIN_PORT", "fanout": "FANOUT_ADMIN_PORT"}  # their names, and those of their admin ports
RELEASE_SECONDS = 120.0  # a migration of a developer's data; the first takes 0.1 s
READY_SECONDS = 30.0  # both are ready within 1 s when nothing is wrong
LOOK_SECONDS = 0.02  # between two looks at /readyz; the hub waits for the API's


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
            stack.enter_context(told(environment, data, stores.database_url))
            start_services(environment, environ, supervisor, stack)
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
    database, redis, apart = "given by DATABASE_URL", "given by REDIS_URL", None
    with contextlib.ExitStack() as stack:
        if database_url is None:
            postgres = stack.enter_context(Postgres(data, find_postgres(os.environ)))
            supervisor.watch("postgres", postgres.running)
            database_url, database = postgres.url(), f"PostgreSQL {postgres.version}"
            apart = None if data.path in data.postgres_directory.parents else data.postgres_directory
        if redis_url is None:
            valkey = stack.enter_context(Valkey(data, find_redis(os.environ)))
            supervisor.watch("redis", valkey.running)
            redis_url, redis = valkey.url, f"{valkey.name} {valkey.version}"
        yield Stores(database_url, redis_url, database, redis, apart)


def release(environ: Mapping[str, str], supervisor: Supervisor) -> None:
    """The Procfile's release; LocalError when it fails."""
    supervisor.start("release", procfile(CHECKOUT / "Procfile")["release"], environ)
    code = supervisor.finish("release", RELEASE_SECONDS)
    if code != 0:
        raise LocalError(f"release {ending(code)}; its reason is above")


def start_services(
    environment: Environment, environ: Mapping[str, str], supervisor: Supervisor, stack: contextlib.ExitStack
) -> None:
    """The Procfile's services; returns when all are ready, LocalError when one is not. stack: ends when they do.

    A hub asks the API as soon as it starts, so it comes when the API is ready. Its key is made meanwhile.
    """
    supervisor.expect(name for service in SERVICES for name, _, _ in instances(environment, service))
    start(environment, "api", environ, supervisor)
    hub = stack.enter_context(hub_key(environment, environ, supervisor))
    deadline = time.monotonic() + READY_SECONDS
    wait_until_ready(environment, "api", supervisor, deadline)
    start(environment, "fanout", {**environ, **hub}, supervisor)
    wait_until_ready(environment, "fanout", supervisor, deadline)


def start(environment: Environment, service: str, environ: Mapping[str, str], supervisor: Supervisor) -> None:
    """Start all processes of a service."""
    command = procfile(CHECKOUT / "Procfile")[service]
    for name, _, process in instances(environment, service):
        supervisor.start(name, command, environment.for_process(environ, process))


def instances(environment: Environment, service: str) -> Iterator[tuple[str, str, int]]:
    """(name, name of its admin port, number from 0) of each process; the names as Procfile runners make them."""
    for process in range(environment.processes):
        name = service if environment.processes == 1 else f"{service}.{process + 1}"
        yield name, SERVICES[service], process


def wait_until_ready(environment: Environment, service: str, supervisor: Supervisor, deadline: float) -> None:
    """Every /readyz of a service answers 200; LocalError says which does not and what it says, or which process died.

    deadline: of the monotonic clock.
    """
    waiting = {name: (port, process) for name, port, process in instances(environment, service)}
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
    try:
        status, body = ask(environment, port, "/readyz", process)
    except NO_ANSWER as error:
        return f"{environment.url(port, '/readyz', process=process)} does not answer ({error})"
    return None if status == 200 else f"{status} {body}"
