"""What can go wrong, and whose fault it is.

Problem                 an answer to a caller: RFC 9457 `application/problem+json`
+-- BadRequest          400, 422, ..: the caller's; names the field and the rule
+-- Unauthenticated     401: the caller's; nobody knows who it is
+-- Forbidden           403: the caller's; it is known, and may not
+-- Conflict            409, 410, ..: the caller's; the state says no
+-- Unavailable         503: ours; says when to come back
StartError              a setting, a port or a schema: the operator's; one line, then the process ends
"""

import http
from typing import Any

LONGEST = 400  # characters of a member


class Problem(Exception):
    """An answer other than the one that was asked for.

    status: the HTTP status. code: a stable name for programs. detail: a sentence for people. field: the guilty part of
    the request, as the caller wrote it (`events[499].timestamp`). extra: further members of the body.
    """

    def __init__(self, status: int, code: str, detail: str, *, field: str | None = None, **extra: Any) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.field = field
        self.extra = extra

    def body(self) -> dict[str, Any]:
        """Returns the members of the problem document."""
        title = http.HTTPStatus(self.status).phrase
        body = {"type": "about:blank", "title": title, "status": self.status, "code": self.code, "detail": self.detail}
        if self.field is not None:
            body["field"] = self.field
        return {name: _short(value) if isinstance(value, str) else value for name, value in (body | self.extra).items()}


def _short(text: str) -> str:
    """A part of the request as it may be sent back: not by the megabyte, and Unicode."""
    return (text if len(text) <= LONGEST else text[:LONGEST] + "...").encode("utf-8", "backslashreplace").decode()


class BadRequest(Problem):
    """The request cannot be understood or kept: `field` breaks the rule that `detail` states."""

    def __init__(self, field: str, rule: str, *, status: int = 422, code: str = "invalid") -> None:
        super().__init__(status, code, f"{field}: {rule}", field=field)


class Unauthenticated(Problem):
    """Who asks could not be found out. Its words hold no part of what was shown."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(401, code, detail, field="Authorization")


class Forbidden(Problem):
    """Who asks is known, and may not: for anybody else the same call may be right."""

    def __init__(self, field: str | None, rule: str, *, code: str = "forbidden") -> None:
        super().__init__(403, code, rule if field is None else f"{field}: {rule}", field=field)


class Conflict(Problem):
    """The request is well-formed, and what is stored already forbids it."""


def run_unknown(run_id: str, field: str = "run_id") -> Problem:
    """Returns the answer about a run that is not there and about one that is not the caller's: nobody can tell."""
    return Problem(404, "run_unknown", f"there is no run {run_id}", field=field)


class Unavailable(Problem):
    """We cannot do it now. retry_after: seconds, sent as `Retry-After`."""

    def __init__(self, code: str, detail: str, *, retry_after: int = 1) -> None:
        super().__init__(503, code, detail)
        self.retry_after = retry_after


class StartError(Exception):
    """The process cannot serve: its text is one line that names what to change."""
