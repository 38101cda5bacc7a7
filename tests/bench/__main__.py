"""./dev bench: see the package."""

from __future__ import annotations

import argparse
import resource
import sys
import time
from pathlib import Path

from tests.bench import report
from tests.bench.cases import SHORT, Cases
from tests.bench.report import Results
from tests.bench.servers import NCHAN_MODULE, Bench

SLACK = 1.3  # by which the short form's ratios may be worse


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser("./dev bench", description="What the services cost, beside what naive ones cost.")
    parser.add_argument("--short", action="store_true", help="two minutes: less of each, and ratios a third wider")
    parser.add_argument("--peers", type=Path, metavar="DIR", help="also measure gohub and limithub of DIR, and Nchan")
    parser.add_argument("--only", action="append", metavar="CASE", help="this case alone; may be given again")
    parser.add_argument("--rounds", type=int, help="of each case: 3, or 1 in the short form")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    parser.add_argument("--readme", action="store_true", help="write the table and the chart of the README anew")
    asked = parser.parse_args()
    if unknown := set(asked.only or ()) - set(Cases(1, short=False, peers=False).all):
        parser.error(f"--only: there is no case {', '.join(sorted(unknown))}")
    return asked


def say(text: str = "") -> None:
    """A line, at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def measured(asked: argparse.Namespace) -> Results:
    """All that was asked for, each case told as it ends."""
    cases = Cases(asked.rounds or (1 if asked.short else 3), asked.short, asked.peers is not None)
    results: Results = {}
    if asked.peers and not NCHAN_MODULE.exists():
        say("NOT MEASURED: Nchan (Debian: apt-get install nginx-light libnginx-mod-nchan)")
    with Bench(asked.peers) as bench:
        for name, measure in cases.all.items():
            if name not in (asked.only or (SHORT if asked.short else [name])):
                continue
            began = time.monotonic()
            found = measure(bench)
            say(f"{name}: {time.monotonic() - began:.0f} s")
            for case, servers in found.items():
                for server, figures in servers.items():
                    told = "  ".join(f"{each} {value:.5g}" for each, value in figures["median"].items())
                    say(f"  {case:16} {report.NAMES[server]:8} {told}")
            results |= found
    return results


def main() -> int:
    """Fails when something of ours did not arrive, or a gate is shut."""
    asked = arguments()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    results = measured(asked)
    if asked.json:
        report.written(results, asked.json)
    failed = list(report.incomplete(results))
    say()
    for check, ratio, holds in report.judged(results, SLACK if asked.short else 1.0):
        say(report.line(check, ratio, holds))
        if check.gate and not holds:
            failed.append(f"{check.work}: {ratio:.2f} is not {check.bound()}")
    if asked.readme:
        report.publish(results)
    for text in failed:
        say(f"FAILED: {text}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
