"""An API key of ./dev's own, which is taken back when it is not needed any more."""

import contextlib
from collections.abc import Callable, Iterator, Mapping

from deploy.local.api import called
from deploy.local.errors import LocalError

REVOKE_SECONDS = 10.0  # as called() has it, but of a database that may be gone by then


@contextlib.contextmanager
def lent_key(
    environ: Mapping[str, str],
    *words: str,
    left: str,
    say: Callable[[str], object],
    wait: Callable[[float], object] | None = None,
) -> Iterator[str]:
    """The key that `keys create` with `words` makes; it is revoked at the end.

    left: whose it is and how long it stays when that fails, which is no error: `say` is told. wait: as called() has
    it, while the key is made. LocalError when none is made.
    """
    key = called(environ, "keys", "create", *words, wait=wait).strip()
    try:
        yield key
    finally:
        key_id = key.split("_")[1]
        try:
            called(environ, "keys", "revoke", key_id, seconds=REVOKE_SECONDS)
        except LocalError as error:
            say(f"{left.format(key_id)}: {error}")
