"""The audit finds what is old, and does not call audited what nobody looked at."""

import json
from pathlib import Path

import pytest

from deploy.local.place import CHECKOUT
from tests.hardening import audit


def checkout(tmp_path: Path, version: str = "2.15.1", npm: str = "8.23.0") -> Path:
    """Locks with two packages."""
    tmp_path.mkdir(exist_ok=True)
    for lock in audit.LOCKS:
        (tmp_path / lock).write_text(
            f"pyjwt=={version} \\\n    --hash=sha256:00\nuvloop==0.23.0 ; sys_platform != 'win32' \\\n"
        )
    for folder in audit.PACKAGES:
        (tmp_path / folder).mkdir(parents=True)
        packages = {"": {}, "node_modules/a/node_modules/ws": {"version": npm}}
        (tmp_path / folder / "package-lock.json").write_text(json.dumps({"packages": packages}))
    return tmp_path


KNOWN = [audit.Floor("pyjwt", "python", "2.13.0", "X-1"), audit.Floor("ws", "npm", "8.21.0", "X-2")]


def test_what_is_locked_is_above_its_floor() -> None:
    """Our locks hold nothing with a fault that we know of, and no floor is there for nothing."""
    assert audit.below(CHECKOUT, audit.floors()) == []


def test_what_is_old_is_found(tmp_path: Path) -> None:
    """A version below its floor is named with its lock and what the floor fixes, a sub-dependency as well."""
    assert audit.below(checkout(tmp_path / "new"), KNOWN) == []
    found = audit.below(checkout(tmp_path / "old", "2.9.0", "8.20.1"), KNOWN)

    assert len(found) == len(audit.LOCKS) + len(audit.PACKAGES)
    assert "pyjwt 2.9.0 is below 2.13.0, which fixes X-1" in found[0]
    assert "clients/js/package-lock.json: ws 8.20.1 is below 8.21.0" in found[3]


def test_a_floor_of_nothing_is_found(tmp_path: Path) -> None:
    """A floor for what is locked nowhere holds nothing and is a fault itself."""
    known = [*KNOWN, audit.Floor("gone", "python", "1", "X-3")]

    assert audit.below(checkout(tmp_path), known) == ["floors.json: gone is in no lock of ours"]


def test_what_nobody_knows_is_not_audited() -> None:
    """pip-audit says `no known vulnerabilities` of packages that it did not find; here that is no audit."""
    skipped = {"name": "pyjwt", "skip_reason": "Dependency not found"}
    fine = {"name": "aiohttp", "version": "1", "vulns": []}
    bad = {"name": "idna", "version": "3.1", "vulns": [{"id": "X-9", "fix_versions": ["3.15"]}]}
    answer = audit.of_pip_audit("a.lock", json.dumps({"dependencies": [skipped, fine, bad]}))

    assert answer.audited == 2
    assert answer.why_not == "1 packages, Dependency not found"
    assert answer.faults == ("a.lock: idna 3.1: X-9, fixed in ['3.15']",)


@pytest.mark.parametrize("output", ["", "Traceback", "[]", '{"error": {"code": "E405"}}', '{"dependencies": null}'])
def test_no_answer_is_no_audit(output: str) -> None:
    """Whoever cannot be reached has audited nothing."""
    for answer in (audit.of_pip_audit("a.lock", output), audit.of_npm("b.json", output)):
        assert answer.audited == 0
        assert "gave no answer" in answer.why_not


def test_npm_names_what_is_bad() -> None:
    """A fault that npm knows of is one."""
    told = {"metadata": {"dependencies": {"total": 7}}, "vulnerabilities": {"ws": {"severity": "high"}}}
    answer = audit.of_npm("b.json", json.dumps(told))

    assert (answer.audited, answer.why_not, answer.faults) == (7, "", ("b.json: ws: high",))
