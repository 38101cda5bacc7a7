"""What the checks of the API's answers found, gathered from all processes of a test session. Standard library only.

VARIABLE names a directory of the session's. Each process that checks has a file of counts there, mapped into its
memory, so that a kill loses none; what it finds is a line in FAULTS.
"""

import os
import secrets
from array import array
from collections import Counter
from dataclasses import dataclass
from mmap import mmap
from pathlib import Path

VARIABLE = "RUNFEED_CHECKED_ANSWERS"
FAULTS = "faults"
SHOWN = 30  # different faults in a report
PAGE = 4096  # bytes of a file of counts: a document of 512 operations


class Ledger:
    """Where one process writes down what it checks. directory: the session's."""

    def __init__(self, directory: Path) -> None:
        path = directory / f"{os.getpid()}-{secrets.token_hex(4)}.counts"
        path.write_bytes(bytes(PAGE))
        with path.open("r+b") as file:
            self._counts = memoryview(mmap(file.fileno(), PAGE)).cast("Q")
        self._faults = os.open(directory / FAULTS, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def checked(self, operation: int) -> None:
        """An answer of this operation was looked at. operation: its place in the document, 0 for none of it."""
        self._counts[operation] += 1

    def fault(self, text: str) -> None:
        """An answer is not what the document says."""
        test = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" ")[0]
        os.write(self._faults, f"{text.replace(os.linesep, ' ')}\t{test}\n".encode(errors="backslashreplace"))


@dataclass(frozen=True)
class Findings:
    """What a session's processes have found. operations: how many were answered at all."""

    answers: int
    operations: int
    faults: Counter[str]
    tests: dict[str, str]  # one that saw it, by fault

    @classmethod
    def of(cls, directory: Path) -> "Findings":
        """Reads what is there."""
        totals = [0] * (PAGE // 8)
        for path in directory.glob("*.counts"):
            counts = array("Q", path.read_bytes())
            totals = [total + count for total, count in zip(totals, counts, strict=True)]
        found = directory / FAULTS
        lines = [line.split("\t") for line in found.read_text().splitlines()] if found.exists() else []
        faults = Counter(line[0] for line in lines)
        return cls(sum(totals), sum(1 for count in totals[1:] if count), faults, {line[0]: line[-1] for line in lines})

    def report(self) -> list[str]:
        """What to tell: a line, and one for each different fault."""
        lines = [f"openapi: {self.answers} answers of {self.operations} operations checked"]
        if self.faults:
            lines[0] += f", {self.faults.total()} are not what the document says:"
        for fault, count in self.faults.most_common(SHOWN):
            lines.append(f"  {count} x {fault}" + (f"   [{self.tests[fault]}]" if self.tests[fault] else ""))
        if len(self.faults) > SHOWN:
            lines.append(f"  and {len(self.faults) - SHOWN} others")
        return lines
