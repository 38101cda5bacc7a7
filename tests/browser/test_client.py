"""`runfeed/react` in a real React (StrictMode) and a real Chromium, against the real services."""

import secrets

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.browser.driver import Browser, State, Tab
from tests.browser.stack import Stack, call

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]

THIRTY = ["workflow_started", *["node_completed"] * 28, "workflow_completed"]


class Watched:
    """A run and a page that watches it."""

    def __init__(self, stack: Stack, browser: Browser, *, prepare: str = "", seq: int = 0) -> None:
        token = secrets.token_hex(4)
        self.run_id, self.username = f"client:{token}", f"user-{token}"
        self.stack = stack
        stack.new_run(self.run_id, self.username)
        self.tab: Tab = browser.open(f"{stack.site}/client.html?username=nobody")
        if prepare == "block":
            self.tab.block()
        elif prepare in ("drop", "die"):
            self.tab.drop(seq, silent=prepare == "die")
        self.tab.goto(stack.page(self.run_id, self.username, of="client.html"))
        if prepare != "block":
            self.tab.by("websocket")

    def append(self, *types: str) -> None:
        """A worker reports."""
        self.stack.append(self.run_id, *types)

    def revealed(self) -> float:
        """What polls brought that no socket had, as the API counts it."""
        metrics = call(self.stack.environ["API_ADMIN_PORT"], "GET", "/metrics").decode()
        return sum(
            sample.value
            for family in text_string_to_metric_families(metrics)
            for sample in family.samples
            if sample.name == "orchestrator_polls_total" and sample.labels["outcome"] == "revealed"
        )


def numbers(state: State) -> list[int]:
    """The events on the page; AssertionError when the page complained."""
    assert state.errors == []
    return state.seqs


def test_a_healthy_run_makes_no_poll(stack: Stack, browser: Browser, capsys: pytest.CaptureFixture[str]) -> None:
    """Thirty events a second apart: one history, no poll, and nothing that only a poll revealed."""
    watched = Watched(stack, browser)
    before = watched.tab.shown(0).requests
    for number, kind in enumerate(THIRTY, start=1):
        watched.tab.let_pass(1.0, why="the run's own pace")
        watched.append(kind)
        watched.tab.shown(number)
    after = watched.tab.let_pass(5.0, why="a poll that the end did not call off would come in it")

    assert numbers(after) == list(range(1, 31))
    assert after.terminal
    assert after.causes == []
    assert after.polls == [200], "the history, once"
    assert watched.revealed() == 0
    with capsys.disabled():
        print(  # noqa: T201 - the figure that docs/clients.md has
            f"\nrequests of a page in the 30 s of a run, its socket working: {after.requests - before}; "
            "a minute of the seed's pages: 32 by polling alone, 3 with its hook"
        )


def test_a_lost_frame_is_there_within_five_seconds(stack: Stack, browser: Browser) -> None:
    """A frame that is lost between hub and page, with silence after it, comes by one poll."""
    watched = Watched(stack, browser, prepare="drop", seq=3)
    watched.append("workflow_started", "node_completed")
    watched.tab.shown(2)
    watched.append("node_completed")
    watched.tab.let_pass(5.0, why="the promise is five seconds")
    after = watched.tab.shown(0)
    watched.append("node_completed", "workflow_completed")

    assert numbers(after) == [1, 2, 3]
    assert after.causes == ["ws_idle"]
    assert numbers(watched.tab.shown(5)) == [1, 2, 3, 4, 5]
    assert watched.revealed() == 1, "the counter is a leak detector"


