"""The hub: what happens in a run reaches the people watching it.

Three stages, three files: `subscribe` reads Redis, `route` decides who gets what, `deliver` writes to the sockets.
The files around them: `wire`, `deflate` and `controls` (bytes in, bytes out), `feed` (one user's order), `hub` (what
all connections share), `door`, `usual`, `handshake` and `admission` (what is asked for), `guard`, `credentials`,
`verify`, `revoked` and `limits` (who may, and how many), `joins` (a base before the answer), `replay` (history for
those who bring a cursor), `catch_up` and `history` (what was missed, from the API), `trace` (what became of an event),
`pings` (every deadline), `serve` (what is started and stopped, and in which order).

The promises, each with its place:

- a frame reaches the sockets of its own user and nobody else's (`route`);
- with history (`FANOUT_HISTORY_URL`) a socket gets exactly the feed, from its answer or its cursor on: no hole, no
  repeat, nothing out of order, whatever Redis loses (`feed`, `catch_up`, `replay`);
- nobody touches a feed before it is known whose token they have, where tokens are wanted (`guard`);
- a slow, silent or hostile peer costs the others nothing, and itself its socket (`deliver`, `pings`);
- nothing that arrives on Redis raises (`wire`, `subscribe`).

The hub stands alone: it imports nothing of the API and runs with Redis only. POSIX only.
"""

__version__ = "0.1.0"
