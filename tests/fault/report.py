"""What was measured, as a table."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from deploy.local.place import CHECKOUT
from tests.fault import checker
from tests.fault.runner import Result

README = CHECKOUT / "README.md"
BEGIN, END = "<!-- faults -->\n", "<!-- /faults -->\n"
HEAD = ("row", "fault", "events", "lost", "repeated", "out of order", "foreign", "time to caught up (bound)")
OTHERS = (
    checker.NEVER_STORED, checker.STORED_TWICE, checker.HISTORY_HOLE, checker.UNCOMMITTED, checker.DIFFERING,
)  # fmt: skip
WIDTHS = (12, 58, 7, 6, 9, 13, 20, 26)


def cells(result: Result) -> tuple[str, ...]:
    """A result's line."""
    counts, row = result.verdict.counts, result.row
    again = "" if result.again is None else f", again alone {result.again:.1f}"
    what = "slowest event " if row.measure == "delay" else ""
    return (
        row.number,
        row.name,
        str(result.verdict.events),
        *(str(counts[kind]) for kind in (checker.LOST, checker.REPEATED, checker.DISORDER)),
        f"{counts[checker.FOREIGN]} of {result.verdict.frames} frames",
        f"{what}{result.took:.1f} s{again} ({row.bound:g} s)",
    )


def line(values: tuple[str, ...]) -> str:
    """For a terminal."""
    return "  ".join(value.ljust(width) for value, width in zip(values, WIDTHS, strict=True)).rstrip()


def complaints(result: Result) -> list[str]:
    """Everything that was wrong with a row, in words."""
    found = [f"{kind}: {result.verdict.counts[kind]}" for kind in OTHERS if result.verdict.counts[kind]]
    examples = [f"{kind}: {text}" for kind, texts in result.verdict.examples.items() for text in texts]
    late = [] if result.in_time else [f"took {result.took:.1f} s, and {result.row.bound:g} s is the bound"]
    return [*found, *examples, *result.failed, *late]


def shown(result: Result) -> str:
    """A row as it is printed when it is done."""
    state = "passed" if result.passed else "FAILED"
    lines = [f"{line(cells(result))}  {state} in {result.seconds:.0f} s"]
    lines += [f"    ! {text}" for text in complaints(result)]
    lines += [f"    . {text}" for text in result.notes]
    return "\n".join(lines)


def machine() -> str:
    """What it was measured on."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    system = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
    return f"{os.cpu_count()} cores, {memory:.0f} GiB, {system}"


def markdown(results: list[Result], servers: str, missing: list[str]) -> str:
    """The README's section, between its markers."""
    rows = ["| " + " | ".join(cells(result)) + " |" for result in results]
    table = ["| " + " | ".join(HEAD) + " |", "|" + "---|" * len(HEAD), *rows]
    lacking = f"\nRows that are missing: {', '.join(missing)}.\n" if missing else ""
    return f"\nMeasured on {machine()}, {servers}.\n\n" + "\n".join(table) + f"\n{lacking}\n"


def write(results: list[Result], servers: str, missing: list[str], readme: Path = README) -> None:
    """Puts the table between the README's markers; ValueError when they are not there once."""
    text = readme.read_text()
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise ValueError(f"the README must have {BEGIN.strip()} and {END.strip()} once, each on a line of its own")
    before, rest = text.split(BEGIN)
    readme.write_text(before + BEGIN + markdown(results, servers, missing) + END + rest.split(END)[1])
