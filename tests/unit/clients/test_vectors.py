"""runfeed.core: the golden vectors, which every client plays, and what stands in the contract."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import pytest

from runfeed import names
from runfeed.core import protocol
from tests.unit.clients.player import Player

DIRECTORY = Path(__file__).parents[2] / "contract"
VECTORS: dict[str, dict[str, Any]] = {
    vector["name"]: vector for vector in json.loads((DIRECTORY / "client.json").read_text())["vectors"]
}
CONTRACT = json.loads((DIRECTORY / "contract.json").read_text())


def played(name: str | None) -> Player:
    """A machine after this vector."""
    if name is None:
        return Player()
    player = played(VECTORS[name].get("follows"))
    for step in VECTORS[name]["steps"]:
        player.play(step)
    return player


@pytest.mark.parametrize("name", VECTORS)
def test_vector(name: str) -> None:
    """The machine says and does what the vector says, step by step."""
    player = played(VECTORS[name].get("follows"))

    for step in VECTORS[name]["steps"]:
        assert {**step, "out": player.play(step)} == step


def test_close_codes() -> None:
    """The close codes, and what to do about each, are the contract's."""
    assert {str(code): what for code, what in protocol.CLOSE_CODES.items()} == {
        code: row["retry"] for code, row in CONTRACT["close_codes"].items()
    }


def test_terminal_types() -> None:
    """The types that end a run, and the statuses, are the contract's."""
    assert CONTRACT["terminal"] == protocol.TERMINAL
    assert list(get_args(protocol.Status)) == CONTRACT["statuses"]
    assert set(protocol.CLOSED) == set(protocol.TERMINAL.values())


@pytest.mark.parametrize("kind", ["run_id", "username"])
def test_names(kind: str) -> None:
    """The name rules are the contract's."""
    rule = {"run_id": names.RUN_ID, "username": names.USERNAME}[kind]
    said = CONTRACT["names"][kind]

    assert f"^{rule.pattern}$" == said["pattern"]
    assert [name for name in said["valid"] if not rule.fullmatch(name)] == []
    assert [name for name in said["invalid"] if rule.fullmatch(name)] == []


def test_numbers() -> None:
    """The filters of a request, and the causes of a poll where the contract names them, are the contract's."""
    assert CONTRACT["limits"]["run_filters"] == protocol.RUN_FILTERS
    assert CONTRACT.get("poll_causes", list(protocol.CAUSES)) == list(protocol.CAUSES)
    assert get_args(protocol.Cause) == protocol.CAUSES
