"""The rows of the matrix. Importing this enters them all; `ASKED` names those that there must be."""

from tests.fault.rows import hubs, lines, postgres, producers, redis, strangers
from tests.fault.world import ROWS

__all__ = ["ASKED", "ROWS", "hubs", "lines", "missing", "postgres", "producers", "redis", "strangers"]

ASKED = (
    "1", "2", "4", "6", "7", "8", "10", "11", "11b", "12", "13", "14", "17", "17b", "18", "18b", "18c", "19", "20",
    "21", "23", "24", "25", "27", "28", "30", "31", "31b", "32", "33", "34", "37", "38", "44", "45", "47", "50",
    "api-stopped", "crash", "forged", "half-open", "old-snapshot", "promotion",
)  # fmt: skip


def missing() -> list[str]:
    """Rows that were asked for and are not there."""
    return [number for number in ASKED if number not in ROWS]
