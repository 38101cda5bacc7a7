"""deploy/local/hub_key.py: which keys a killed stack has left behind, and what becomes of one at the end."""

import json
import socket

import pytest

from deploy.local import hub_key, keys
from deploy.local.environment import Environment
from deploy.local.errors import LocalError
from deploy.local.place import CHECKOUT
from deploy.local.supervise import Supervisor

LISTED = "".join(
    f"{json.dumps({'key_id': key_id, 'may': may, 'users': None, 'name': name, 'state': 'good'})}\n"
    for key_id, may, name in (
        ("1111111111111111", ["hub"], "./dev run"),
        ("2222222222222222", ["hub"], "./dev run on here:8081"),
        ("3333333333333333", ["hub"], ""),
        ("4444444444444444", ["write"], "./dev run"),
        ("5555555555555555", ["hub"], "production ./dev run"),
        ("6666666666666666", ["hub", "write"], "./dev run"),
    )
)
PROVEN = {"AUTH_HMAC_KEY": "k"}


def test_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key is ours by its right and its name; in a database that others use, by our machine and port as well."""
    monkeypatch.setattr(socket, "gethostname", lambda: "here")
    given = {**PROVEN, "DATABASE_URL": "postgresql://there/d"}

    for environ, ours in (
        (PROVEN, ["1111111111111111"]),
        (given, ["2222222222222222"]),
        (given | {"API_PORT": "9081"}, []),
    ):
        assert hub_key.left_behind(LISTED, hub_key.name_of(Environment.from_env(environ))) == ours


@pytest.mark.parametrize("given", [{}, {"FANOUT_HISTORY_KEY": "rfk_x", **PROVEN}])
def test_none_is_made(given: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without tokens a hub needs no key, and one that was given is used."""
    for module in (hub_key, keys):
        monkeypatch.setattr(module, "called", lambda *_, **__: pytest.fail("a command was called"))
    with hub_key.hub_key(Environment.from_env(given), given, Supervisor(CHECKOUT)) as names:
        assert names == {}


def test_database_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that cannot be revoked at the end is named, without its secret, and is no error."""
    key_id = "7" * 16

    def called(_: object, *words: str, **__: object) -> str:
        if words == ("keys", "revoke", key_id):
            raise LocalError("no database")
        return LISTED if words[1] == "list" else f"rfk_{key_id}_secret\n"

    written: list[bytes] = []
    for module in (hub_key, keys):
        monkeypatch.setattr(module, "called", called)
    supervisor = Supervisor(CHECKOUT, written.append)
    with hub_key.hub_key(Environment.from_env(PROVEN), PROVEN, supervisor) as names:
        assert names == {"FANOUT_HISTORY_KEY": f"rfk_{key_id}_secret"}

    assert written == [f"the hub's key {key_id} is left, until the next ./dev run: no database\n".encode()]
