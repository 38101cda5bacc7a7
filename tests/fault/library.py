"""The Python client that we give away, in every row."""

from __future__ import annotations

import time
from typing import Any

import orjson

from runfeed import Runfeed
from tests.fault.checker import Segment
from tests.fault.clients import Client


class Library(Client):
    """`Runfeed`: all of a user's runs from their beginning, with one hub and one API, whatever becomes of them."""

    async def _one_life(self) -> None:
        api, hub = f"http://127.0.0.1:{self.places.apis[0]}", f"ws://127.0.0.1:{self._door()}"
        async with Runfeed(self.stream.username, api, hub, poll_interval=self.places.times.poll) as feed:
            self.opened += 1
            segment = self._open(0, "library")
            async for event in feed.feed(after=0):
                segment = self._take_event(event, segment)

    def _take_event(self, event: dict[str, Any], segment: Segment) -> Segment:
        if event.get("control") is not True or "username" in event:
            self._show(segment, orjson.dumps(event))  # as the API wrote it: the checker compares bytes
            return segment
        # Behind the head that it names all must come. The checker asks as well whether that was named too late: then it
        # is beyond what was reported after this moment.
        self.begin_anew()
        segment.closed, segment.code = time.time(), "reset"
        self.last = int(event["head"])  # a feed's reset always has one: null ends this client, and the row
        return self._open(self.last, "library")