def test_polls_take_over_from_a_dead_socket(stack: Stack, browser: Browser) -> None:
    """The socket dies without a word and the run goes on: a poll 4 s after the last event, and 4 s after each poll."""
    watched = Watched(stack, browser, prepare="die", seq=2)
    watched.append("workflow_started")
    watched.tab.shown(1)
    for number in range(2, 4):
        watched.append("node_completed")
        watched.tab.let_pass(1.0, why="the run's own pace: it goes on between the polls")
        watched.tab.shown(number)
    watched.append("workflow_completed")
    ended = watched.tab.ended()
    after = watched.tab.let_pass(6.0, why="polls that the end did not stop would come in it")

    assert numbers(after) == [1, 2, 3, 4]
    assert after.causes == ended.causes == ["ws_idle"] * 3
    assert len(after.sockets) == 1, "it looked alive"


def test_a_hole_is_filled_before_what_is_behind_it(stack: Stack, browser: Browser) -> None:
    """A frame is lost and others follow at once: the page shows them in order, after one poll."""
    watched = Watched(stack, browser, prepare="drop", seq=3)
    watched.append("workflow_started", "node_completed", "node_completed", "node_completed", "workflow_completed")
    after = watched.tab.ended()

    assert numbers(after) == [1, 2, 3, 4, 5]
    assert after.causes == ["ws_gap"]


def test_polls_carry_a_run_to_its_end(stack: Stack, browser: Browser) -> None:
    """Where no stream can be opened, polls show the whole run, and stop with it."""
    watched = Watched(stack, browser, prepare="block")
    for number in range(1, 4):
        watched.append("node_completed")
        watched.tab.shown(number)
    watched.append("workflow_completed")
    ended = watched.tab.ended()
    after = watched.tab.let_pass(6.0, why="polls that the end did not stop would come in it")

    assert after.seqs == [1, 2, 3, 4]
    assert ended.transport == "poll"
    assert set(after.causes) == {"ws_never"}
    assert 1 <= len(after.causes) <= 5
    assert after.polls == ended.polls
    assert [len(socket.frames) for socket in after.sockets] == [0] * len(after.sockets)


def test_hidden_and_shown(stack: Stack, browser: Browser) -> None:
    """A hidden tab keeps its socket; shown again it has everything, and has opened no second one."""
    watched = Watched(stack, browser)
    watched.append("workflow_started")
    watched.tab.shown(1)
    watched.tab.visible(False)
    watched.append("node_completed", "node_completed")
    watched.tab.let_pass(1.0, why="frames arrive while nobody looks")
    watched.tab.visible(True)
    watched.append("workflow_completed")
    after = watched.tab.ended()

    assert numbers(after) == [1, 2, 3, 4]
    assert len(after.sockets) == 1
    assert after.causes == []


def test_offline_and_online(stack: Stack, browser: Browser) -> None:
    """The network goes for a while: the page has what happened meanwhile within two seconds of its return."""
    watched = Watched(stack, browser)
    watched.append("workflow_started")
    watched.tab.shown(1)
    watched.tab.online(False)
    watched.append("node_completed", "node_completed")
    watched.tab.let_pass(6.0, why="long enough for a poll that fails")
    watched.tab.online(True)
    watched.tab.let_pass(2.0, why="what is promised")
    back = watched.tab.shown(0)
    watched.append("workflow_completed")

    assert back.seqs == [1, 2, 3]
    assert watched.tab.ended().seqs == [1, 2, 3, 4]
    assert watched.tab.by("websocket").terminal


def test_strict_mode_opens_one_socket(stack: Stack, browser: Browser) -> None:
    """Two components under StrictMode, each mounted twice, share one socket; each run has its own events."""
    watched = Watched(stack, browser)
    other = f"{watched.run_id}:other"
    stack.new_run(other, watched.username)
    tab = browser.open(f"{stack.page(watched.run_id, watched.username, of='client.html')}&run_id={other}")
    tab.by("websocket")
    stack.sockets(2)
    watched.append("workflow_started", "node_completed")
    stack.append(other, "workflow_started")
    after = tab.shown(3)

    assert sorted(after.seqs) == [1, 1, 2]
    assert len(after.sockets) == 1
    assert after.errors == []
