/** What of a store that others watch already one listener or iterator is told. */
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import type { Reset, RunEvent } from "../src/protocol.js";
import { Store } from "../src/store.js";
import { FEED } from "../src/subscription.js";
import { type Stores, Watch } from "../src/watch.js";
import { FakeServer, many, upTo } from "./support/server.js";

let server: FakeServer;
let seen: (number | string)[];
beforeEach(() => {
  vi.useFakeTimers();
  server = new FakeServer();
  seen = [];
});
afterEach(() => void vi.useRealTimers());

const pass = (ms = 0): Promise<unknown> => vi.advanceTimersByTimeAsync(ms);

const note = { event: ({ id }: RunEvent) => void seen.push(id as number), reset: () => void seen.push("reset") };

/** Notes what an iterator says; an error's code is its last. */
async function iterate(watch: Watch): Promise<void> {
  try {
    for await (const each of watch) seen.push("control" in each ? "reset" : (each.id as number));
  } catch (error) {
    seen.push((error as { code: string }).code);
  }
}

/** A listener and an iterator: both are to be told the same. */
const ways: [string, (watch: Watch) => unknown][] = [
  ["a listener", (watch) => watch.subscribe(note)],
  ["an iterator", (watch) => void iterate(watch)],
];

function renumber(events: number): void {
  server.epoch = "F";
  server.events = [];
  server.append("r1", many(events), { quiet: true });
  server.last.say({ control: true, type: "reset", epoch: "F", head: events } satisfies Reset);
}

describe.each(ways)("%s", (_, watch) => {
  test("behind an id is told all of the new numbering after a reset, in which that id means nothing", async () => {
    server.append("r1", many(5));
    watch(server.client().run("r1", { after: 4 }));
    await pass(1);
    renumber(2);
    await pass(1);
    server.append("r1", many(1));
    await pass();

    expect(seen).toEqual([5, "reset", 1, 2, 3]);
  });

  test("of the feed behind an id is told what comes after a reset", async () => {
    server.append("r1", many(5));
    watch(server.client().feed({ after: 4 }));
    await pass(1);
    renumber(2);
    server.append("r1", many(1));
    await pass(1);

    expect(seen).toEqual([5, "reset", 3]);
  });

  test("of what happens from now on is not told what others were told before", async () => {
    const feed = server.client();
    feed.feed().subscribe({});
    await pass(1);
    server.append("r1", many(2));
    watch(feed.feed());
    await pass();
    server.append("r1", many(1));
    await pass();

    expect(seen).toEqual([3]);
  });

  test("of what happens from now on is not told the history that is read for another", async () => {
    server.append("r1", many(3));
    const feed = server.client();
    feed.feed({ after: 0 }).subscribe({});
    watch(feed.feed());
    await pass(1);
    server.append("r1", many(1));
    await pass();

    expect(seen).toEqual([4]);
  });

  test("of what happens from now on loses nothing that comes while a history is read", async () => {
    server.append("r1", many(3));
    const feed = server.client();
    feed.run("r2").subscribe({});
    await pass(1);
    server.refusals.push(503); // the history comes later
    feed.feed({ after: 0 }).subscribe({});
    watch(feed.feed());
    server.append("r1", many(1));
    await pass(5_000);

    expect(seen).toEqual([4]);
  });
});

/** A store that keeps 10 events and was given 12, and those who watch it. */
function full(key: string): { store: Store; stores: Stores } {
  const store = new Store(key, 0, 10, () => {});
  for (const id of upTo(12)) store.take({ id, seq: id, run_id: "r1", username: "u", type: "step" });
  const join = (_: Watch, listener: object): Store => {
    store.listeners.add(listener);
    return store;
  };
  const part = (_: Store, listener: object): void => void store.listeners.delete(listener);
  return { store, stores: { find: () => store, join, part, placed: (call) => call(12) } };
}

describe("who comes when the first events were given up already", () => {
  test("is told so, when those are wanted", async () => {
    const { store, stores } = full("r1");
    const run = new Watch("r1", 0, stores);

    expect(() => run.subscribe(note)).toThrow(expect.objectContaining({ code: "slow" }));
    await iterate(run);
    expect([seen, store.listeners.size]).toEqual([["slow"], 0]);
  });

  test.each([2, 5])("is told the rest behind %i, when that is what is wanted", (after) => {
    const { stores } = full("r1");
    new Watch("r1", after, stores).subscribe(note);

    expect(seen).toEqual(upTo(12).slice(after));
  });

  test("is told what comes next, when that is what is wanted", () => {
    const { store, stores } = full(FEED);
    new Watch(FEED, null, stores).subscribe(note);
    store.take({ id: 13, run_id: "r1", username: "u", type: "step" });

    expect(seen).toEqual([13]);
  });

  test("sees in the snapshot how many those were, until a reset", () => {
    const { store, stores } = full("r1");
    const run = new Watch("r1", 0, stores);
    run.subscribe({ change: () => {} });
    expect([run.snapshot().dropped, run.snapshot().events[0]?.id]).toEqual([2, 3]);

    store.reset({ control: true, type: "reset", epoch: "F", head: null });
    store.flush();
    expect(run.snapshot()).toMatchObject({ dropped: 0, events: [] });
  });
});
