"""The hooks of pytest that look for secrets (secrets.py); tests/conftest.py takes them over by their names."""

from __future__ import annotations

import subprocess
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.support import secrets

if TYPE_CHECKING:
    import aiohttp

LOGS = ("log", "*.log")  # names of log files below pytest's directory for temporary ones


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that has printed, logged or read a secret has failed, whatever it says itself."""
    report = yield
    said = "\n".join(content for title, content in report.sections if title.endswith(report.when or ""))
    secrets.look_at(said, f"{item.nodeid} ({report.when}), what was printed or logged")
    if (found := secrets.found()) and report.passed:
        report.outcome = "failed"
        report.longrepr = "SECRETS SHOWN:\n" + "\n".join(found)
    return report


@pytest.fixture(scope="session", autouse=True)
def no_secret_is_shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What this session's processes have printed, and what its tests were answered."""
    with answers_looked_at(), environments_remembered():
        yield
    base = tmp_path_factory.getbasetemp()
    for pattern in LOGS:
        for path in base.rglob(pattern):
            secrets.look_at_log(path)
    found = secrets.found()
    assert not found, "SECRETS SHOWN:\n" + "\n".join(found)


@contextmanager
def answers_looked_at() -> Iterator[None]:
    """Every refusal and every page of metrics that a test reads with aiohttp."""
    from aiohttp import ClientResponse

    read = ClientResponse.read

    async def read_and_look(answer: aiohttp.ClientResponse) -> bytes:
        body = await read(answer)
        where = f"{answer.method} {answer.url.path}: {answer.status}"
        if answer.status >= 400:
            secrets.look_at_refusal(body, where)
        elif answer.url.path == "/metrics":
            secrets.look_at(body, where)
        return body

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ClientResponse, "read", read_and_look)
        yield


@contextmanager
def environments_remembered() -> Iterator[None]:
    """What any process is told in its environment is known as a secret, if it is one."""
    begin = subprocess.Popen.__init__

    def begin_and_remember(process: subprocess.Popen[bytes], *arguments: Any, **how: Any) -> None:
        secrets.secrets_of(how.get("env") or {})
        begin(process, *arguments, **how)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subprocess.Popen, "__init__", begin_and_remember)
        yield
