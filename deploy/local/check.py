"""./dev test: lint, format, types and tests, each with its time; arguments go on to pytest.

--full: the long tests too, but for those in a browser. -n 0: all tests in one process, for a debugger.
The JavaScript client's tests are run where Node.js and clients/js/node_modules are, unless pytest has arguments.
"""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from deploy.local.place import CHECKOUT

BIN_DIR = Path(sys.executable).parent
CLIENT = CHECKOUT / "clients" / "js"
# Two processes even on one core: the tests wait for services to start more than they compute. A module stays together,
# for its servers are its own.
WORKERS = ("-n", "2", "--dist", "loadscope")


def main(arguments: list[str]) -> int:
    """0 when every part passed. All parts run: one failure must not hide another."""
    given = [argument for argument in arguments if argument != "--full"]
    if given != arguments:
        arguments = ["-m", "not browser", *given]
    parts: dict[str, list[str | Path]] = {
        "ruff check": [BIN_DIR / "ruff", "check", ".", "dev"],
        "ruff format": [BIN_DIR / "ruff", "format", "--check", "--quiet", ".", "dev"],
        "mypy": [BIN_DIR / "mypy"],
        "pytest": [sys.executable, "-m", "pytest", *WORKERS, *arguments],
    }
    without_node = node_missing(CLIENT)
    if not without_node and not given:
        parts["vitest"] = ["npm", "test", "--silent", "--prefix", CLIENT]
    outcomes = []
    for name, command in parts.items():
        print(f"--- {name}", flush=True)
        started = time.monotonic()
        code = subprocess.run(command, cwd=CHECKOUT, check=False, env=environ()).returncode
        outcomes.append((name, time.monotonic() - started, code))
    print()
    for name, seconds, code in outcomes:
        print(f"{name:<12} {seconds:7.1f} s  {'passed' if code == 0 else f'FAILED (exit code {code})'}", flush=True)
    if not given:
        print(f"{'browser':<12} NOT RUN: what needs Chromium; .ci/run does, or .venv/bin/python -m pytest -m browser")
    for line in without_node:
        print(f"{'vitest':<12} SKIPPED: no Node test was run; the JavaScript client's need {line}", flush=True)
    return 0 if all(code == 0 for _, _, code in outcomes) else 1


def node_missing(client: Path) -> list[str]:
    """What gets all that the JavaScript client's tests need and that is not here."""
    needs = []
    if not shutil.which("node") or not shutil.which("npm"):
        needs.append("Node.js 20 or later with npm")
    if not (client / "node_modules" / "vitest").is_dir():
        needs.append("(cd clients/js && npm ci)")
    return needs


def environ() -> dict[str, str]:
    """Ours, but for what would point a test at a developer's own servers: tests read TEST_DATABASE_URL only."""
    ours = {"DATABASE_URL", "REDIS_URL", "RUNFEED_DATA", "PORT", "BIND", "FANOUT_HISTORY_URL", "PYTHONPATH"}
    return {name: value for name, value in os.environ.items() if name not in ours}
