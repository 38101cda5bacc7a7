"""./dev bench: what it makes of figures."""

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from fanout.wire import text_head
from tests.bench import chart, report, watch
from tests.bench.cases import SHORT, Cases
from tests.bench.report import BEGIN, CHECKS, END, Check, Results


def figures(**median: float) -> dict[str, Any]:
    """One round."""
    return {"median": median, "rounds": [median]}


RESULTS: Results = {
    "broadcast": {"runfeed": figures(cpu_us=7.0), "naive": figures(cpu_us=10.0)},
    "64 callers": {"runfeed": figures(a_second=2000.0), "naive": figures(a_second=1000.0)},
    "batches of 100": {"runfeed": figures(a_second=260.0)},
    "idle": {"runfeed": figures(socket_kib=9.0)},
}


def test_judged() -> None:
    """A check is a ratio of medians, of two servers or two cases, or a figure alone; without figures it is none."""
    found = {(check.work, check.of): (ratio, holds) for check, ratio, holds in report.judged(RESULTS, 1.0)}

    assert found == {
        ("broadcast, CPU a delivery", "naive"): (0.7, True),
        ("appends of 64 callers", "naive"): (2.0, False),
        ("batches of 100, in events", "naive"): (26.0, True),
        ("memory of an idle socket, KiB", ""): (9.0, False),
    }


@pytest.mark.parametrize(
    ("bounds", "ratio", "slack", "holds"),
    [
        ({"most": 0.8}, 0.8, 1.0, True),
        ({"most": 0.8}, 0.81, 1.0, False),
        ({"most": 0.8}, 1.0, 1.3, True),
        ({"most": 0.8}, 1.05, 1.3, False),
        ({"least": 2.5}, 2.4, 1.0, False),
        ({"least": 2.5}, 2.0, 1.3, True),
        ({"least": 2.5}, 1.9, 1.3, False),
    ],
)
def test_slack(bounds: dict[str, float], ratio: float, slack: float, holds: bool) -> None:
    """A short run may be worse by its slack, in either direction, and no more."""
    assert Check("", "", "", "", **bounds).holds(ratio, slack) is holds  # type: ignore[arg-type]


def test_gates() -> None:
    """The four ratios to the naive hub fail the benchmark, in its short form too."""
    gates = {(check.case, check.of): check.most for check in CHECKS if check.gate}

    assert gates == {
        ("broadcast", "naive"): 0.80, ("burst", "naive"): 0.10, ("unicast", "naive"): 0.60, ("idle", "naive"): 0.6,
    }  # fmt: skip
    assert {case for case, _ in gates} <= set(SHORT) <= set(Cases(1, short=True, peers=False).all)


def test_incomplete() -> None:
    """What we did not deliver, refused, closed or failed is told; what a peer did not is its own."""
    results: Results = {"burst": {"runfeed": figures(missing=3, refused=0, closed=1), "go": figures(missing=9)}}

    assert list(report.incomplete(results)) == ["burst, round 1: 3 missing", "burst, round 1: 1 closed"]


def test_publish(tmp_path: Path) -> None:
    """The README's section and its chart are made from the figures; nothing else of the README changes."""
    readme, picture = tmp_path / "README.md", tmp_path / "bench.svg"
    readme.write_text(f"before\n{BEGIN}old\n{END}after\n")
    report.publish(RESULTS, readme, picture)

    text = readme.read_text()
    assert (text.startswith(f"before\n{BEGIN}"), text.endswith(f"{END}after\n"), "old" in text) == (True, True, False)
    assert "| broadcast, CPU a delivery | 0.70 of naive | <= 0.8 | yes |" in text
    assert "| appends of 64 callers | 2.00 of naive | >= 2.5 | **no** |" in text
    assert "broadcast: Runfeed 7.0, naive 10.0" in picture.read_text()


@pytest.mark.parametrize("text", ["", BEGIN, BEGIN * 2 + END, END + BEGIN + END])
def test_publish_needs_its_markers(text: str, tmp_path: Path) -> None:
    """A README whose markers are missing, or stand twice, is not written over."""
    readme = tmp_path / "README.md"
    readme.write_text(text)
    with pytest.raises(ValueError, match="must have"):
        report.publish(RESULTS, readme, tmp_path / "bench.svg")

    assert readme.read_text() == text


def test_written(tmp_path: Path) -> None:
    """The JSON has all figures of all rounds, and the machine."""
    report.written(RESULTS, tmp_path / "bench.json")
    found = json.loads((tmp_path / "bench.json").read_text())

    assert found["cases"] == RESULTS
    assert set(found["machine"]) >= {"cores", "cpu", "memory_gib", "python"}


def test_chart() -> None:
    """A chart is well-formed, with a bar a value, the longest for the greatest."""
    tree = ET.fromstring(chart.drawn("a < b", {"x": {"ours": 1.0, "other": 4.0}, "y": {"ours": 2.0}}))  # noqa: S314 - ours
    widths = [float(bar.attrib["width"]) for bar in tree.iter("{http://www.w3.org/2000/svg}rect")]

    assert len(widths) == 3
    assert widths[1] == max(widths) == pytest.approx(4 * widths[0], abs=0.2)


@pytest.mark.parametrize("size", [0, 1, 125, 126, 300, 65535, 65536, 70000])
def test_extent(size: int) -> None:
    """Frames of every length are found in what a hub wrote, and a head that is not whole waits for the rest."""
    head = text_head(size)
    data = b"??" + head + b"x" * size

    start, length = watch.extent(data, 2)
    assert (data[start : start + length], start + length) == (b"x" * size, len(data))
    for cut in range(4, 2 + len(head)):
        start, length = watch.extent(data[:cut], 2)
        assert start + length > cut
