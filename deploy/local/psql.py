"""./dev psql: PostgreSQL's own client on the database of the running stack, or of DATABASE_URL."""

import os
import shutil
from urllib.parse import unquote, urlsplit

from deploy.local.binaries import find_postgres
from deploy.local.environment import Environment
from deploy.local.errors import LocalError
from deploy.local.place import DataDirectory
from deploy.local.postgres import running_url


def database_url(environment: Environment) -> str:
    """The URL of DATABASE_URL or of the running stack's database; LocalError when nothing runs."""
    url = environment.database_url or running_url(DataDirectory(environment.data))
    if url is None:
        raise LocalError(f"no PostgreSQL runs on {environment.data}; start ./dev run first, or set DATABASE_URL")
    return url


def main(arguments: list[str]) -> int:
    """Becomes psql, with `arguments` passed on; LocalError when nothing runs or there is no psql."""
    url = database_url(Environment.from_env(os.environ))
    psql = find_postgres(os.environ).bin_dir / "psql"
    program = str(psql) if psql.exists() else shutil.which("psql")
    if program is None:
        raise LocalError("no psql found; install one, or set PG_BIN_DIR to a directory that has it")
    parts = urlsplit(url)
    environ = dict(os.environ)
    if parts.password is not None:  # not on the command line, which everybody can read
        environ["PGPASSWORD"] = unquote(parts.password)
        login, _, host = parts.netloc.rpartition("@")
        parts = parts._replace(netloc=f"{login.partition(':')[0]}@{host}")
    os.execve(program, [program, parts.geturl(), *arguments], environ)  # noqa: S606 - a shell is what we avoid
