"""python -m tests.support.checked_api [COMMAND]: the API, whose every answer is held against its OpenAPI document.

Tests start it in the place of `python -m orchestrator_api`, and call install() where they run the service in their own
process. What it finds goes to the session's ledger: tests/support/answers.py, and tests/conftest.py fails the session.
"""

import importlib
import os
import sys
from pathlib import Path
from typing import Any

from aiohttp.web import RequestKey

from orchestrator_api import openapi, web
from orchestrator_api.front import Front
from orchestrator_api.web import Answer, Connection, Request
from tests.support.answers import VARIABLE, Ledger
from tests.support.described import Asked, Description, Said

BODY = RequestKey("body", bytes)  # of a request: what the service read of it


class Checks:
    """Holds what the service says against its document."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._description = Description(openapi.document())

    def answered(self, method: str, template: str, answer: Any, request: Request | None = None) -> None:
        """Looks at an answer. template: the route's. request: None: what came was none."""
        try:
            faults = self._faults(method, template, answer, request)
        except Exception as error:  # noqa: BLE001 - whatever breaks here must not change what the service answers
            faults = [f"the check broke: {error!r}"]
        for fault in faults:
            self._ledger.fault(f"{method} {template}: {fault}")

    def _faults(self, method: str, template: str, answer: Any, request: Request | None) -> list[str]:
        operation = self._description.operation(method, template)
        cors = request.cors if request is not None else {}
        headers = {name.lower(): value for name, value in (*answer.headers.items(), *cors.items())}
        body = answer.body if isinstance(answer, Answer) else None
        faults = list(
            self._description.answer_faults(operation, Said(answer.status, answer.content_type, headers, body))
        )
        if operation is not None and request is not None and answer.status < 300:
            query = {name: request.query.getall(name) for name in request.query}
            asked = Asked(request.name, query, request.headers, request.get(BODY))
            faults += operation.request_faults(asked)
        self._ledger.checked(0 if operation is None else operation.place)
        return faults


def install(directory: Path) -> None:
    """Checks every answer that this process gives on the API's own port from now on. directory: the session's."""
    importlib.import_module("orchestrator_api.serve")  # and with it every module that reads a body
    checks = Checks(Ledger(directory))
    handle, handle_error, read_body = Front.handle, Connection.handle_error, web.read_body

    async def checked_handle(front: Front, request: Request) -> Any:
        answer = await handle(front, request)
        if front._metrics is not None:  # the admin port is not for clients, and not in the document
            checks.answered(request.method, front._routes.find(request.rel_url.raw_path)[0].template, answer, request)
        return answer

    def checked_error(connection: Connection, *arguments: Any, **more: Any) -> Any:
        answer = handle_error(connection, *arguments, **more)
        checks.answered("-", "malformed", answer)
        return answer

    async def noted_body(request: Request) -> bytes:
        body = request[BODY] = await read_body(request)
        return body

    Front.handle = checked_handle  # type: ignore[method-assign, assignment]
    Connection.handle_error = checked_error  # type: ignore[method-assign, assignment]
    for name, module in list(sys.modules.items()):
        if name.startswith("orchestrator_api.") and getattr(module, "read_body", None) is read_body:
            module.read_body = noted_body  # type: ignore[attr-defined]


def install_in_tests() -> None:
    """The same for services in the tests' own process; once is enough."""
    if Front.handle.__module__ != __name__:
        install(Path(os.environ[VARIABLE]))


if __name__ == "__main__":
    from orchestrator_api.__main__ import main

    install(Path(os.environ[VARIABLE]))
    sys.exit(main())
