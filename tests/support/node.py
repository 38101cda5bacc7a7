"""Node.js and the packages of one of our folders: what of them is not here, and how to get it."""

import json
import os
import shutil
from pathlib import Path

import pytest

from deploy.local.place import CHECKOUT


def missing(folder: Path) -> list[str]:
    """The commands that get what is not here: Node.js, and the very versions that the folder's package.json names."""
    commands = []
    if not shutil.which("node") or not shutil.which("npm"):
        commands.append("Node.js 20 or later with npm, by whatever way you install it (Debian 12 packages 18)")
    wanted = json.loads((folder / "package.json").read_text())["devDependencies"]
    for name, version in wanted.items():
        installed = folder / "node_modules" / name / "package.json"
        if not installed.exists() or json.loads(installed.read_text())["version"] != version:
            commands.append(f"(cd {folder.relative_to(CHECKOUT)} && npm ci)")
            break
    return commands


def need(what: str, commands: list[str]) -> None:
    """Skip the test and say how to get what is missing; fail under CI=true."""
    if not commands:
        return
    said = f"{what} need:\n  " + "\n  ".join(commands)
    if os.environ.get("CI") == "true":
        pytest.fail(said)
    pytest.skip(said)
