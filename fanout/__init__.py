"""The hub: what happens in a run reaches the people watching it.

Three stages, three files: `subscribe` reads Redis, `route` decides who gets what, `deliver` writes to the sockets.
The files around them: `wire` (bytes in, bytes out), `feed` (one user's order), `handshake` (who may come in),
`pings` (every deadline), `serve` (what is started and stopped, and in which order).

The promises, each with its place:

- a frame reaches the sockets of its own user and nobody else's (`route`);
- within a feed nothing is repeated and nothing is reordered, once `FANOUT_HISTORY_URL` says that ids count (`feed`);
- a slow, silent or hostile peer costs the others nothing, and itself its socket (`deliver`, `pings`);
- nothing that arrives on Redis raises (`wire`, `subscribe`).

The hub stands alone: it imports nothing of the API and runs with Redis only. POSIX only.
"""

__version__ = "0.1.0"
