"""Becomes the command given to it, after setting what a process can only set for itself.

    python -I -S exec_child.py PARENT_PID DEATH_SIGNAL UID GID COMMAND [ARGUMENT...]

UID and GID are numbers, or "-" to stay who we are. A script that execs, because a `preexec_fn` runs Python between fork
and exec, where another thread's lock may be held for ever (and Python 3.12 and newer warn of it).
"""

import ctypes  # here and not where it is used: root's Python may be closed to the account that we become
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def become_account(uid: int, gid: int) -> None:
    """Give up root for good: groups first, while we still may."""
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)


def die_with_parent(parent: int, death_signal: int) -> None:
    """Ask Linux for `death_signal` when our parent dies; leave at once if that has happened already.

    Only after the change of account, which clears it. Elsewhere than on Linux this does nothing: there the next start
    stops what a killed launcher left.
    """
    if not sys.platform.startswith("linux"):
        return
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, death_signal, 0, 0, 0) != 0:
        sys.exit(f"prctl(PR_SET_PDEATHSIG): {os.strerror(ctypes.get_errno())}")
    if os.getppid() != parent:
        sys.exit(1)


def main(arguments: list[str]) -> None:
    """Never returns."""
    parent, death_signal, uid, gid, *command = arguments
    # The launcher holds signals back while it starts us, and a shell's `&` gives SIGINT as ignored: undo both.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    if uid != "-":
        become_account(int(uid), int(gid))
    die_with_parent(int(parent), int(death_signal))
    os.execvp(command[0], command)  # noqa: S606 - a shell is what we avoid


if __name__ == "__main__":
    main(sys.argv[1:])
