"""What an answer to a batch means for it, pure."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from enum import Enum

from .api import REFUSED, Answer

LEAST_SECONDS = 0.5  # of the backoff's first window
MOST_SECONDS = 30.0  # of its last: what a person who repaired the API waits at most
SLOW_SECONDS = 30.0  # between two tries of what somebody must put right first
TRANSIENT = (408, 425, 429)
ELSEWHERE = (401, 403, 404, 405, 407, 426)  # the key, the URL or a proxy is wrong, not the event
UNKNOWN = "it is made where a username is given (RUNFEED_USERNAME); an API key that is not for it does not find it"
INDEX = re.compile(r"events\[([0-9]{1,4})\]")


class What(Enum):
    """What to do with a batch."""

    STORED = "stored"
    AGAIN = "again"  # after a while
    LATER = "later"  # somebody must put something right first
    CREATE = "create"  # make the run, then again
    WITHOUT = "without"  # drop the event `index`, then the others
    SMALLER = "smaller"  # fewer events in one request
    OVER = "over"  # the run takes nothing any more


@dataclass(frozen=True)
class Verdict:
    """why: for the log. index: of the event to drop. after: seconds, when the server said so."""

    what: What
    why: str = ""
    index: int = 0
    after: float | None = None


def judge(answer: Answer, sent: int, known_username: bool) -> Verdict:
    """Returns what to do after this answer to so many events. known_username: the run could be made."""
    why = answer.detail
    if 200 <= answer.status < 300:
        return _judge_success(answer, sent)
    if answer.status >= 500 or answer.status in TRANSIENT:
        return Verdict(What.AGAIN, why, after=answer.retry_after)
    if answer.status == 409 and answer.code == "run_finished":
        return Verdict(What.OVER, why)
    if answer.code == "run_unknown":
        if known_username:
            return Verdict(What.CREATE, why)
        return Verdict(What.LATER, f"{why}; {UNKNOWN}")
    if answer.status < 400 or answer.status in ELSEWHERE:
        return Verdict(What.LATER, _with_hint(answer), after=answer.retry_after)
    index = INDEX.match(str(answer.said.get("field", "")))
    if index is not None and int(index[1]) < sent:
        return Verdict(What.WITHOUT, why, index=int(index[1]))
    return Verdict(What.WITHOUT if sent == 1 else What.SMALLER, why)


def judge_creation(answer: Answer) -> Verdict:
    """Returns STORED when the run is there to be used, CREATE when it is to be seen whose it is, else as `judge`."""
    why = answer.detail
    if answer.status in (200, 201) and isinstance(answer.said.get("run_id"), str):
        return Verdict(What.STORED)
    if answer.status == 409 and answer.code == "run_exists":
        return Verdict(What.CREATE, why)
    if answer.status >= 500 or answer.status in TRANSIENT:
        return Verdict(What.AGAIN, why, after=answer.retry_after)
    return Verdict(What.LATER, f"the run cannot be made: {_with_hint(answer)}", after=answer.retry_after)


def window(tries: int) -> float:
    """Seconds within which the next try lies, after so many in vain (1 and more)."""
    return min(MOST_SECONDS, LEAST_SECONDS * 2.0 ** min(tries - 1, 10))


def jittered(seconds: float) -> float:
    """Full jitter: workers that failed together do not come back together."""
    return random.uniform(0, seconds)  # noqa: S311 - it spreads load; nobody gains by guessing it


def _with_hint(answer: Answer) -> str:
    hint = "; the key is api_key, or RUNFEED_API_KEY" if answer.status in REFUSED else ""
    return answer.detail + hint


def _judge_success(answer: Answer, sent: int) -> Verdict:
    stored = answer.said.get("events")
    if isinstance(stored, list) and len(stored) == sent:
        return Verdict(What.STORED)
    # A page that is 200 for everything (a captive portal, a wrong port) has stored nothing.
    return Verdict(What.LATER, f"{answer.status}, but not the API's answer: is the URL right?")
