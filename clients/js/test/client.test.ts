import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import type { Runfeed } from "../src/client.js";
import type { RunEvent } from "../src/protocol.js";
import { FakeServer, many, upTo } from "./support/server.js";

const LINGER = 250;
let server: FakeServer;
let seen: number[];
const note = ({ id }: RunEvent): void => void seen.push(id as number);

beforeEach(() => {
  vi.useFakeTimers();
  vi.spyOn(Math, "random").mockReturnValue(0.5);
  server = new FakeServer();
  seen = [];
});
afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

/** Lets everything happen that is due within so many ms. */
const pass = (ms = 0): Promise<unknown> => vi.advanceTimersByTimeAsync(ms);

/** A client that watches r1 and whose socket is open. */
async function watching(options: Parameters<FakeServer["client"]>[0] = {}): Promise<{ feed: Runfeed; leave: () => void }> {
  const feed = server.client(options);
  const leave = feed.run("r1").subscribe(note);
  await pass(1);
  return { feed, leave };
}

describe("a client", () => {
  test("shows the history, then what comes, then ends; each event once and in order", async () => {
    server.append("r1", many(3));
    await watching();
    server.append("r1", ["step", "workflow_completed"]);

    expect(seen).toEqual(upTo(5));
    await pass(60_000);
    expect(seen).toEqual(upTo(5));
    expect(server.asked).toEqual(["/runs/r1/events?limit=2000&after=0&username=u"]);
  });

  test("refuses names that the services would refuse", () => {
    expect(() => server.client({ username: "a b" })).toThrow(/username: must be/);
    expect(() => server.client().run("a/b")).toThrow(/run_id: "a\/b"/);
  });

  test("does nothing before somebody watches", async () => {
    server.client().run("r1");
    await pass(60_000);

    expect([server.asked, server.sockets]).toEqual([[], []]);
  });

  test("has one socket for many runs, of which each gets its own events", async () => {
    const feed = server.client();
    const runs = ["r1", "r2", "r3"];
    const got: Record<string, number[]> = { r1: [], r2: [], r3: [] };
    for (const run of runs) feed.run(run).subscribe(({ seq }) => void got[run]?.push(seq as number));
    await pass(1);
    for (let round = 0; round < 3; round++) for (const run of runs) server.append(run, ["step"]);

    expect(got).toEqual({ r1: [1, 2, 3], r2: [1, 2, 3], r3: [1, 2, 3] });
    expect(server.sockets).toHaveLength(1);
  });

  test("opens one socket when it is left and watched again at once, as React's StrictMode does", async () => {
    const run = server.client().run("r1");
    run.subscribe(note)();
    run.subscribe(note)();
    run.subscribe(note);
    await pass(LINGER + 1);
    server.append("r1", ["step"]);

    expect([server.sockets.length, server.live.length, seen]).toEqual([1, 1, [1]]);
    expect(server.asked).toHaveLength(1);
  });

  test(`closes its socket ${LINGER} ms after nobody watches any more, and not before`, async () => {
    const { leave } = await watching();
    leave();
    await pass(LINGER - 1);
    expect(server.last.closed).toBe(false);

    await pass(1);
    expect(server.last.closed).toBe(true);
    await pass(60_000);
    expect([server.sockets.length, server.asked.length]).toEqual([1, 1]);
  });

  test("reads the history again when it is watched again after that", async () => {
    server.append("r1", many(2));
    const { feed, leave } = await watching();
    leave();
    await pass(LINGER);
    feed.run("r1").subscribe(note);
    await pass(1);

    expect(seen).toEqual([1, 2, 1, 2]);
    expect(server.sockets).toHaveLength(2);
  });

  test("comes back with its cursor after a cut", async () => {
    server.append("r1", many(2));
    await watching();
    server.last.shut(1006);
    server.append("r1", many(2));
    await pass(500);

    expect(server.last.after).toBe("2");
    expect(seen).toEqual(upTo(4));
  });

  test("asks for what is missing while its socket says that all is well", async () => {
    await watching();
    server.append("r1", many(1), { quiet: true });
    server.append("r1", many(1));
    expect(seen).toEqual([]);
    await pass(250);

    expect(seen).toEqual([1, 2]);
    expect(server.asked.at(-1)).toBe("/feeds/u/events?limit=1000&after=0&epoch=E&run_id=r1&cause=ws_gap");
  });

  test("asks at once when it is told to", async () => {
    const { feed } = await watching();
    server.append("r1", many(1), { quiet: true });
    feed.refresh();
    await pass();

    expect(seen).toEqual([1]);
    expect(server.asked.at(-1)).toContain("cause=forced");
  });

  test("lists runs by the API's own words, and leaves out what was left open", async () => {
    const feed = server.client();
    await feed.runs({ status: "running", limit: 5, cursor: undefined } as never);

    expect(server.asked).toEqual(["/runs?username=u&status=running&limit=5"]);
  });

  test("waits no shorter for a server that asks for more than a timer can hold", async () => {
    await watching();
    server.append("r1", ["workflow_completed"]); // nothing is polled for: the next try is all that is due
    const timers = vi.spyOn(globalThis, "setTimeout");
    server.last.say({ control: true, type: "closing", retry_in_ms: 2 ** 32 });
    server.last.shut(1013);

    const waits = timers.mock.calls.map(([, ms]) => ms ?? 0);
    expect(Math.max(...waits)).toBe(2 ** 31 - 1); // one more is taken for 1 ms
  });
});

