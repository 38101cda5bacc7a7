"""orchestrator_api/caller.py: to whose users and runs who may."""

import pytest

from orchestrator_api.caller import (
    ANYBODY,
    HUBS,
    LISTS,
    NO_RUN,
    NOBODY,
    OPEN,
    READS,
    TICKETS,
    WRITES,
    Caller,
    Machine,
    Rule,
    User,
)
from orchestrator_api.errors import Forbidden
from orchestrator_api.keys import ApiKey, Scope
from orchestrator_api.tokens import Principal


def user(*runs: str) -> User:
    """Alice with a token, for some runs or all."""
    return User(Principal("alice", frozenset(runs) if runs else None, 0.0, 0.0, None, "runfeed"))


def machine(users: list[str] | None = None, runs: list[str] | None = None) -> Machine:
    """A key of this scope."""
    return Machine(ApiKey("k", b"", frozenset(), Scope.of(users), Scope.of(runs), None))


@pytest.mark.parametrize(
    ("caller", "covered"),
    [
        (NOBODY, []),
        (ANYBODY, ["alice r1", "alice r2", "bob r1"]),
        (user(), ["alice r1", "alice r2"]),
        (user("r1"), ["alice r1"]),
        (machine(), ["alice r1", "alice r2", "bob r1"]),
        (machine(users=["ali*"]), ["alice r1", "alice r2"]),
        (machine(runs=["r1"]), ["alice r1", "bob r1"]),
        (machine(["bob"], ["r1"]), ["bob r1"]),
    ],
)
def test_covers(caller: Caller, covered: list[str]) -> None:
    """A run is covered when its user is the caller's and, where runs are named, it is one of them."""
    asked = ["alice r1", "alice r2", "bob r1"]
    assert [each for each in asked if caller.covers(*each.split())] == covered


@pytest.mark.parametrize(
    ("caller", "runs", "meant"),
    [
        (ANYBODY, [], []),
        (user(), ["r1"], ["r1"]),
        (user("r2", "r1"), [], ["r1", "r2"]),
        (user("r2", "r1"), ["r2"], ["r2"]),
        (user("r1"), ["r1", "r2"], ["r1"]),
        (user("r1"), ["r2"], [NO_RUN]),
        (machine(), [], []),
        (machine(runs=["r*"]), ["r1", "r2"], ["r1", "r2"]),
    ],
)
def test_runs_within(caller: Caller, runs: list[str], meant: list[str]) -> None:
    """Whoever names no run means all of theirs; whoever names some means those, a user no others than are shown."""
    assert caller.runs_within(runs) == meant


@pytest.mark.parametrize(
    ("caller", "runs"),
    [(NOBODY, []), (machine(runs=["r*"]), []), (machine(runs=["r*"]), ["x"])],
)
def test_runs_beyond(caller: Caller, runs: list[str]) -> None:
    """A run that is not the caller's is forbidden by name, and so is meaning all of them with a part."""
    with pytest.raises(Forbidden) as caught:
        caller.runs_within(runs)

    assert caught.value.field == "run_id"


@pytest.mark.parametrize("caller", [NOBODY, user("r1"), machine(runs=["r1"]), machine(users=["bob"])])
def test_not_the_whole(caller: Caller) -> None:
    """Whoever may see a part of a user's runs has not the whole user."""
    with pytest.raises(Forbidden) as caught:
        caller.check_whole("alice")

    assert caught.value.field == "username"


@pytest.mark.parametrize("caller", [NOBODY, user(), machine(users=["a"]), machine(runs=["r"])])
def test_not_everything(caller: Caller) -> None:
    """Only a key without a scope may what concerns everybody."""
    machine().check_everything()
    with pytest.raises(Forbidden):
        caller.check_everything()


def test_who_is_meant() -> None:
    """A user who names nobody means themselves; everybody else must name somebody."""
    assert user().username == "alice"
    assert [caller.username for caller in (NOBODY, ANYBODY, machine())] == [None, None, None]


def test_rules() -> None:
    """A rule is open when nobody is asked, and says what it wants: never a hub's right where a lesser one does."""
    assert (OPEN.open, HUBS.open, TICKETS.open) == (True, False, False)
    assert HUBS.wanted() == "an API key with the right `hub`"
    assert READS.wanted() == LISTS.wanted() == "a user's token or an API key with the right `read`"
    assert WRITES.wanted() == "an API key with the right `write`"
    assert TICKETS.wanted() == "a user's token or an API key with the right `mint`"
    assert Rule(keys=frozenset({"read", "mint", "hub"})).wanted() == "an API key with the right `mint` or `read`"
