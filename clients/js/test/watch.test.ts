import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import type { Reset, RunEvent } from "../src/protocol.js";
import { Store } from "../src/store.js";
import { Watch } from "../src/watch.js";
import { FakeServer, many, upTo } from "./support/server.js";

let server: FakeServer;
beforeEach(() => {
  vi.useFakeTimers();
  server = new FakeServer();
});
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

const pass = (ms = 0): Promise<unknown> => vi.advanceTimersByTimeAsync(ms);

/** Collects seqs into the array that it answers; a reset is -1. */
function into(seqs: number[]) {
  return { event: ({ seq }: RunEvent) => void seqs.push(seq as number), reset: () => void seqs.push(-1) };
}

/** Reads an iterator into an array; "end" or the error's code is its last. */
function read(watch: Watch): (number | string)[] {
  const got: (number | string)[] = [];
  void (async () => {
    try {
      for await (const each of watch) got.push("control" in each ? "reset" : (each.seq as number));
      got.push("end");
    } catch (error) {
      got.push((error as { code: string }).code);
    }
  })();
  return got;
}

function renumber(): void {
  server.epoch = "F";
  server.events = [];
  server.append("r1", many(2), { quiet: true });
  server.last.say({ control: true, type: "reset", epoch: "F", head: 2 } satisfies Reset);
}

describe("a listener", () => {
  test("that throws is reported, and neither others nor the client are hurt", async () => {
    const reported: unknown[] = [];
    vi.stubGlobal("queueMicrotask", (call: () => void) => {
      try {
        call();
      } catch (error) {
        reported.push(error);
      }
    });
    const feed = server.client();
    const bad = (): never => { throw new Error("mine"); };
    const seen: number[] = [];
    feed.onConnection(bad);
    const look = vi.fn();
    feed.onConnection(look);
    server.accepts = false; // what answers by itself would do so in a microtask
    feed.run("r1").subscribe({ event: bad, reset: bad, change: bad });
    feed.run("r1").subscribe(into(seen));
    await pass(1);
    server.last.accept();
    server.append("r1", many(2));
    renumber();
    await pass(100);

    expect(seen).toEqual([1, 2, -1, 1, 2]);
    expect(look).toHaveBeenCalled();
    expect(new Set(reported.map(String))).toEqual(new Set(["Error: mine"]));
    expect(reported.length).toBeGreaterThanOrEqual(2 + 1 + 2 + 1); // events, reset, events, changes
  });

  test("that comes late is told first what came already, and then the same as others", async () => {
    const [early, late]: [number[], number[]] = [[], []];
    const feed = server.client();
    feed.run("r1").subscribe(into(early));
    await pass(1);
    server.append("r1", many(3));
    feed.run("r1").subscribe(into(late));
    expect(late).toEqual(upTo(3));

    server.append("r1", many(1));
    expect([early, late]).toEqual([upTo(4), upTo(4)]);
    expect(server.asked).toHaveLength(1);
  });

  test("is told nothing after it left", async () => {
    const seen: number[] = [];
    const feed = server.client();
    feed.run("r1").subscribe({});
    const leave = feed.run("r1").subscribe(into(seen));
    await pass(1);
    leave();
    server.append("r1", many(1));

    expect(seen).toEqual([]);
  });

  test("of changes is called once a frame, with a snapshot that is another then", async () => {
    const run = server.client().run("r1");
    const change = vi.fn();
    run.subscribe({ change });
    await pass(200);
    const before = run.snapshot();
    change.mockClear();
    server.append("r1", many(100, "node_completed"), { progress: 30, node_id: "fetch" });
    expect([run.snapshot(), change.mock.calls.length]).toEqual([before, 0]);
    await pass(100);

    expect(change).toHaveBeenCalledTimes(1);
    expect(run.snapshot()).toMatchObject({ status: "running", progress: 30, step: "fetch", loaded: true, error: null });
    expect([before.events.length, run.snapshot().events.length, run.snapshot().last?.seq]).toEqual([0, 100, 100]);
    expect(run.snapshot()).toBe(run.snapshot());
  });
});

describe("after", () => {
  test("begins behind an id: the API is asked for no more", async () => {
    server.append("r1", many(5));
    const seen: number[] = [];
    server.client().run("r1", { after: 3 }).subscribe(into(seen));
    await pass(1);

    expect([seen, server.asked]).toEqual([[4, 5], ["/runs/r1/events?limit=2000&after=3&username=u"]]);
  });

  test("holds for its own watch, where others watch the run from its beginning", async () => {
    server.append("r1", many(5));
    const seen: number[] = [];
    const feed = server.client();
    feed.run("r1").subscribe({});
    feed.run("r1", { after: 3 }).subscribe(into(seen));
    await pass(1);
    server.append("r1", many(1));

    expect(seen).toEqual([4, 5, 6]);
  });

  test("cannot be earlier than what is watched already, and says so", async () => {
    const feed = server.client();
    feed.run("r1", { after: 3 }).subscribe({});

    expect(() => feed.run("r1").subscribe({})).toThrow(/watched from 3 on already/);
  });

  test("of the feed: from now on when left out, or from an id, all runs in the order of the feed", async () => {
    server.append("r1", many(2));
    server.append("r2", many(2));
    const [fromNow, from1]: [number[], number[]] = [[], []];
    const note = (ids: number[]) => ({ id }: RunEvent) => void ids.push(id as number);
    server.client().feed().subscribe(note(fromNow));
    server.client().feed({ after: 1 }).subscribe(note(from1));
    await pass(1);
    server.append("r3", many(1));

    expect([fromNow, from1]).toEqual([[5], [2, 3, 4, 5]]);
  });
});

