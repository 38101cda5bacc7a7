"""Log lines: JSON in production, readable on a terminal; a dotted event name and its values, nothing formatted."""

from __future__ import annotations

import logging
import sys
from typing import Any

import orjson
import structlog
import structlog.tracebacks

# Without the local variables: they may hold a username.
_traceback = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)


def set_up(level: str, style: str | None) -> None:
    """Route our log lines and those of the libraries to stdout.

    Args:
        level: the least that is logged: "debug", "info", "warning" or "error".
        style: "json" or "console"; None: console when stdout is a terminal.
    """
    console = (style or ("console" if sys.stdout.isatty() else "json")) == "console"
    shared: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: list[Any] = (
        [structlog.dev.ConsoleRenderer(colors=sys.stdout.isatty())]
        if console
        else [structlog.processors.ExceptionRenderer(_traceback), structlog.processors.JSONRenderer(serializer=_json)]
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def _json(values: dict[str, Any], default: Any = None, **_: Any) -> str:
    return orjson.dumps(values, default=default).decode()
