"""runfeed: what its import needs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

CLIENT = Path(__file__).parents[3] / "clients" / "python"
BARE = f"""
import sys
sys.path.insert(0, {str(CLIENT)!r})
for name in ("aiohttp", "websockets", "yarl"):
    sys.modules[name] = None
import runfeed
from runfeed import RunfeedError
from runfeed.commands import tail
for module in ("runfeed", "runfeed.sync"):
    try:
        exec(f"from {{module}} import Runfeed")
    except ImportError as error:
        print(error)
try:
    runfeed.Nobody
except AttributeError as error:
    print(error)
"""


def test_without_libraries() -> None:
    """Without the libraries the package is imported all the same, and says what to install when they are needed."""
    done = subprocess.run([sys.executable, "-c", BARE], capture_output=True, text=True, check=False)

    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        *["Runfeed needs aiohttp: pip install 'runfeed[watch]'"] * 2,
        "module 'runfeed' has no attribute 'Nobody'",
    ]
