"""Which tokens hold no longer: what the database says, read every second into memory."""

import asyncio
import time
from collections.abc import Callable

import asyncpg
import structlog

from orchestrator_api.errors import Unavailable
from orchestrator_api.store import Reader
from orchestrator_api.tokens import Principal, Revocations

log = structlog.get_logger("orchestrator_api")

READ_S = 1.0  # seconds between readings: how long a revoked token may still be taken
PAGE = 10_000  # revocations in one reading
AFRESH_S = 86_400.0  # seconds after which all is read again: revoked tokens that have ended leave the memory, too
FORGET_S = 60.0  # seconds between rounds that remove what nobody can use any more


class Revoked:
    """The revocations that are known. `run` is its task; until the first reading nobody knows whom to refuse."""

    def __init__(self, reader: Reader, clock: Callable[[], float] = time.monotonic) -> None:
        self._reader = reader
        self._clock = clock
        self._afresh_at = 0.0
        self._known = Revocations()
        self._epoch: str | None = None
        self._number = 0  # of the last one that was read
        self._away = False
        self.count = 0  # of what was read since all was: a repeat counts again
        self.ready = False

    def __repr__(self) -> str:
        return f"<Revoked {self.count} read, the last is {self._number}{' AWAY' if self._away else ''}>"

    def revoked(self, principal: Principal) -> str:
        """Returns why this token holds no longer, a sentence; "" when it does. Raises Unavailable at first."""
        if not self.ready:
            raise Unavailable("store_away", "which tokens were revoked has not been read yet: try again")
        return self._known.revoked(principal)

    async def run(self) -> None:
        """Reads what is new, until cancelled. While the database is away, what is known holds."""
        forget_at = self._clock()
        while True:
            try:
                await self.read()
                if self._clock() >= forget_at:
                    forget_at = self._clock() + FORGET_S
                    await self._reader.fetch("forget_grants")
            except (Unavailable, asyncpg.PostgresError) as error:
                if not self._away:
                    log.warning("orchestrator.revocations_away", error=type(error).__name__)
                self._away = True
            else:
                if self._away:
                    log.info("orchestrator.revocations_back", number=self._number)
                self._away, self.ready = False, True
            await asyncio.sleep(READ_S)

    async def read(self) -> None:
        """Takes in what is new; once a day all of it, and forgets what the database has forgotten.

        Raises Unavailable or PostgresError; then what was known holds.
        """
        now = self._clock()
        afresh = now >= self._afresh_at
        known, number, count = (Revocations(), 0, 0) if afresh else (self._known, self._number, self.count)
        found = PAGE
        while found == PAGE:
            rows = await self._reader.fetch("revocations", number, PAGE)
            if rows[0]["epoch"] != self._epoch:
                # Other numbers: what was asked after means nothing. What is known stays refused, for a day more.
                self._epoch, self._number, self._afresh_at = rows[0]["epoch"], 0, now + AFRESH_S
                known, number, count, afresh = self._known, 0, self.count, False
                continue
            rows = [row for row in rows if row["number"] is not None]
            for row in rows:
                if row["username"] is not None:
                    known.add(row["username"], row["before"])
                else:
                    known.add_token(row["token_id"])
            found = len(rows)
            count += found
            number = rows[-1]["number"] if rows else number
        self._known, self._number, self.count = known, number, count
        if afresh:
            self._afresh_at = now + AFRESH_S
