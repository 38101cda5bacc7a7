"""Fixtures of the tests of `./dev run`."""

import shutil
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local.place import DataDirectory
from tests.integration.local.checkouts import Checkout


@pytest.fixture
def checkout(session_data: Path, request: pytest.FixtureRequest) -> Iterator[Checkout]:
    """A checkout of the test's own, where PostgreSQL's account can reach it."""
    path = session_data / f"a checkout [{zlib.crc32(request.node.name.encode())}]"  # such names exist
    path.mkdir(mode=0o755)
    made = Checkout(path)
    yield made
    DataDirectory(made.data).remove()
    shutil.rmtree(path)
