"""Ports for servers that are stopped and started again: the kernel never gives them to an outgoing connection."""

import random
import socket

RANGE = (12_000, 32_000)  # below the ephemeral ports of Linux (32768 on) and macOS (49152 on)


def steady_port(*beside: int) -> int:
    """A port of 127.0.0.1 that nobody listens on at this moment, and that no connection is given meanwhile.

    beside: the ports that are so much higher are free as well.
    """
    while True:
        port = random.randrange(*RANGE)
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
