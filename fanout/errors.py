"""What can go wrong, and whose fault it is.

FanoutError
+-- SettingsError   the operator's: a variable that breaks its rule, a port that is taken
+-- Refusal         the client's: a request that is answered with a status instead of a socket
+-- HistoryAway     the API's: this question was not answered, the next one may be
+-- CursorUnknown   nobody's: history does not know this cursor
+-- LinkLost        Redis': this try of a subscription is over, the next one follows
+-- StageEnded      ours: a task that runs for ever came to its end
"""

from __future__ import annotations


class FanoutError(Exception):
    """The root; never raised itself."""


class SettingsError(FanoutError):
    """A variable breaks its rule. One line for the operator: the variable, the rule, the value unless it is None."""

    def __init__(self, variable: str, rule: str, value: str | None = None) -> None:
        super().__init__(variable, rule, value)
        self.variable = variable
        self.rule = rule
        self.value = value

    def __str__(self) -> str:
        line = f"{self.variable}: {self.rule}"
        return line if self.value is None else f"{line}, not {self.value!r}"


class Refusal(FanoutError):
    """A request that gets a status instead of a socket.

    Args:
        status: HTTP status.
        detail: the rule that was broken, for a person.
        field: the query parameter or header at fault; None: the request as a whole.
        code: a stable name for programs; None: what the status is usually called here.
        headers: further response headers.
        more: further members of the problem.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        field: str | None = None,
        *,
        code: str | None = None,
        headers: tuple[tuple[str, str], ...] = (),
        more: dict[str, object] | None = None,
    ) -> None:
        super().__init__(status, detail, field)
        self.status = status
        self.detail = detail
        self.field = field
        self.code = code or _CODES.get(status, "invalid" if field else "malformed")
        self.headers = headers
        self.more = more or {}


_CODES = {
    403: "origin_forbidden",
    404: "path_unknown",
    405: "method_not_allowed",
    408: "head_timeout",
    410: "cursor_unknown",
    414: "too_big",
    426: "upgrade_required",
    431: "too_big",
    503: "restarting",
    505: "version_unsupported",
}


class HistoryAway(FanoutError):
    """The API did not answer, or not with what was asked for; the text says why."""


class CursorUnknown(FanoutError):
    """History does not know this cursor: another epoch, beyond the head, or below what retention has left."""

    def __init__(self, epoch: str, head: int) -> None:
        super().__init__(epoch, head)
        self.epoch = epoch
        self.head = head


class LinkLost(FanoutError):
    """This connection to Redis is of no use any more; the text says why."""


class StageEnded(FanoutError):
    """A stage that runs for ever came to its end; the text names it."""
