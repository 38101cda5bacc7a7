"""Ports for servers that are stopped and started again: the kernel never gives them to an outgoing connection."""

import os
import random
import socket

RANGE = (12_000, 32_000)  # below the ephemeral ports of Linux (32768 on) and macOS (49152 on)


def steady_port(*beside: int) -> int:
    """A port of 127.0.0.1 that nobody listens on at this moment, and that no connection is given meanwhile.

    beside: the ports that are so much higher are free as well.
    """
    # Tests run in several processes: each has ports of its own, for one that is free now may be another's in a moment.
    lane = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])
    while True:
        port = random.randrange(RANGE[0] + lane, RANGE[1], int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")))
        if all(free(port + more) for more in (0, *beside)):
            return port


def free(port: int) -> bool:
    """Whether nobody has this port of 127.0.0.1."""
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
