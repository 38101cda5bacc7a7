import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { deferred } from "./support/later.js";
import { FakeServer, many } from "./support/server.js";

const EXPIRING = { control: true, type: "auth_expiring", closes_in_ms: 25_000 };

let server: FakeServer;
let asked: boolean[];

beforeEach(() => {
  vi.useFakeTimers();
  vi.spyOn(Math, "random").mockReturnValue(0.5);
  server = new FakeServer();
  asked = [];
});
afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
});

const pass = (ms = 0): Promise<unknown> => vi.advanceTimersByTimeAsync(ms);

/** An application's token: kept, and made anew when it is told to. */
function keeper(): (about: { renew: boolean }) => string {
  let number = 1;
  return ({ renew }) => {
    asked.push(renew);
    if (renew) number += 1;
    return `t${number}`;
  };
}

async function watching(getToken: (about: { renew: boolean }) => string | Promise<string>, runs = ["r1"]) {
  const feed = server.client({ getToken });
  for (const run of runs) feed.run(run).subscribe({});
  await pass(1);
  return feed;
}

describe("a token", () => {
  test("goes with every request and every socket", async () => {
    await watching(keeper());

    expect([server.tokens, server.last.protocols]).toEqual([["t1"], ["runfeed.v1", "bearer.t1"]]);
    expect(asked).toEqual([false, false]);
  });

  test("is not asked for where there is none", async () => {
    server.client().run("r1").subscribe({});
    await pass(1);

    expect([server.tokens, server.last.protocols]).toEqual([[null], ["runfeed.v1"]]);
  });

  test("is renewed, once, when the hub closes 4401", async () => {
    const feed = await watching(keeper());
    server.last.shut(4401);
    await pass(500);
    expect([server.last.protocols[1], asked.filter(Boolean)]).toEqual(["bearer.t2", [true]]);
    expect(feed.connection()).toMatchObject({ state: "open", error: null });
  });

  test("that is refused by the hub a second time is the end, and is said", async () => {
    const feed = await watching(keeper());
    server.accepts = false;
    server.last.shut(4401);
    await pass(500);
    server.last.shut(4401, "no");
    await pass(60_000);

    expect(feed.connection().error).toMatchObject({ code: "refused", status: 4401 });
    expect(server.sockets).toHaveLength(2);
  });

  test("is renewed, once, when the API answers 401", async () => {
    server.refusals.push(401);
    const feed = await watching(keeper());

    expect(server.tokens).toEqual(["t1", "t2"]);
    expect([asked.filter(Boolean), feed.connection().error]).toEqual([[true], null]);
  });

  test("that many requests carried is renewed once for all of them", async () => {
    server.refusals.push(401, 401, 401, 401);
    const feed = await watching(keeper(), ["r1", "r2", "r3", "r4"]);

    expect(server.tokens).toEqual(["t1", "t1", "t1", "t1", "t2", "t2", "t2", "t2"]);
    expect([asked.filter(Boolean), feed.connection().error]).toEqual([[true], null]);
  });

  test("that takes a while is waited for by all who need one, and asked for once", async () => {
    const { promise, resolve } = deferred<string>();
    server.refusals.push(401, 401);
    await watching(({ renew }) => {
      asked.push(renew);
      return renew ? promise : "t1"; // the old one, until the new one is there
    }, ["r1", "r2"]);
    expect(server.tokens).toEqual(["t1", "t1"]);

    resolve("t2");
    await pass(1);
    expect(server.tokens).toEqual(["t1", "t1", "t2", "t2"]);
    expect(asked.filter(Boolean)).toEqual([true]);
  });

  test("whose renewal failed is renewed with the next try, and the old one is not sent again", async () => {
    let failures = 2;
    const keep = keeper();
    server.refusals.push(401);
    const feed = await watching((about) => {
      if (!about.renew || failures-- <= 0) return keep(about);
      throw new Error("no network");
    });
    await pass(20_000);

    expect(server.tokens.slice(0, 2)).toEqual(["t1", "t2"]);
    expect([asked.filter(Boolean), feed.connection().error]).toEqual([[true], null]);
  });

  test("that cannot be had is a problem that may mend itself", async () => {
    const feed = server.client({ getToken: () => Promise.reject(new Error("no network")) });
    const run = feed.run("r1");
    run.subscribe({});
    await pass(5_000);

    expect([server.asked, server.sockets, feed.connection().error]).toEqual([[], [], null]);
    expect(run.snapshot().error).toMatchObject({ code: "unreachable" });
  });

  test("that runs out is renewed, and sent on the socket that is open", async () => {
    const feed = await watching(keeper());
    server.last.say(EXPIRING);
    await pass();
    expect(server.last.sent).toEqual([{ type: "auth", token: "t2" }]);

    server.last.say({ control: true, type: "authenticated", expires_at: 4600 });
    server.last.say(EXPIRING);
    await pass();
    expect(server.last.sent).toEqual([{ type: "auth", token: "t2" }, { type: "auth", token: "t3" }]);
    expect([server.sockets.length, asked.filter(Boolean), feed.connection().error]).toEqual([1, [true, true], null]);
  });

  test("that runs out is asked for once and sent once, however often that is said meanwhile", async () => {
    const { promise, resolve } = deferred<string>();
    await watching(({ renew }) => {
      asked.push(renew);
      return renew ? promise : "t1";
    });
    for (let time = 0; time < 3; time++) server.last.say(EXPIRING);
    await pass(100);
    resolve("t2");
    await pass();

    expect([server.last.sent, asked.filter(Boolean)]).toEqual([[{ type: "auth", token: "t2" }], [true]]);
  });

  test("that comes when its socket was replaced is the next one's, and is sent on none", async () => {
    const { promise, resolve } = deferred<string>();
    await watching(({ renew }) => (renew ? promise : "t1"));
    server.last.say(EXPIRING);
    server.last.shut(1006);
    await pass(500);
    resolve("t2");
    await pass(1);

    expect(server.sockets.map(({ protocols }) => protocols[1])).toEqual(["bearer.t1", "bearer.t2"]);
    expect(server.sockets.map(({ sent }) => sent)).toEqual([[], []]);
  });

  test("that cannot be renewed in time is not sent, and the socket that is closed for it comes back with the next", async () => {
    let away = true;
    const keep = keeper();
    const feed = await watching((about) => {
      if (about.renew && away) throw new Error("no network");
      return keep(about);
    });
    server.last.say(EXPIRING);
    await pass(20_000);
    expect([server.sockets.length, server.last.sent]).toEqual([1, []]);

    away = false;
    server.last.shut(4401, "token_expired");
    await pass(500);
    expect([server.last.protocols[1], asked.filter(Boolean)]).toEqual(["bearer.t2", [true]]);
    expect(feed.connection()).toMatchObject({ state: "open", error: null });
  });

  test("that is the same when it is renewed is not sent again: the hub has it, and would say the same", async () => {
    const feed = await watching(() => "t1");
    server.last.say(EXPIRING);
    await pass(1);
    expect(server.last.sent).toEqual([]);

    server.accepts = false;
    server.last.shut(4401, "token_expired");
    await pass(500);
    server.last.shut(4401, "token_expired");
    expect(feed.connection().error).toMatchObject({ code: "refused", status: 4401 });
  });

  test("is not sent where there is none", async () => {
    server.client().run("r1").subscribe({});
    await pass(1);
    server.last.say(EXPIRING);
    await pass(1);

    expect(server.last.sent).toEqual([]);
  });

  test.each(["expired", "revoked"])("whose event stream ends because it is %s brings the next at once, without a hole", async (reason) => {
    server.streaming = true;
    server.append("r1", many(2));
    vi.stubGlobal("WebSocket", undefined);
    const feed = server.client({ getToken: keeper(), WebSocket: undefined } as never);
    const seen: number[] = [];
    feed.run("r1").subscribe(({ id }) => void seen.push(id as number));
    await pass(1);
    const [first] = server.streams;
    server.append("r1", many(1));
    first?.say(server.events[2] as object);
    await pass();
    server.append("r1", many(1)); // while there is no stream
    first?.say({ control: true, type: "token_expired", reason });
    first?.end();
    await pass();

    expect(server.streams.map(({ token, after }) => [token, after])).toEqual([["t1", "2"], ["t2", "3"]]);
    expect([seen, asked.filter(Boolean)]).toEqual([[1, 2, 3, 4], [true]]);
    expect(feed.connection()).toMatchObject({ transport: "sse", state: "open", error: null });
  });

  test("that runs() is refused with is renewed, once", async () => {
    server.refusals.push(401);
    await server.client({ getToken: keeper() }).runs();
    expect([server.tokens, asked]).toEqual([["t1", "t2"], [false, true]]);

    server.refusals.push(401, 401);
    await expect(server.client({ getToken: keeper() }).runs()).rejects.toMatchObject({ status: 401 });
    expect(server.tokens.slice(2)).toEqual(["t1", "t2"]);
  });

  test("is not renewed by runs() where there is none, nor for another refusal", async () => {
    server.refusals.push(401, 403);
    await expect(server.client().runs()).rejects.toMatchObject({ status: 401 });
    await expect(server.client({ getToken: keeper() }).runs()).rejects.toMatchObject({ status: 403 });

    expect([server.tokens, asked]).toEqual([[null, "t1"], [false]]);
  });

  test("that is refused late, when another is there already, is not renewed for it", async () => {
    const held = holding("/runs/r2/");
    server.refusals.push(401);
    const feed = server.client({ getToken: keeper(), fetch: held.fetch });
    for (const run of ["r1", "r2"]) feed.run(run).subscribe({});
    await pass(1);
    expect([server.tokens, asked.filter(Boolean)]).toEqual([["t1", "t2"], [true]]);

    server.refusals.push(401);
    held.release();
    await pass(1);
    expect([server.tokens, asked.filter(Boolean)]).toEqual([["t1", "t2", "t1", "t2"], [true]]);
    expect(feed.connection()).toMatchObject({ state: "open", error: null });
  });

  test("that runs() is refused with late is not renewed for it", async () => {
    const held = holding("/runs?");
    const feed = server.client({ getToken: keeper(), fetch: held.fetch });
    const listed = feed.runs();
    server.refusals.push(401);
    feed.run("r1").subscribe({});
    await pass(1);
    server.refusals.push(401);
    held.release();
    await listed;

    expect([server.tokens, asked.filter(Boolean)]).toEqual([["t1", "t2", "t1", "t2"], [true]]);
  });

  test("that was sent on the open socket is the one that its end is about, and another is asked for", async () => {
    const feed = await watching(keeper());
    server.last.say(EXPIRING);
    await pass();
    server.last.say({ control: true, type: "authenticated", expires_at: 4600 });
    server.last.shut(4401, "token_expired");
    await pass(500);

    expect([server.last.protocols[1], asked.filter(Boolean)]).toEqual(["bearer.t3", [true, true]]);
    expect(feed.connection()).toMatchObject({ state: "open", error: null });
  });
});

/** The server's fetch, by which the first request for a path that has this in it waits until it is released. */
function holding(part: string): { fetch: typeof fetch; release: () => void } {
  const { promise, resolve } = deferred();
  let held = false;
  const call = async (input: string, init: RequestInit): Promise<Response> => {
    if (!held && input.includes(part)) {
      held = true;
      await promise;
    }
    return server.fetch(input, init);
  };
  return { fetch: call as typeof fetch, release: resolve };
}
