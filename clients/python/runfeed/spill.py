"""Where journals are: the directory that was named, or one of this user's own."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path


def directory(spill: str | None) -> Path:
    """The path of the journals' directory, which need not be there. Raises OSError where there cannot be one."""
    if os.name != "posix":
        raise OSError("journals need flock, which only POSIX has")
    if spill is not None:
        return Path(spill).absolute()
    return Path(tempfile.gettempdir()) / f"runfeed-{os.geteuid()}"


def ready(spill: str | None) -> Path:
    """The directory, made if it must be, for this user alone. Raises OSError when it is not ours.

    One that was named may be anybody's: it may be a volume. The files in it are for this user alone in any case.
    """
    path = directory(spill)
    path.mkdir(mode=0o700, parents=spill is not None, exist_ok=True)
    if spill is None:
        status = path.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
            raise PermissionError(f"{path} is a link or somebody else's")  # who could read it, or plant events in it
        if status.st_mode & 0o077:
            path.chmod(0o700)
    return path
