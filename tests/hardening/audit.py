"""Known faults of what we depend on, and of what we test with.

    python -m tests.hardening.audit

Asks those who keep count of them, through pip-audit and npm. Where they cannot be reached, that is said in one
line, NOT AUDITED, and what is held instead is `floors.json`: the versions that fix what we know of, against our locks.
The floors are held in any case. A fault that is found, or a version below its floor, fails.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.version import Version

from deploy.local.place import CHECKOUT

FLOORS = Path(__file__).with_name("floors.json")
LOCKS = ("requirements.lock", "requirements-dev.lock", "requirements-harden.lock")
PACKAGES = ("clients/js", "clients/page", "tests/browser")  # where a package-lock.json is
SECONDS = 120.0  # for one question; a registry that is away must not stop the rest
PIP_AUDIT = ("-m", "pip_audit", "--disable-pip", "--require-hashes", "--format", "json", "--timeout", "10")
_LOCKED = re.compile(r"^([a-z0-9._-]+)==([^\s;]+)", re.MULTILINE | re.IGNORECASE)


@dataclass(frozen=True)
class Answer:
    """What was said of one lock. audited: packages that were looked at; why_not: of all others; faults: in words."""

    lock: str
    audited: int
    why_not: str
    faults: tuple[str, ...] = ()


@dataclass(frozen=True)
class Floor:
    """The least version of a package that has none of the faults that we know of."""

    package: str
    ecosystem: str
    least: str
    fixes: str


def floors() -> list[Floor]:
    """The list."""
    return [Floor(each["package"], each["in"], each["least"], each["fixes"]) for each in json.loads(FLOORS.read_text())]


def locked(checkout: Path) -> Iterator[tuple[str, str, str, str]]:
    """(lock, ecosystem, package, version) of everything that is locked."""
    for name in LOCKS:
        for package, version in _LOCKED.findall((checkout / name).read_text()):
            yield name, "python", package.lower(), version
    for folder in PACKAGES:
        name = f"{folder}/package-lock.json"
        for path, entry in json.loads((checkout / name).read_text())["packages"].items():
            if path:
                yield name, "npm", path.rpartition("node_modules/")[2], entry["version"]


def below(checkout: Path, known: Sequence[Floor]) -> list[str]:
    """What is locked below its floor, and floors of what is locked nowhere: they hold nothing."""
    by_name = {(floor.ecosystem, floor.package): floor for floor in known}
    found, used = [], set()
    for lock, ecosystem, package, version in locked(checkout):
        floor = by_name.get((ecosystem, package))
        if floor is None:
            continue
        used.add(floor)
        if Version(version) < Version(floor.least):
            found.append(f"{lock}: {package} {version} is below {floor.least}, which fixes {floor.fixes}")
    found += [f"floors.json: {floor.package} is in no lock of ours" for floor in known if floor not in used]
    return found


def of_pip_audit(lock: str, output: str) -> Answer:
    """What pip-audit has said: a package that it did not find anything about was not audited."""
    try:
        told: list[dict[str, Any]] = list(json.loads(output)["dependencies"])
    except (ValueError, KeyError, TypeError):
        return Answer(lock, 0, "pip-audit gave no answer")
    skipped = [each for each in told if "skip_reason" in each]
    faults = tuple(
        f"{lock}: {each['name']} {each['version']}: {fault['id']}, fixed in {fault['fix_versions']}"
        for each in told
        for fault in each.get("vulns", ())
    )
    why = f"{len(skipped)} packages, {skipped[0]['skip_reason']}" if skipped else ""
    return Answer(lock, len(told) - len(skipped), why, faults)


def of_npm(lock: str, output: str) -> Answer:
    """What `npm audit --json` has said."""
    try:
        told = json.loads(output)
        counted = told["metadata"]["dependencies"]["total"]
        names = {f"{lock}: {name}: {each['severity']}" for name, each in told["vulnerabilities"].items()}
    except (ValueError, KeyError, TypeError):
        return Answer(lock, 0, "npm gave no answer: " + " ".join(output.split())[:120])
    return Answer(lock, counted, "", tuple(sorted(names)))


def ask(command: Sequence[str], folder: Path) -> str:
    """A program's output; what went wrong, if it said nothing."""
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return done.stdout or done.stderr[-300:]


def answers() -> Iterator[Answer]:
    """Of everybody who may know, for every lock."""
    for lock in LOCKS:
        yield of_pip_audit(lock, ask([sys.executable, *PIP_AUDIT, "--requirement", lock], CHECKOUT))
    npm = shutil.which("npm")
    for folder in PACKAGES:
        lock = f"{folder}/package-lock.json"
        command = [npm, "audit", "--json", "--package-lock-only"]
        yield (
            of_npm(lock, ask([str(word) for word in command], CHECKOUT / folder)) if npm else Answer(lock, 0, "no npm")
        )


def main() -> int:
    """0 when no fault is known."""
    faults = below(CHECKOUT, floors())
    say(f"floors: {len(floors())} held against {len(LOCKS) + len(PACKAGES)} locks, {len(faults)} broken")
    unknown = []
    for answer in answers():
        faults += answer.faults
        if answer.audited:
            say(f"{answer.lock}: {answer.audited} packages audited, {len(answer.faults)} faults")
        if answer.why_not:
            unknown.append(f"{answer.lock} ({answer.why_not})")
    if unknown:
        say(f"NOT AUDITED: {'; '.join(unknown)}: nobody was asked about these but our own floors")
    for fault in faults:
        say(f"FAULT: {fault}")
    return 1 if faults else 0


def say(text: str) -> None:
    """A line for whoever waits."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
