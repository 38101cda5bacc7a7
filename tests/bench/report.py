"""What was measured: ratios and what they must be, JSON, a table, and the README's section with its chart."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.local.place import CHECKOUT
from tests.bench import chart, machine

README = CHECKOUT / "README.md"
CHART = CHECKOUT / "docs" / "bench.svg"
BEGIN, END = "<!-- bench -->\n", "<!-- /bench -->\n"
# {case: {server: {"median": figures, "rounds": [figures]}}}
Results = dict[str, dict[str, dict[str, Any]]]
NAMES = {"runfeed": "Runfeed", "naive": "naive", "go": "Go", "floor": "C floor", "nchan": "Nchan", "aiohttp": "aiohttp"}


@dataclass(frozen=True)
class Check:
    """A figure of ours beside another's, or alone.

    Fields:
        work: what is compared, in words.
        case, figure: which of ours.
        of: whose; "": ours must itself be within the bound.
        other: their case, where it is another.
        most, least: what the ratio (or the figure) may be at most, must be at least; one of them is 0.
        scale: by which ours is multiplied: the events of a request.
        gate: without it the benchmark fails.
    """

    work: str
    case: str
    figure: str
    of: str
    most: float = 0.0
    least: float = 0.0
    other: str = ""
    scale: float = 1.0
    gate: bool = False

    def ratio(self, results: Results) -> float | None:
        """None when one of the two was not measured."""
        ours = self._median(results, self.case, "runfeed")
        theirs = self._median(results, self.other or self.case, self.of) if self.of else 1.0
        return ours * self.scale / theirs if ours is not None and theirs else None

    def holds(self, ratio: float, slack: float) -> bool:
        """slack: 1, or what a short run is allowed."""
        return ratio <= self.most * slack if self.most else ratio >= self.least / slack

    def bound(self) -> str:
        """In a few signs."""
        return f"<= {self.most:g}" if self.most else f">= {self.least:g}"

    def _median(self, results: Results, case: str, server: str) -> float | None:
        found = results.get(case, {}).get(server)
        return None if found is None else found["median"].get(self.figure)


CHECKS = (
    Check("broadcast, CPU a delivery", "broadcast", "cpu_us", "naive", most=0.80, gate=True),
    Check("broadcast, CPU a delivery", "broadcast", "cpu_us", "go", most=0.75),
    Check("broadcast, CPU a delivery", "broadcast", "cpu_us", "floor", most=1.35),
    Check("broadcast, CPU a delivery", "broadcast", "cpu_us", "nchan", most=1.0),
    Check("bursts of 20, CPU a delivery", "burst", "cpu_us", "naive", most=0.10, gate=True),
    Check("bursts of 20, CPU a delivery", "burst", "cpu_us", "go", most=0.25),
    Check("unicast, CPU a delivery", "unicast", "cpu_us", "naive", most=0.60, gate=True),
    Check("unicast, CPU a delivery", "unicast", "cpu_us", "go", most=0.75),
    Check("unicast, CPU a delivery", "unicast", "cpu_us", "floor", most=1.6),
    Check("unicast, CPU a delivery", "unicast", "cpu_us", "nchan", most=1.0),
    Check("mixed, CPU a delivery", "mixed", "cpu_us", "go", most=0.8),
    Check("memory of an idle socket", "idle", "socket_kib", "naive", most=0.6, gate=True),
    Check("memory of an idle socket, KiB", "idle", "socket_kib", "", most=8.0),
    Check("CPU of idle sockets", "idle", "idle_cpu_s", "go", most=1.0),
    Check("CPU of a handshake, all at once", "at once", "handshake_us", "go", most=1.3),
    Check("CPU of a handshake, one by one", "one by one", "handshake_us", "go", most=1.3),
    Check("compressed, CPU a delivery", "compressed", "cpu_us", "runfeed", most=1.1, other="plain"),
    Check("compressed, bytes on the wire", "compressed", "bytes", "runfeed", most=0.5, other="plain"),
    Check("two cores beside one, broadcast", "two cores, broadcast", "scaling", "", least=1.8),
    Check("two cores beside one, unicast", "two cores, unicast", "scaling", "", least=1.8),
    Check("two cores beside one, unicast, busy", "two cores, busy", "scaling", "", least=1.8),
    Check("one append at a time, p50", "one caller", "p50_ms", "naive", most=1.0),
    Check("appends of 64 callers", "64 callers", "a_second", "naive", least=2.5),
    Check("appends of 64 callers", "64 callers", "a_second", "aiohttp", least=0.4, other="empty"),
    Check("batches of 100, in events", "batches of 100", "a_second", "naive", least=25, other="64 callers", scale=100),
    Check("one hot run", "one hot run", "a_second", "runfeed", least=0.8, other="64 callers"),
    Check("one hot user", "one hot user", "a_second", "runfeed", least=0.8, other="64 callers"),
    Check("poll, unchanged", "poll, unchanged", "a_second", "aiohttp", least=0.6, other="empty"),
    Check("poll, 30 events", "poll, 30 events", "a_second", "aiohttp", least=0.4, other="empty"),
    Check("history of 100,000 events, MiB", "history", "grown_mib", "", most=16),
    Check("10,000 heads beside one, time", "10,000 heads", "p50_ms", "runfeed", most=80, other="one head"),
    Check("10,000 sockets beside 1,000", "growth", "cpu_us", "runfeed", most=1.2, other="broadcast"),
    Check("the seed's load, p99 in ms", "seed", "p99_ms", "", most=250),
    Check("memory after 100,000 sockets", "leak", "grown", "", most=1.02),
)


def judged(results: Results, slack: float) -> Iterator[tuple[Check, float, bool]]:
    """Each check that was measured, its ratio, and whether it holds."""
    for check in CHECKS:
        ratio = check.ratio(results)
        if ratio is not None:
            yield check, ratio, check.holds(ratio, slack)


def incomplete(results: Results) -> Iterator[str]:
    """What did not arrive, was refused or failed with us, in words; a peer that drops frames fails nobody."""
    for case, servers in results.items():
        for number, one in enumerate(servers.get("runfeed", {"rounds": []})["rounds"], 1):
            for what in ("missing", "refused", "closed", "failed"):
                if one.get(what):
                    yield f"{case}, round {number}: {one[what]:.0f} {what}"


def line(check: Check, ratio: float, holds: bool) -> str:
    """For a terminal."""
    verdict = "" if holds else "FAILED" if check.gate else "missed"
    of = f"of {NAMES[check.of]}'s" if check.of else ""
    return f"{check.work:32} {ratio:7.2f} {of:14} {check.bound():8} {verdict}".rstrip()


def written(results: Results, path: Path) -> None:
    """All figures of all rounds, with the machine."""
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    path.write_text(json.dumps({"at": now, "machine": machine.described(), "cases": results}, indent=1) + "\n")


def markdown(results: Results) -> str:
    """The README's section, between its markers."""
    told = machine.described()
    rows = [
        f"| {check.work} | {ratio:.2f}{f' of {NAMES[check.of]}' if check.of else ''} | {check.bound()} "
        f"| {'yes' if holds else '**no**'} |"
        for check, ratio, holds in judged(results, 1.0)
    ]
    table = ["| work | measured | target | reached |", "|---|---|---|---|", *rows]
    where = f"{told['cores']} cores, {told['memory_gib']} GiB, {told['system']}, Python {told['python']}"
    picture = "![CPU of a delivery, by hub and kind of load](docs/bench.svg)"
    return f"\nMeasured on {where}.\n\n{picture}\n\n" + "\n".join(table) + "\n\n"


def publish(results: Results, readme: Path = README, picture: Path = CHART) -> None:
    """Puts the table between the README's markers, and the chart beside it; ValueError when they are not there once."""
    text = readme.read_text()
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise ValueError(f"the README must have {BEGIN.strip()} and {END.strip()} once, each on a line of its own")
    before, rest = text.split(BEGIN)
    readme.write_text(before + BEGIN + markdown(results) + END + rest.split(END)[1])
    bars: dict[str, dict[str, float]] = {
        case: {NAMES[server]: results[case][server]["median"]["cpu_us"] for server in NAMES if server in results[case]}
        for case in ("broadcast", "burst", "unicast", "mixed")
        if case in results
    }
    picture.write_text(chart.drawn("CPU of a delivery, microseconds", bars))
