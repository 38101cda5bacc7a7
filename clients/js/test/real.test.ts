import { createServer, type AddressInfo } from "node:net";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import type { Runfeed } from "../src/client.js";
import type { RunEvent } from "../src/protocol.js";
import { append, closeClients, connections, control, here, newClient, newRun, seqsOf, sockets, until } from "./support/real.js";
import { upTo } from "./support/server.js";

if (!here) {
  console.warn("\nSKIPPED: the tests against the real services; .venv/bin/python -m pytest -m browser tests/integration/clients runs them\n");
}

beforeEach(() => {
  vi.spyOn(Math, "random").mockReturnValue(0.02); // waits between tries are short: what is tested comes after them
});
afterEach(() => {
  closeClients();
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
});

const open = (feed: Runfeed, transport = "websocket") => (): void => {
  expect(feed.connection()).toMatchObject({ state: "open", transport });
};

/** A client, its run, and the seqs that a listener is told. */
async function watched(options: Parameters<typeof newClient>[0] = {}) {
  const feed = newClient(options);
  const run = await newRun(feed);
  return { feed, run, seen: seqsOf(feed.run(run)) };
}

/** An address at which nobody listens. */
async function nowhere(): Promise<string> {
  const server = createServer();
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  const { port } = server.address() as AddressInfo;
  await new Promise((closed) => server.close(closed));
  return `ws://127.0.0.1:${port}`;
}

describe.skipIf(!here)("with the real services", () => {
  test("a run of 200 events is watched to its end, in order, while its socket is cut 10 times", async () => {
    const { feed, run, seen } = await watched();
    for (let round = 1; round <= 10; round++) {
      await until(() => expect(sockets.opened).toBe(round));
      await until(open(feed));
      await append(run, 10);
      expect((await control("cut"))["cut"]).toBe(1);
      await append(run, 10, round === 10 ? "workflow_completed" : "step");
    }

    await until(() => expect(seen.length).toBeGreaterThanOrEqual(200));
    await until(() => expect(sockets.opened).toBe(11)); // and what the last one brought again was no news
    await until(open(feed));
    expect(seen).toEqual(upTo(200));
  });

  test("a run is watched by Server-Sent Events where there is no WebSocket, cuts included", async () => {
    vi.stubGlobal("WebSocket", undefined);
    const { feed, run, seen } = await watched({ WebSocket: undefined } as never);
    for (let round = 1; round <= 3; round++) {
      await until(open(feed, "sse"));
      await append(run, 10);
      await until(() => expect(seen).toHaveLength(20 * round - 10));
      expect((await control("cut"))["cut"]).toBe(1);
      await append(run, 10, round === 3 ? "workflow_failed" : "step");
      await until(() => expect(seen).toHaveLength(20 * round));
    }

    expect(seen).toEqual(upTo(60));
    expect(sockets.opened).toBe(0);
  });

  test("a run is polled to its end where no stream can be opened, and then no more", async () => {
    const { feed, run, seen } = await watched({ hub: await nowhere(), pollInterval: 100 });
    await until(() => expect(feed.connection().transport).toBe("poll"));
    await append(run, 30);
    await until(() => expect(seen).toHaveLength(30));
    await append(run, 20, "workflow_cancelled");
    await until(() => expect(seen).toHaveLength(50));

    const { polls } = feed.connection();
    await new Promise((passed) => setTimeout(passed, 1_000)); // ten polls' time: that none comes takes time to see
    expect([seen, feed.connection().polls]).toEqual([upTo(50), polls]);
  });

  test("two runs and the whole feed share one socket, as the hub counts them", async () => {
    await until(async () => expect(await connections()).toBe(0));
    const { feed, run, seen } = await watched();
    const other = await newRun(feed);
    const [seenOfOther, ids] = [seqsOf(feed.run(other)), [] as number[]];
    feed.feed().subscribe(({ id }: RunEvent) => void ids.push(id as number));
    await until(open(feed));
    for (let round = 0; round < 5; round++) for (const each of [run, other]) await append(each, 2);
    await until(() => expect(ids).toHaveLength(20));

    expect([seen, seenOfOther, ids]).toEqual([upTo(10), upTo(10), upTo(20)]);
    expect([await connections(), sockets.opened]).toEqual([1, 1]);
  });

  test("a hub that restarts loses nothing: not before, not meanwhile, not after", async () => {
    const { feed, run, seen } = await watched();
    await until(open(feed));
    await append(run, 10);
    await control("stop");
    await append(run, 10);
    await control("start");
    await until(() => expect(feed.connection().state).toBe("open")); // whichever kind of stream was next
    await append(run, 10, "workflow_completed");
    await until(() => expect(seen.length).toBeGreaterThanOrEqual(30));

    expect(seen).toEqual(upTo(30));
  }, 60_000);

  test("a watch begins behind an id", async () => {
    const feed = newClient();
    const run = await newRun(feed);
    const [, , third] = await append(run, 5);
    const seen = seqsOf(feed.run(run, { after: third as number }));
    await until(open(feed));
    await append(run, 1);
    await until(() => expect(seen).toEqual([4, 5, 6]));
  });

  test("an iterator has the history and what comes, and ends with the run", async () => {
    const feed = newClient();
    const run = await newRun(feed);
    await append(run, 25);
    const got: number[] = [];
    for await (const event of feed.run(run)) {
      got.push((event as RunEvent).seq as number);
      if (got.length === 25) void until(open(feed)).then(() => append(run, 25, "workflow_completed"));
    }

    expect(got).toEqual(upTo(50));
  });

  test("a history of 10,000 events is shown whole, while more come", async () => {
    const feed = newClient();
    const run = await newRun(feed);
    await append(run, 10_000);
    const seen = seqsOf(feed.run(run));
    await append(run, 500, "workflow_completed");
    await until(() => expect(seen.length).toBeGreaterThanOrEqual(10_500));

    expect(seen).toEqual(upTo(10_500));
    await until(() => expect(feed.run(run).snapshot()).toMatchObject({ status: "completed", progress: 100, loaded: true }));
  });

  test("a run that is watched before it is made is shown from its first event", async () => {
    const feed = newClient();
    const run = `js-later:${crypto.randomUUID().slice(0, 8)}`;
    const watch = feed.run(run);
    const seen = seqsOf(watch);
    await until(() => expect(watch.snapshot()).toMatchObject({ error: { code: "run_unknown", status: 404 } }));
    await until(open(feed));
    await newRun(feed, run);
    await append(run, 3);
    await until(() => expect(watch.snapshot()).toMatchObject({ status: "running", error: null }));

    expect(seen).toEqual(upTo(3));
  });

  test("a user's runs are listed as the API sums them up, which is as their events do here", async () => {
    const { feed, run } = await watched();
    await until(open(feed));
    await append(run, 3, "workflow_completed");
    await until(() => expect(feed.run(run).snapshot().status).toBe("completed"));

    const { runs, cursor } = await feed.runs({ limit: 5 });
    const { status, progress, step } = feed.run(run).snapshot();
    expect(runs).toMatchObject([{ run_id: run, username: feed.username, status, progress, current_step: step, last_seq: 3 }]);
    expect(cursor).toBeNull();
  });
});
