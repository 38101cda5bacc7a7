"""Who asks, and what they may. Pure: `guard` finds out who it is, the calls ask here.

A call's Rule says who may make it at all, and stands beside the call in `serve.routes`. To whose users and runs is for
the caller to say: what is beyond that is 404 where a run is named, as if it did not exist, and 403 where a user is.

Caller      nobody: reads and writes nothing
+-- Anybody insecure mode: whoever comes is believed
+-- User    a token's: what is theirs, and of that only the token's runs if it names some
+-- Machine an API key's: what is in its scope
"""

from dataclasses import dataclass

from orchestrator_api.errors import Forbidden
from orchestrator_api.keys import ApiKey
from orchestrator_api.tokens import Principal


@dataclass(frozen=True, slots=True)
class Rule:
    """Who may make a call. users: whoever has a token. keys: an API key with one of these rights."""

    users: bool = False
    keys: frozenset[str] = frozenset()

    @property
    def open(self) -> bool:
        """True when nobody is asked who they are."""
        return not self.users and not self.keys

    def wanted(self) -> str:
        """Returns in words what the call needs."""
        # A hub's right is all of everybody's: nobody is to ask for that first.
        rights = self.keys - {"hub"} or self.keys
        key = f"an API key with the right {' or '.join(f'`{right}`' for right in sorted(rights))}"
        return f"a user's token or {key}" if self.users else key


NO_RUN = ""  # the name of none

OPEN = Rule()
WRITES = Rule(keys=frozenset({"write"}))
READS = Rule(users=True, keys=frozenset({"read", "hub"}))
LISTS = Rule(users=True, keys=frozenset({"read"}))
HUBS = Rule(keys=frozenset({"hub"}))
MINTS = Rule(keys=frozenset({"mint"}))
TICKETS = Rule(users=True, keys=frozenset({"mint"}))
REVOKES = Rule(keys=frozenset({"revoke"}))


class Caller:
    """Nobody in particular."""

    __slots__ = ()

    @property
    def username(self) -> str | None:
        """Who is meant when nobody is named; None: somebody must be."""
        return None

    def covers(self, username: str, run_id: str) -> bool:
        """True when this user's run is one for the caller."""
        return False

    def check_user(self, username: str) -> None:
        """Raises Forbidden when this user is none for the caller."""
        raise Forbidden("username", "is not for this caller")

    def runs_within(self, run_ids: list[str]) -> list[str]:
        """Returns the runs of a user that are meant by naming these, or none: again none for all of them.

        To a user another run is as one that is not there: it is left out. A key must be right about its scope: raises
        Forbidden when one of them is out of it, or all are meant and are not in it.
        """
        raise Forbidden("run_id", "is not for this caller")

    @property
    def partial(self) -> bool:
        """True when only some of a user's runs are for the caller."""
        return True

    def check_whole(self, username: str) -> None:
        """Raises Forbidden when not everything of this user is for the caller."""
        self.check_user(username)
        if self.partial:
            raise Forbidden("username", "is for this caller in part only: name runs")

    def no_later_than(self, until: float) -> float:
        """Returns when what the caller gives away ends, if it is to end then: unix seconds."""
        return until

    def check_everything(self) -> None:
        """Raises Forbidden when not everything of everybody is for the caller."""
        raise Forbidden(None, "this is for API keys that were made for all users and all runs")


class Anybody(Caller):
    """Whoever comes, in insecure mode."""

    __slots__ = ()

    def covers(self, username: str, run_id: str) -> bool:
        """True."""
        return True

    def check_user(self, username: str) -> None:
        """Nothing is forbidden."""

    def runs_within(self, run_ids: list[str]) -> list[str]:
        """Returns them."""
        return run_ids

    @property
    def partial(self) -> bool:
        """False."""
        return False


@dataclass(frozen=True, slots=True)
class User(Caller):
    """Somebody with a token."""

    principal: Principal

    @property
    def username(self) -> str:
        """They themselves."""
        return self.principal.username

    def covers(self, username: str, run_id: str) -> bool:
        """True when it is their own run, and among the token's."""
        runs = self.principal.runs
        return username == self.principal.username and (runs is None or run_id in runs)

    def check_user(self, username: str) -> None:
        """Raises Forbidden for anybody else."""
        if username != self.principal.username:
            raise Forbidden("username", "must be the token's own, or left out")

    def runs_within(self, run_ids: list[str]) -> list[str]:
        """Returns those that the token shows; all of these when none is named."""
        runs = self.principal.runs
        if runs is None:
            return run_ids
        return [run_id for run_id in run_ids if run_id in runs] or ([NO_RUN] if run_ids else sorted(runs))

    @property
    def partial(self) -> bool:
        """True when the token names runs."""
        return self.principal.runs is not None


@dataclass(frozen=True, slots=True)
class Machine(Caller):
    """A program with an API key."""

    key: ApiKey

    def covers(self, username: str, run_id: str) -> bool:
        """True when both are in the key's scope."""
        users, runs = self.key.users, self.key.runs
        return (users is None or username in users) and (runs is None or run_id in runs)

    def check_user(self, username: str) -> None:
        """Raises Forbidden for a user out of scope."""
        if self.key.users is not None and username not in self.key.users:
            raise Forbidden("username", "is out of this key's scope")

    def runs_within(self, run_ids: list[str]) -> list[str]:
        """Returns them: a key that is for some runs must name them."""
        runs = self.key.runs
        if runs is not None and not (run_ids and all(run_id in runs for run_id in run_ids)):
            raise Forbidden("run_id", "must be given, and be in this key's scope")
        return run_ids

    @property
    def partial(self) -> bool:
        """True when the key is for some runs."""
        return self.key.runs is not None

    def no_later_than(self, until: float) -> float:
        """Returns that, or when the key itself ends: what it gave does not outlive it."""
        return until if self.key.expires_at is None else min(until, self.key.expires_at)

    def check_everything(self) -> None:
        """Raises Forbidden when the key has a scope."""
        if self.key.users is not None or self.key.runs is not None:
            raise Forbidden(None, "this is for API keys that were made for all users and all runs")


NOBODY = Caller()
ANYBODY = Anybody()
