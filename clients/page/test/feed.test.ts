import { describe, expect, it, vi } from "vitest";
import type { Connection, RunInfo } from "../../js/src/client.js";
import { Asking, pause } from "../src/model/asking.js";
import { RunList, tookOf } from "../src/model/runlist.js";
import { story, Wire } from "../src/model/wire.js";
import { event } from "./events.js";

function info(run_id: string, more: Partial<RunInfo> = {}): RunInfo {
  return {
    run_id, username: "u", workflow: "w", status: "queued", progress: null, current_step: null, last_seq: 0, created_at: 0,
    started_at: null, finished_at: null, updated_at: 0, metadata: null, ...more,
  };
}

describe("the list of runs", () => {
  it("is newest first", () => {
    const list = new RunList();
    list.listed([info("b", { created_at: 2 }), info("a", { created_at: 1 }), info("c", { created_at: 3 })]);
    expect(list.ids()).toEqual(["c", "b", "a"]);
    expect(list.matching("failed")).toEqual([]);
    expect(list.matching("all", 2)).toEqual(["c", "b"]);
  });

  it("follows events by the API's own rules", () => {
    const list = new RunList();
    list.listed([info("a", { created_at: 1 })]);
    list.happened(event("step_started", { run_id: "a", seq: 1, recorded_at: 5, step_name: "s" }));
    expect(list.get("a")).toMatchObject({ status: "running", current_step: "s", last_seq: 1, started_at: 5, finished_at: null });
    list.happened(event("steps_completed", { run_id: "a", seq: 2, recorded_at: 6, progress: 40 }));
    expect(list.get("a")).toMatchObject({ status: "rendering", progress: 40 });
    list.happened(event("workflow_failed", { run_id: "a", seq: 3, recorded_at: 9 }));
    expect(list.get("a")).toMatchObject({ status: "failed", progress: 40, finished_at: 9, updated_at: 9 });
    expect([list.matching("failed"), list.matching("running")]).toEqual([["a"], []]);
  });

  it("takes an event that it had for none", () => {
    const list = new RunList();
    list.listed([info("a", { status: "completed", last_seq: 7, progress: 100 })]);
    const { version } = list;
    list.happened(event("step_started", { run_id: "a", seq: 7, step_name: "old" }));
    expect([list.version, list.get("a")?.status]).toEqual([version, "completed"]);
  });

  it("shows a run of which an event is the first that it hears, until the API says more", () => {
    const list = new RunList();
    list.listed([info("a", { created_at: 1 })]);
    list.happened(event("workflow_started", { run_id: "b", seq: 1, recorded_at: 9 }));
    expect([list.ids(), list.guesses, list.get("b")?.workflow]).toEqual([["b", "a"], ["b"], null]);
    list.listed([info("b", { created_at: 8.5, status: "running", last_seq: 1 })]);
    expect([list.guesses, list.get("b")?.workflow]).toEqual([[], "w"]);
  });

  it("does not ask again for a run that is older than those listed", () => {
    const list = new RunList();
    list.happened(event("workflow_started", { run_id: "old", seq: 1 }));
    const guesses = list.guesses;
    list.happened(event("workflow_started", { run_id: "new", seq: 1 }));
    list.settle(guesses);
    list.happened(event("step_started", { run_id: "old", seq: 2 }));
    expect(list.guesses).toEqual(["new"]);
  });

  it("keeps what events said after the API answered", () => {
    const list = new RunList();
    list.happened(event("workflow_completed", { run_id: "a", seq: 4, recorded_at: 9 }));
    list.listed([info("a", { created_at: 1, status: "running", last_seq: 2, progress: 10 })]);
    expect(list.get("a")).toMatchObject({ status: "completed", progress: 100, last_seq: 4, workflow: "w", created_at: 1 });
  });

  it("says how long a run took, or takes", () => {
    expect([tookOf(info("a"), 9), tookOf(info("a", { started_at: 2 }), 9), tookOf(info("a", { started_at: 2, finished_at: 5 }), 9), tookOf(info("a", { started_at: 12 }), 9)])
      .toEqual([null, 7, 3, 0]);
  });
});

