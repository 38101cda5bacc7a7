"""Which tokens hold no longer: what the database says, read every second into memory."""

import asyncio
import time

import asyncpg
import structlog

from orchestrator_api.errors import Unavailable
from orchestrator_api.store import Reader
from orchestrator_api.tokens import Principal, Revocations

log = structlog.get_logger("orchestrator_api")

READ_S = 1.0  # seconds between readings: how long a revoked token may still be taken
PAGE = 10_000  # revocations in one reading
FORGET_S = 60.0  # seconds between rounds that remove what nobody can use any more


class Revoked:
    """The revocations that are known. `run` is its task; until the first reading nobody knows whom to refuse."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._known = Revocations()
        self._epoch: str | None = None
        self._number = 0  # of the last one that was read
        self._away = False
        self.count = 0  # of what was read: a repeat counts again
        self.ready = False

    def __repr__(self) -> str:
        return f"<Revoked {self.count} read, the last is {self._number}{' AWAY' if self._away else ''}>"

    def revoked(self, principal: Principal) -> bool:
        """True when this token holds no longer. Raises Unavailable before the first reading."""
        if not self.ready:
            raise Unavailable("store_away", "which tokens were revoked has not been read yet: try again")
        return self._known.revoked(principal)

    async def run(self) -> None:
        """Reads what is new, until cancelled. While the database is away, what is known holds."""
        forget_at = time.monotonic()
        while True:
            try:
                while await self._read() == PAGE:
                    pass
                if time.monotonic() >= forget_at:
                    forget_at = time.monotonic() + FORGET_S
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

    async def _read(self) -> int:
        """Takes in a page. Returns how many revocations it had."""
        rows = await self._reader.fetch("revocations", self._number, PAGE)
        epoch = rows[0]["epoch"]
        if epoch != self._epoch:
            again = self._epoch is not None
            self._epoch = epoch
            if again:  # other numbers: what this page was asked after means nothing. What is known stays refused
                self._number = 0
                return PAGE
        found = [row for row in rows if row["number"] is not None]
        for row in found:
            if row["username"] is not None:
                self._known.add(row["username"], row["before"])
            else:
                self._known.add_token(row["token_id"])
        self.count += len(found)
        self._number = found[-1]["number"] if found else self._number
        return len(found)
