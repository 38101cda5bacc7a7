"""Runfeed for Python: report what happens in a run, and watch it as it happens.

    from runfeed import RunReporter

    with RunReporter(username="alice", workflow="training") as run:
        run.started(total_steps=2)
        run.step(1, "load", "completed", duration=0.4)

The reporter needs the standard library alone, in Python 3.9 and later. To watch, `pip install 'runfeed[watch]'` in
Python 3.11 or later:

    from runfeed import Runfeed

    async with Runfeed(username="alice") as feed:
        async for event in feed.run("hello"):
            print(event["type"])

`runfeed.sync` has the same without an event loop.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .reporter import RunReporter

if TYPE_CHECKING:
    from .client import Runfeed
    from .core.protocol import RunfeedError

__version__ = "0.1.0"
__all__ = ["RunReporter", "Runfeed", "RunfeedError", "__version__"]

_PLACES = {"Runfeed": ".client", "RunfeedError": ".core.protocol"}
_WATCHING = ("aiohttp", "websockets", "yarl")


def __getattr__(name: str) -> Any:
    """What watches is imported when it is asked for. Raises ImportError where what it needs is not installed."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(importlib.import_module(_PLACES[name], __name__), name)
    except ModuleNotFoundError as error:
        if error.name not in _WATCHING:
            raise
        raise ImportError(f"{name} needs {error.name}: pip install 'runfeed[watch]'", name=error.name) from error