describe("when the list is asked for", () => {
  it("waits while no stream is open, and not at all while one is", () => {
    expect([pause(0, false), pause(0, true)]).toEqual([20_000, null]);
    expect([pause(1, true), pause(2, false), pause(30, true)]).toEqual([1_000, 2_000, 10_000]);
  });

  it("is once, at the earliest of the times, and not while the page is hidden", () => {
    vi.useFakeTimers();
    let [asked, hidden] = [0, false];
    const asking = new Asking(() => (asked += 1), () => hidden);
    asking.in(1_000);
    asking.in(100);
    asking.in(5_000);
    vi.advanceTimersByTime(10_000);
    expect(asked).toBe(1);
    hidden = true;
    for (let times = 0; times < 3; times += 1) {
      asking.in(0);
      vi.advanceTimersByTime(20_000);
    }
    expect(asked).toBe(1);
    hidden = false;
    for (let times = 0; times < 2; times += 1) {
      asking.shown();
      vi.advanceTimersByTime(0);
    }
    expect(asked).toBe(2);
    asking.in(100);
    asking.end();
    vi.advanceTimersByTime(1_000);
    expect(asked).toBe(2);
    vi.useRealTimers();
  });
});

describe("what is said of the connection", () => {
  const connection = (more: Partial<Connection>): Connection => ({ transport: "none", state: "idle", retryAt: null, cursor: null, polls: 0, error: null, ...more });
  const open = connection({ transport: "websocket", state: "open" });
  const texts = (wire: Wire): string[] => wire.entries.map(({ text, times }) => (times > 1 ? `${text} x${times}` : text));

  it("tells a cut from its beginning to its end, the latest first", () => {
    const wire = new Wire();
    wire.changed(0, connection({ state: "connecting" }), 0, false);
    wire.changed(10, open, 0, false);
    wire.changed(5_000, connection({ state: "waiting" }), 0, true);
    wire.changed(9_000, connection({ transport: "poll", state: "waiting", polls: 1 }), 3, true);
    wire.changed(13_000, connection({ transport: "poll", state: "waiting", polls: 2 }), 0, true);
    wire.changed(17_000, connection({ transport: "poll", state: "waiting", polls: 3 }), 0, true);
    wire.changed(18_000, { ...open, polls: 3 }, 0, false);
    expect(texts(wire)).toEqual(["socket back after 13.0 s", "poll: nothing new x2", "poll brought 3 events", "socket cut by you", "socket open"]);
    expect(wire.lostAt).toBeNull();
  });

  it("does not count polls that only look whether all is well", () => {
    const wire = new Wire();
    wire.changed(0, open, 0, false);
    wire.changed(5_000, { ...open, polls: 1 }, 0, false);
    expect(texts(wire)).toEqual(["socket open"]);
  });

  it("tells a loss that nobody asked for, and other streams", () => {
    const wire = new Wire();
    wire.changed(0, open, 0, false);
    wire.changed(1, connection({ state: "waiting" }), 0, false);
    wire.changed(2, connection({ transport: "sse", state: "open" }), 0, false);
    expect(texts(wire)).toEqual(["event stream back after 1 ms", "socket lost", "socket open"]);
  });

  it("keeps a bounded number", () => {
    const wire = new Wire();
    for (let n = 0; n < 500; n += 1) wire.changed(n, n % 2 === 0 ? open : connection({ state: "waiting" }), 0, false);
    expect(wire.entries.length).toBe(40);
  });

  it("has a line for each situation", () => {
    const said = new Set<string>();
    for (const cut of [true, false]) for (const polled of [true, false]) for (const back of [true, false]) {
      for (const [transport, state] of [["websocket", "open"], ["sse", "open"], ["poll", "waiting"], ["none", "connecting"]] as const) {
        said.add(story({ cut, transport, state, polled, back, waits: false }));
      }
    }
    expect(said.size).toBe(7);
  });

  it("says that a token is waited for, while nothing is open", () => {
    const now = { cut: false, polled: false, back: false, waits: true, transport: "none" } as const;
    expect(story({ ...now, state: "waiting" })).toMatch(/waits for a token/);
    expect(story({ ...now, state: "open" })).toBe(story({ ...now, state: "open", waits: false }));
  });
});
