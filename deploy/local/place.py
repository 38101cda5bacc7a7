"""Where the servers keep their files, and as whom they run.

PostgreSQL refuses to run as root. Root therefore hands it to an account that exists already, and as that account must
be able to reach the programs and the data, both move below /var/tmp when a parent directory is closed to it (a checkout
in root's home). No account is made, and no directory's mode outside our own is changed.
"""

import fcntl
import hashlib
import os
import pwd
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from deploy.local.errors import LocalError

CHECKOUT = Path(__file__).resolve().parents[2]
OPEN_PARENT = Path("/var/tmp")  # noqa: S108 - open_directory() refuses a directory there that is not ours
ACCOUNTS = ("postgres", "nobody")  # the first that exists


@dataclass(frozen=True)
class Account:
    """An existing account that a server runs as instead of root."""

    name: str
    uid: int
    gid: int


def server_account() -> Account | None:
    """Who runs PostgreSQL: None for ourselves; LocalError if we are root and no account is there to use."""
    if os.geteuid() != 0:
        return None
    for name in ACCOUNTS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name, entry.pw_uid, entry.pw_gid)
    raise LocalError(
        f"PostgreSQL does not run as root, and no account {' or '.join(ACCOUNTS)} exists; set DATABASE_URL"
    )


def reachable(path: Path) -> bool:
    """Whether every parent directory of `path` that exists lets any account pass."""
    return all(parent.stat().st_mode & stat.S_IXOTH for parent in path.resolve().parents if parent.exists())


def open_directory() -> Path:
    """Our directory below /var/tmp, one a checkout and user: others may pass through it, only we may write."""
    digest = hashlib.sha256(str(CHECKOUT).encode()).hexdigest()[:12]
    path = OPEN_PARENT / f"runfeed-{os.getuid()}-{digest}"
    path.mkdir(mode=0o711, exist_ok=True)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise LocalError(f"{path} is not a directory of ours; remove it")
    path.chmod(0o711)
    return path


class DataDirectory:
    """`.data/` or what RUNFEED_DATA names: lock, logs, passwords and the servers' own directories.

    All of it is ours alone (0700), except that root leaves the way to PostgreSQL's own directory open (0711).
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.postgres_log = path / "postgres.log"
        self.redis_log = path / "redis.log"
        self.redis_directory = path / "redis"
        self._lock: int | None = None

    def create(self) -> None:
        """Make the directory, or set its mode right."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path.chmod(0o711 if os.geteuid() == 0 else 0o700)

    @property
    def postgres_directory(self) -> Path:
        """Where PostgreSQL's directories are: here, or below /var/tmp if its account could not come here."""
        if os.geteuid() != 0 or reachable(self.path / "pg"):
            return self.path / "pg"
        return open_directory() / f"pg-{hashlib.sha256(str(self.path.resolve()).encode()).hexdigest()[:12]}"

    @property
    def postgres_password(self) -> Path:
        """The file with the password; beside the data that know it, so that nobody deletes one without the other."""
        return self.postgres_directory / "password"

    @property
    def taken(self) -> bool:
        """We have it to ourselves: after lock(), until unlock()."""
        return self._lock is not None

    def lock(self) -> None:
        """Take the directory until unlock() or our end; LocalError names the process that has it."""
        handle = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(handle, 20, 0).decode(errors="replace").strip() or "unknown"
            os.close(handle)
            raise LocalError(
                f"{self.path} is in use by another ./dev (process {holder}); "
                "stop that one, or set RUNFEED_DATA to another directory"
            ) from None
        os.ftruncate(handle, 0)
        os.pwrite(handle, str(os.getpid()).encode(), 0)
        self._lock = handle

    def unlock(self) -> None:
        """Give the directory back; does nothing when it is not taken."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def remove(self) -> None:
        """Delete all of it, PostgreSQL's directory below /var/tmp included."""
        shutil.rmtree(self.postgres_directory, ignore_errors=True)
        shutil.rmtree(self.path, ignore_errors=True)


def open_log(path: Path) -> BinaryIO:
    """A log file to append to that only its owner can read: a server's log may quote what it was given."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600), "ab")


def write_secret(path: Path, text: str, account: Account | None = None) -> None:
    """A new file that only its owner can read; it replaces an old one of that name."""
    path.unlink(missing_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "w") as file:
        if account is not None:
            os.fchown(handle, account.uid, account.gid)
        file.write(text)


def open_tree(bin_dir: Path) -> Path:
    """The programs in `bin_dir` where any account can run them: a bin directory, copied below /var/tmp if need be.

    A wheel's programs find their libraries at ../../../<package>.libs, so the copy keeps that shape. Copies of other
    versions are deleted: each rebuilt .venv would leave one.
    """
    if reachable(bin_dir / "postgres"):
        return bin_dir
    prefix = bin_dir.resolve().parent
    found = (bin_dir / "postgres").stat()
    digest = hashlib.sha256(f"{prefix} {found.st_size} {found.st_mtime_ns}".encode()).hexdigest()[:12]
    tree = open_directory() / f"tree-{digest}"
    copy = tree / prefix.parent.name / prefix.name / bin_dir.name
    if tree.exists():
        return copy
    for old in open_directory().glob("tree-*"):
        shutil.rmtree(old)
    building = tree.with_name(f"tree-new-{os.getpid()}")
    shutil.copytree(
        prefix,
        building / prefix.parent.name / prefix.name,
        symlinks=True,
        ignore=shutil.ignore_patterns("include", "*.a", "__pycache__"),
    )
    libraries = prefix.parent.with_name(f"{prefix.parent.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, building / libraries.name)
    _open_to_all(building)
    building.rename(tree)
    return copy


def _open_to_all(tree: Path) -> None:
    """Let any account read the tree and run what its owner may run: root's umask may have said otherwise."""
    for path in [tree, *tree.rglob("*")]:
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & stat.S_IXUSR else 0o644)
