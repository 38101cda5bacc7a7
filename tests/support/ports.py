"""Ports for servers that are stopped and started again: the kernel never gives them to an outgoing connection."""

import random
import socket

RANGE = (12_000, 32_000)  # below the ephemeral ports of Linux (32768 on) and macOS (49152 on)


def steady_port() -> int:
    """A port of 127.0.0.1 that nobody listens on at this moment, and that no connection is given meanwhile."""
    while True:
        port = random.randrange(*RANGE)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