describe("cut()", () => {
  test("ends the stream and lets none open; polls go on, and cut(false) opens it at once", async () => {
    const { feed } = await watching();
    feed.cut();
    expect(server.last.closed).toBe(true);
    server.append("r1", many(2));
    await pass(10_000); // the next try is a socket's again, after two of either kind
    expect([server.sockets.length, seen, feed.connection().transport]).toEqual([1, [1, 2], "poll"]);

    feed.cut(false);
    await pass();
    server.append("r1", many(1));
    expect([server.sockets.length, server.last.after, seen]).toEqual([2, "2", [1, 2, 3]]);
  });
});

describe("connection()", () => {
  test("says how events come, and is the same object until that changes", async () => {
    const feed = server.client();
    expect(feed.connection()).toEqual({
      transport: "none", state: "idle", retryAt: null, cursor: null, polls: 0, error: null,
    });
    feed.run("r1").subscribe(note);
    await pass(1);

    expect(feed.connection()).toMatchObject({ transport: "websocket", state: "open", cursor: 0 });
    expect(feed.connection()).toBe(feed.connection());
  });

  test("tells everybody who looks, also when one of them has read it before", async () => {
    const { feed } = await watching();
    await pass(100);
    const told: string[] = [];
    feed.onConnection(() => told.push("one"));
    const stop = feed.onConnection(() => told.push("other"));
    server.append("r1", many(1));
    feed.connection(); // a component that renders for a reason of its own
    await pass(100);
    expect(told).toEqual(["one", "other"]);

    stop();
    server.append("r1", many(1));
    await pass(100);
    expect(told).toEqual(["one", "other", "one"]);
  });

  test("knows when the next try is, each time", async () => {
    const { feed } = await watching();
    server.last.shut(1013, "retry in 5000 ms");
    const first = Date.now() + 5_000;
    expect(feed.connection().retryAt).toBe(first);
    await pass(4_000);
    expect(feed.connection().retryAt).toBe(first);

    server.accepts = false;
    await pass(1_000);
    server.last.shut(1013, "retry in 7000 ms"); // within the frame in which it began
    expect(feed.connection().retryAt).toBe(first + 7_000);
  });
});

describe("a 4404", () => {
  test("of a hub that was guessed does not end all: polls bring what happens", async () => {
    server.unknown.add("/api/v1/config");
    const { feed } = await watching({ hub: undefined } as never);
    await pass(1);
    server.last.shut(4404);
    server.accepts = false;
    server.append("r1", many(1));
    await pass(5_000);

    expect([feed.connection().error, feed.connection().transport, seen]).toEqual([null, "poll", [1]]);
  });

  test("of a hub that somebody named ends all", async () => {
    const { feed } = await watching();
    server.last.shut(4404);

    expect(feed.connection().error).toMatchObject({ code: "refused", status: 4404 });
  });
});

describe("close()", () => {
  test("ends the socket and all timers, and listeners hear nothing more", async () => {
    const { feed } = await watching();
    const changes = vi.fn();
    feed.run("r1").subscribe({ change: changes, event: note });
    await pass(100);
    changes.mockClear();
    feed.close();
    const socket = server.last;
    await pass(60_000);

    expect([socket.closed, server.sockets.length, vi.getTimerCount()]).toEqual([true, 1, 0]);
    expect(changes).not.toHaveBeenCalled();
  });

  test("lets nothing begin after it", async () => {
    const { feed } = await watching();
    feed.close();
    feed.run("r2").subscribe(note);
    await pass(60_000);

    expect([server.sockets.length, server.asked.length]).toEqual([1, 1]);
  });
});
