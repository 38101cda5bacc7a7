"""Threads, signals, forks and spawned processes: each event once, in its reporter's order, and no deadlock."""

import threading
from collections import defaultdict
from pathlib import Path

import pytest

from tests.integration.clients.conftest import Api, Gate, New, Start, journals

LOCAL_SECONDS = 10.0
WAIT_SECONDS = 30.0  # for a worker; a deadlock would last for ever

FORKS = """
import os
from runfeed import RunReporter
with RunReporter(flush_timeout=10) as run:
    for number in range(200):
        run.event("parent", number=number)
    children = []
    for child in range(3):
        pid = os.fork()
        if not pid:
            assert (run.sent, run.pending, run.dropped) == (0, 0, 0), run
            for number in range(200):
                run.event("child", child=child, number=number)
            raise SystemExit(0)  # through the with, and atexit
        children.append(pid)
    for number in range(200, 400):
        run.event("parent", number=number)
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0, 0, 0]
"""

HARD_EXITS = """
import os, time
from runfeed import RunReporter
with RunReporter(flush_timeout=10) as run:
    pid = os.fork()
    if not pid:
        run.event("child")
        os._exit(0)
    os.waitpid(pid, 0)
    run.completed()
    while not run.sent:  # not by flush(), which would look for the child's journal itself
        time.sleep(0.01)
"""

MULTIPROCESSING = """
import multiprocessing, os, sys
from runfeed import RunReporter

def work(run, child):
    for number in range(50):
        run.event("child", child=child, number=number)

def work_alone(child):
    work(RunReporter(flush_timeout=10), child)

if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[1])
    with RunReporter(flush_timeout=10) as run:
        run.event("parent", number=0)
        children = [context.Process(target=work, args=(run, child)) for child in range(2)]
        children.append(context.Process(target=work_alone, args=(2,)))
        for child in children:
            child.start()
        for child in children:
            child.join()
        assert [child.exitcode for child in children] == [0, 0, 0]
        assert len(os.listdir(os.environ["RUNFEED_SPILL"])) == 1  # the parent's: each child has sent its own
"""

BUSY_FORKS = """
import os, threading
from runfeed import RunReporter
run = RunReporter(flush_timeout=10)
done = threading.Event()
def report(name):
    number = 0
    while not done.is_set():
        run.event("thread", name=name, number=number)
        number += 1
threads = [threading.Thread(target=report, args=(name,)) for name in range(3)]
for thread in threads:
    thread.start()
for child in range(12):
    pid = os.fork()
    if not pid:
        run.event("child", child=child)
        run.close()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
done.set()
for thread in threads:
    thread.join()
run.close()
print(run.sent)
"""

IMPORTS = """
import sys
from runfeed import RunReporter
before = set(sys.modules)
with RunReporter(flush_timeout=10) as run:
    run.event("note")
    run.flush()
    run.event("Refused")
print(sorted(set(sys.modules) - before))
"""

SIGNALS = """
import itertools, signal
from runfeed import RunReporter
run = RunReporter(flush_timeout=10)
seen = itertools.count()
def handle(number, frame):
    run.event("signal", number=next(seen))
signal.signal(signal.SIGALRM, handle)
signal.setitimer(signal.ITIMER_REAL, 0.003, 0.003)
for number in range(3000):
    run.event("note", number=number)
signal.setitimer(signal.ITIMER_REAL, 0)
run.close()
print(next(seen))
"""


Numbers = dict[tuple[object, ...], list[int]]


def numbers(api: Api, run_id: str, *names: str) -> Numbers:
    """The `number` of each event, in order, by its type and some fields."""
    found: Numbers = defaultdict(list)
    for event in api.events(run_id):
        found[event["type"], *(event.get(name) for name in names)].append(event.get("number", 0))
    return dict(found)


def test_many_threads(api: Api, new: New, run_id: str) -> None:
    """Events of many threads are stored once each, each thread's in its order."""
    run = new()

    def report(name: int) -> None:
        for number in range(300):
            run.event("thread", name=name, number=number)

    threads = [threading.Thread(target=report, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert run.flush(LOCAL_SECONDS)
    assert numbers(api, run_id, "name") == {("thread", name): list(range(300)) for name in range(8)}


def test_forks(api: Api, gate: Gate, start: Start, run_id: str, spill: Path) -> None:
    """A forked child sends its own events, the parent its own, once; the run ends when the parent says so."""
    worker = start(FORKS, RUNFEED_URL=gate.url)
    output, errors = worker.communicate(timeout=WAIT_SECONDS)

    assert (worker.returncode, output, errors) == (0, "", "")
    expected: Numbers = {("child", child): list(range(200)) for child in range(3)}
    expected |= {("parent", None): list(range(400)), ("workflow_completed", None): [0]}
    assert numbers(api, run_id, "child") == expected
    assert journals(spill) == []


def test_a_child_that_just_ends(api: Api, start: Start, run_id: str, spill: Path) -> None:
    """What a forked child that ended hard had reported is stored before the run's end."""
    worker = start(HARD_EXITS)
    output, errors = worker.communicate(timeout=WAIT_SECONDS)

    assert (worker.returncode, output, errors) == (0, "", "")
    assert [event["type"] for event in api.events(run_id)] == ["child", "workflow_completed"]
    assert journals(spill) == []


def test_forks_while_threads_report(api: Api, start: Start, run_id: str, spill: Path) -> None:
    """A fork in the middle of other threads' reports and requests deadlocks neither side, and doubles nothing."""
    worker = start(BUSY_FORKS)
    output, errors = worker.communicate(timeout=WAIT_SECONDS)

    assert (worker.returncode, errors) == (0, "")
    found = numbers(api, run_id, "name", "child")
    assert all(each == list(range(len(each))) for key, each in found.items() if key[0] == "thread")
    assert sum(len(each) for key, each in found.items() if key[0] == "thread") == int(output)
    assert len([key for key in found if key[0] == "child"]) == 12
    assert journals(spill) == []


def test_nothing_is_imported_later(api: Api, start: Start) -> None:
    """A reporter's thread imports nothing: a child that is forked meanwhile would wait for the import for ever."""
    worker = start(IMPORTS)

    assert worker.communicate(timeout=WAIT_SECONDS)[0] == "[]\n"


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_multiprocessing(api: Api, start: Start, run_id: str, spill: Path, tmp_path: Path, method: str) -> None:
    """Processes of multiprocessing report, with the parent's reporter and with one of their own."""
    script = tmp_path / "work.py"
    script.write_text(MULTIPROCESSING)
    worker = start(command=[str(script), method])
    output, errors = worker.communicate(timeout=WAIT_SECONDS)

    assert (worker.returncode, output, errors) == (0, "", "")
    expected: Numbers = {("child", child): list(range(50)) for child in range(3)}
    assert numbers(api, run_id, "child") == {**expected, ("parent", None): [0], ("workflow_completed", None): [0]}
    assert journals(spill) == []


def test_reports_in_a_signals_handler(api: Api, start: Start, run_id: str) -> None:
    """A signal's handler may report while it interrupts a report: nothing hangs, nothing is lost."""
    worker = start(SIGNALS)
    output, errors = worker.communicate(timeout=WAIT_SECONDS)

    assert (worker.returncode, errors) == (0, "")
    assert int(output) > 5
    found = numbers(api, run_id)
    assert found["note",] == list(range(3000))
    assert sorted(found["signal",]) == list(range(int(output)))  # a handler may interrupt a handler
