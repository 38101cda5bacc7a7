"""Runfeed for Python: watch runs as they happen.

    from runfeed import Runfeed

    async with Runfeed(username="alice") as feed:
        async for event in feed.run("hello"):
            print(event["type"])

Names are imported when they are asked for: watching needs aiohttp and websockets (`pip install 'runfeed[watch]'`) and
Python 3.11.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .client import Runfeed
    from .core.protocol import RunfeedError

__all__ = ["Runfeed", "RunfeedError"]

_PLACES = {"Runfeed": ".client", "RunfeedError": ".core.protocol"}
_WATCHING = ("aiohttp", "websockets", "yarl")


def __getattr__(name: str) -> Any:
    """A name of ours, from the module that has it. Raises ImportError where what it needs is not installed."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(importlib.import_module(_PLACES[name], __name__), name)
    except ModuleNotFoundError as error:
        if error.name not in _WATCHING:
            raise
        raise ImportError(f"{name} needs {error.name}: pip install 'runfeed[watch]'", name=error.name) from error
