"""append_events from the outside, pure: what goes in for a group of appends, and what its outcomes mean to callers."""

from dataclasses import dataclass
from typing import Any

from orchestrator_api.errors import Conflict, Problem, Unavailable
from orchestrator_api.groups import Append


@dataclass(frozen=True, slots=True)
class Stored:
    """What an append came to. numbers: (id, seq) of each event in the order sent; new: something was stored now."""

    run_id: str
    status: str
    numbers: list[tuple[int, int]]
    new: bool


def store_away() -> Unavailable:
    """The answer while PostgreSQL cannot store."""
    return Unavailable("store_away", "the database cannot store now; nothing was stored, try again")


def busy() -> Unavailable:
    """The answer to whoever waited in vain: mostly for a lock that somebody else holds."""
    return Unavailable("busy", "it could not be stored in time; nothing was stored, try again")


def outcome_unknown() -> Unavailable:
    """The answer to whoever has no key, when nobody heard what PostgreSQL said."""
    return Unavailable(
        "outcome_unknown",
        "the connection to the database broke before its answer: it may be stored; a keyed request can be repeated",
    )


def refusal(outcome: str, append: Append) -> Problem:
    """The answer to an append that append_events refused. outcome: its word for why."""
    if outcome == "run_finished":
        return Conflict(409, "run_finished", f"run {append.run_id} has had its terminal event; nothing follows it")
    if outcome == "run_exists":
        return Conflict(409, "run_exists", f"run {append.run_id} exists with other content", field="run_id")
    if outcome == "key_reused":
        return Conflict(
            422, "key_reused", "the key was used for other content before: a key names one request for ever"
        )
    return Problem(404, "run_unknown", f"there is no run {append.run_id}", field="run_id")


def arguments(group: list[Append]) -> tuple[list[Any], ...]:
    """Returns append_events' arrays for a group, from feed_names on."""
    events = [(n, append, event, tail) for n, append in enumerate(group, 1)
              for event, tail in zip(append.events, append.tails, strict=True)]  # fmt: skip
    creates = [append.create for append in group]
    return (
        sorted({append.username for append in group}),
        [append.run_id for append in group],
        [append.username for append in group],
        [append.key for append in group],
        [append.scope for append in group],
        [append.digest for append in group],
        [create is not None for create in creates],
        [create and create.workflow for create in creates],
        [create and create.metadata for create in creates],
        [create and create.digest for create in creates],
        [n for n, _, _, _ in events],
        [append.run_id for _, append, _, _ in events],
        [append.username for _, append, _, _ in events],
        [tail.decode() for _, _, _, tail in events],
        [event.key for _, _, event, _ in events],
        [event.digest for _, _, event, _ in events],
        [event.status for _, _, event, _ in events],
        [event.progress for _, _, event, _ in events],
        [event.step for _, _, event, _ in events],
    )
