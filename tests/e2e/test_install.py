"""The packages as somebody installs them who wants the hub alone, or the client."""

import json
import re
import shutil
import subprocess
import venv
from pathlib import Path

import pytest

from deploy.local.place import CHECKOUT
from tests.support.processes import clean_environ

PYTEST = ("hypothesis", "pytest", "pytest-asyncio", "pytest-timeout")
PAGE = (
    "import importlib.resources as r; print(*(f.name for f in r.files('orchestrator_api').joinpath('page').iterdir()))"
)
PROBE = (
    "import json, importlib.util as u, sys; print(json.dumps({name: bool(u.find_spec(name)) for name in sys.argv[1:]}))"
)


def run(*command: str | Path, cwd: Path) -> str:
    """Run a program to its end; its stdout. AssertionError with all that it said when it fails."""
    environ = clean_environ()
    environ.pop("PYTHONPATH", None)
    done = subprocess.run(
        command, cwd=cwd, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.install
@pytest.mark.timeout(180)  # it installs packages
def test_fanout_alone(tmp_path: Path) -> None:
    """`pip install .[fanout]` brings no PostgreSQL driver, the page is in it, and fanout's unit tests pass there."""
    # Constraints without hashes: pip would want one of the checkout itself.
    lock = (CHECKOUT / "requirements-dev.lock").read_text()
    constraints = tmp_path / "constraints"
    constraints.write_text("\n".join(re.findall(r"^[a-z0-9-]+==[^\s;]+", lock, re.MULTILINE)))
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv/bin/python"
    run(python, "-m", "pip", "install", "--quiet", "-c", constraints, f"{CHECKOUT}[fanout]", *PYTEST, cwd=tmp_path)
    found = json.loads(run(python, "-I", "-c", PROBE, "asyncpg", "fanout", "websockets", cwd=tmp_path))

    assert found == {"asyncpg": False, "fanout": True, "websockets": True}
    built = {file.name for file in (CHECKOUT / "orchestrator_api/page").iterdir()}
    assert "index.html" in built
    assert set(run(python, "-I", "-c", PAGE, cwd=tmp_path).split()) == built

    # The tests without the packages beside them: what is tested is what was installed.
    shutil.copytree(
        CHECKOUT / "tests", tmp_path / "tests", ignore=shutil.ignore_patterns("node_modules", "__pycache__")
    )
    shutil.copy2(CHECKOUT / "pyproject.toml", tmp_path)
    output = run(python, "-m", "pytest", "tests/unit/fanout", "-q", cwd=tmp_path)

    assert re.search(r"\d+ passed", output)
    assert "skipped" not in output


@pytest.mark.install
@pytest.mark.timeout(180)  # it installs packages
def test_client_alone(tmp_path: Path) -> None:
    """`pip install` of the Python client brings that package and nothing else, its types and its command."""
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv/bin/python"
    before = set(run(python, "-m", "pip", "list", "--format=freeze", cwd=tmp_path).split())
    run(python, "-m", "pip", "install", "--quiet", CHECKOUT / "clients/python", cwd=tmp_path)
    after = set(run(python, "-m", "pip", "list", "--format=freeze", cwd=tmp_path).split())

    assert after - before == {"runfeed==0.1.0"}
    assert run(tmp_path / "venv/bin/runfeed", "--version", cwd=tmp_path) == "runfeed 0.1.0\n"
    assert list(tmp_path.glob("venv/lib/*/site-packages/runfeed/py.typed"))
