"""What a reporter was told, by arguments or by the environment: read once, checked, frozen."""

from __future__ import annotations

import json
import math
import os
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from .key import GivenKey, Key
from .names import RUN_ID, USERNAME, name

DEFAULT_URL = "http://127.0.0.1:8081"  # where `./dev run` has its API
METADATA_BYTES = 64 * 1024  # the API's own bound
WORKFLOW_CHARACTERS = 256  # the same
FLUSH_SECONDS = 5.0  # a job's end may wait so long for the API; what is left then is in the journal
VISIBLE = re.compile(r"[!-~]+")  # of a URL: what goes into a request's head as it is
PLACE = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]*)?")


@dataclass(frozen=True)
class Run:
    """Whose events they are and where they go: what a journal says of itself. url: the API's, without a slash."""

    url: str
    run_id: str
    username: str | None = None
    workflow: str | None = None
    metadata: dict[str, Any] | None = None

    def creation(self) -> dict[str, Any]:
        """The body of the POST that makes this run."""
        said = {"run_id": self.run_id, "username": self.username, "workflow": self.workflow, "metadata": self.metadata}
        return {name: value for name, value in said.items() if value is not None}


@dataclass(frozen=True)
class Config:
    """A reporter's arguments, checked.

    made: the run_id was made here, so there cannot be such a run yet.
    spill: the journals' directory; None: the default one.
    flush_timeout: seconds.
    """

    run: Run
    made: bool
    key: Key
    spill: str | None
    flush_timeout: float


def read_config(  # noqa: PLR0913 - they are the reporter's
    run_id: str | None,
    environ: Mapping[str, str],
    *,
    url: str | None = None,
    username: str | None = None,
    workflow: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    api_key: GivenKey = None,
    spill: str | os.PathLike[str] | None = None,
    flush_timeout: float = FLUSH_SECONDS,
) -> Config:
    """Returns the checked arguments, with the environment's where one is None. Raises ValueError that names it."""
    said, field_name = given(run_id, "run_id", environ, "RUN_ID", "JOB_ID")
    owner, owner_name = given(username, "username", environ, "RUNFEED_USERNAME")
    directory, spill_name = given(None if spill is None else os.fspath(spill), "spill", environ, "RUNFEED_SPILL")
    run = Run(
        url=read_url(url, environ),
        run_id=f"run:{uuid.uuid4().hex}" if said is None else name(RUN_ID, said, field_name),
        username=None if owner is None else name(USERNAME, owner, owner_name),
        workflow=_workflow(workflow),
        metadata=_metadata(metadata),
    )
    key = Key(api_key, environ)
    if directory is not None and (not isinstance(directory, str) or "\0" in directory):
        raise ValueError(f"{spill_name} must be a path")
    return Config(run, said is None, key, directory, _seconds(flush_timeout))


def given(argument: Any, field_name: str, environ: Mapping[str, str], *variables: str) -> tuple[Any, str]:
    """Returns (value or None, what to call it in an error): the argument, else the first variable that is not empty."""
    if argument is not None:
        return argument, field_name
    for variable in variables:
        if environ.get(variable):
            return environ[variable], f"{field_name} ({variable})"
    return None, field_name


def read_url(url: str | None, environ: Mapping[str, str]) -> str:
    """Returns the API's base URL. Raises ValueError."""
    text, field_name = given(url, "url", environ, "RUNFEED_URL", "WEBHOOK_BASE_URL")
    return DEFAULT_URL if text is None else base_url(text, field_name)


def base_url(text: Any, field_name: str = "url") -> str:
    """Returns a URL in the one spelling by which journals are compared. Raises ValueError, which does not repeat it.

    A password has no place in it: it would stand in journals and logs.
    """
    rule = f"{field_name} must be http://HOST[:PORT][/PATH] or https://..., without user, query and fragment"
    if not isinstance(text, str) or not VISIBLE.fullmatch(text) or "?" in text or "#" in text:
        raise ValueError(rule)
    try:
        parts = urlsplit(text)
        valid = PLACE.fullmatch(parts.netloc) and parts.port != 0 and parts.scheme in ("http", "https")
    except ValueError:  # a port beyond 65535, a bracket that is not closed
        valid = False
    if not valid:
        raise ValueError(rule)
    return f"{parts.scheme}://{parts.netloc.rstrip(':').lower()}{parts.path.rstrip('/')}"


def _workflow(value: Any) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not 0 < len(value) <= WORKFLOW_CHARACTERS or not _storable(value):
        raise ValueError(f"workflow must be text of 1 to {WORKFLOW_CHARACTERS} characters")
    return value


def _metadata(value: Any) -> dict[str, Any] | None:
    if value is None:
        return None
    rule = f"metadata must be an object that JSON can hold, of {METADATA_BYTES} bytes at most"
    if not isinstance(value, Mapping):
        raise ValueError(rule)
    try:
        text = json.dumps(dict(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        if len(text.encode()) > METADATA_BYTES or not _storable(text) or "\\u0000" in text:
            raise ValueError(rule)
    except (TypeError, ValueError, RecursionError):
        raise ValueError(rule) from None
    kept: dict[str, Any] = json.loads(text)  # a copy: what the caller does to its own later is not ours
    return kept


def _storable(text: str) -> bool:
    return "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)


def _seconds(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
        raise ValueError("flush_timeout must be a number of seconds, 0 or more")
    return float(value)
