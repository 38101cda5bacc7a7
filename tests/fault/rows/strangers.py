"""Row 50: who asks for what is not theirs."""

from __future__ import annotations

from tests.fault.checker import Stream
from tests.fault.world import World, row


@row("50", "look-alike names, and other people's runs", bound=1.5, why="no fault", patience=2.0)
async def look_alikes(w: World) -> None:
    """Every row has users whose names look alike; here they also ask for each other's runs, and see nothing."""
    strangers = []
    for n, username in enumerate(w.names):
        other = w.names[(n + 1) % len(w.names)]
        stream = Stream(f"stranger/{username}", username, frozenset(w.users[other]))
        strangers.append(w.crowd.add("resuming" if n % 2 else "one_run", stream, w.places(n, 0)))
    await w.let(w.times.short)
    w.over()
    seen = sum(len(segment.frames) for client in strangers for segment in client.stream.segments)
    w.expect(seen == 0, f"{seen} frames of other people's runs")