describe("an iterator", () => {
  test("gets the history and what comes, and ends after the terminal event", async () => {
    server.append("r1", many(2));
    const got = read(server.client().run("r1"));
    await pass(1);
    server.append("r1", ["step", "workflow_failed"]);
    await pass();
    expect(got).toEqual([1, 2, 3, 4, "end"]);

    await pass(350); // it lingers, and then a frame is told
    expect([server.last.closed, vi.getTimerCount()]).toEqual([true, 0]);
  });

  test.each([[0, [1, 2, "end"]], [2, ["end"]]])("of a run that is over, after %i, ends by itself", async (after, wanted) => {
    server.append("r1", ["step", "workflow_completed"]);
    const got = read(server.client().run("r1", { after }));
    await pass(1);

    expect(got).toEqual(wanted);
  });

  test("of the whole feed goes on after a run's end", async () => {
    const feed = server.client();
    const got = read(feed.feed());
    await pass(1);
    server.append("r1", ["workflow_completed"]);
    server.append("r2", ["step"]);
    await pass();
    expect(got).toEqual([1, 1]);

    feed.close();
    await pass();
    expect(got).toEqual([1, 1, "end"]);
  });

  test("is told of a reset, and begins again", async () => {
    const got = read(server.client().run("r1"));
    await pass(1);
    server.append("r1", many(3));
    await pass();
    renumber();
    await pass(1);

    expect(got).toEqual([1, 2, 3, "reset", 1, 2]);
  });

  test("that was left in the middle leaves the run, as a listener does", async () => {
    server.append("r1", many(5));
    const got: number[] = [];
    void (async () => {
      for await (const event of server.client().run("r1")) {
        got.push((event as RunEvent).seq as number);
        if (got.length === 2) break;
      }
    })();
    await pass(1);
    expect(got).toEqual([1, 2]);

    await pass(250);
    expect(server.last.closed).toBe(true);
  });

  test("throws what ended all", async () => {
    const got = read(server.client().run("r1"));
    await pass(1);
    server.last.shut(4403, "not yours");
    await pass();

    expect(got).toEqual(["refused"]);
  });

  test("that falls behind by more than is kept is told so, and loses nothing in silence", async () => {
    const store = new Store("r1", 0, 10, () => {});
    const watch = new Watch("r1", 0, { find: () => store, join: () => store, part: () => {}, placed: () => {} });
    const reading = watch[Symbol.asyncIterator]();
    const take = (seq: number): void => store.take({ id: seq, seq, run_id: "r1", username: "u", type: "step" });
    take(1);
    expect((await reading.next()).value).toMatchObject({ seq: 1 });
    for (const seq of upTo(11).slice(1)) take(seq);
    expect([store.events.length, store.dropped]).toEqual([10, 1]);
    expect((await reading.next()).value).toMatchObject({ seq: 2 }); // what was dropped it had already

    for (const seq of [12, 13]) take(seq);
    await expect(reading.next()).rejects.toMatchObject({ code: "slow" });
  });
});

describe("trouble", () => {
  test("that mends itself is shown, and then no more", async () => {
    server.refusals.push(503);
    const feed = server.client();
    const [run, all] = [feed.run("r1"), feed.feed({ after: 0 })];
    run.subscribe({});
    await pass(1);
    expect(run.snapshot()).toMatchObject({ error: { code: "store_away" }, loaded: false });

    server.refusals.push(503);
    all.subscribe({});
    await pass(1); // a retry may come soon after
    expect(all.snapshot().error).toMatchObject({ status: 503 });
    await pass(5_000);
    expect([run.snapshot(), all.snapshot()]).toMatchObject([{ error: null, loaded: true }, { error: null, loaded: true }]);
  });

  test("of a run that nobody knows yet ends with its first event", async () => {
    server.refusals.push(404, 404);
    const run = server.client().run("r1");
    run.subscribe({});
    await pass(200);
    expect(run.snapshot()).toMatchObject({ error: { code: "run_unknown" }, loaded: true });

    await pass(30_000);
    server.append("r1", many(1));
    await pass(100);
    expect(run.snapshot()).toMatchObject({ error: null, events: [{ seq: 1 }] });
  });

  test("that ends all is shown with what was shown before; who watches then begins again", async () => {
    server.append("r1", many(2));
    const feed = server.client();
    const run = feed.run("r1");
    const leave = run.subscribe({});
    await pass(100);
    server.last.shut(4403, "not yours");
    await pass(100);
    expect(run.snapshot()).toMatchObject({ error: { code: "refused", status: 4403 }, events: [{ seq: 1 }, { seq: 2 }] });
    expect(feed.connection()).toMatchObject({ transport: "none", error: { status: 4403 } });

    leave();
    run.subscribe({});
    await pass(100);
    expect(run.snapshot()).toMatchObject({ error: null, events: [{ seq: 1 }, { seq: 2 }] });
    expect([feed.connection().error, server.live.length]).toEqual([null, 1]);
  });
});
