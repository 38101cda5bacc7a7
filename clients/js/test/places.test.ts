import { afterEach, describe, expect, test, vi } from "vitest";
import type { Request } from "../src/actions.js";
import { apiBase, hubBase, Places } from "../src/places.js";
import { RunfeedError } from "../src/protocol.js";

afterEach(() => {
  vi.unstubAllGlobals();
  vi.useRealTimers();
  vi.restoreAllMocks();
});

const onPage = (url: string): void => void vi.stubGlobal("location", new URL(url));

/** What was asked for, and with which headers; each answer is the next of those given. */
function places(hub: string | null, ...answers: (Response | Error)[]) {
  const asked: { url: string; headers: Record<string, string> }[] = [];
  const fetch = (url: string, { headers }: { headers: Record<string, string> }): Promise<Response> => {
    asked.push({ url, headers });
    const answer = answers.shift() ?? new Error("nobody answers");
    return answer instanceof Error ? Promise.reject(answer) : Promise.resolve(answer);
  };
  const options = { api: "http://api:8080/base", hub, username: "a+b@c|d", fetch: fetch as never };
  return { asked, places: new Places(options) };
}

const json = (body: unknown, status = 200, headers = {}): Response => new Response(JSON.stringify(body), { status, headers });
const request: Request = { do: "get", id: 1, after: 7, epoch: "E", limit: 10 };

describe("the API's address", () => {
  test.each([
    ["http://api:8080", "http://api:8080"],
    ["https://example.com/base//", "https://example.com/base"],
  ])("%s is %s", (given, base) => expect(apiBase(given)).toBe(base));

  test.each(["", "/api", "ws://api", "api:8080", "http://", "http:///x"])("%j is none", (given) => {
    expect(() => apiBase(given)).toThrow(expect.objectContaining({ name: "RunfeedError", code: "invalid" }));
  });

  test.each([
    [apiBase, "https://alice:s3cret@api"], [apiBase, "https://api?token=s3cret"], [apiBase, "https://api/#s3cret"],
    [hubBase, "wss://alice:s3cret@hub"], [hubBase, "wss://hub/?token=s3cret"],
  ])("has no place for a secret, and does not show one", (base, given) => {
    const refused = vi.fn(base);
    expect(() => refused(given)).toThrow(/without user, query and fragment$/);
    expect(String(refused.mock.results[0]?.value)).not.toContain("s3cret");
  });

  test("is the page's origin when none is given, and required where there is no page", () => {
    expect(() => apiBase(undefined)).toThrow(/api: is required/);

    onPage("https://app.example:8443/some/page?x#y");
    expect(apiBase(undefined)).toBe("https://app.example:8443");
  });
});

describe("the hub's address", () => {
  test.each([
    ["ws://hub:1", "ws://hub:1"],
    ["wss://hub/base/", "wss://hub/base"],
    ["http://hub:1", "ws://hub:1"],
    ["https://hub", "wss://hub"],
  ])("%s is %s", (given, base) => expect(hubBase(given)).toBe(base));

  test.each(["", "/ws", "hub:1", "ftp://hub", "ws://", "ws:///ws"])("%j is none", (given) => {
    expect(() => hubBase(given)).toThrow(expect.objectContaining({ code: "invalid" }));
  });

  test("must be wss for a page on https: a browser opens nothing else, and does not say why", () => {
    onPage("https://app.example/");

    expect(() => hubBase("ws://hub:1")).toThrow(expect.objectContaining({ code: "mixed_content" }));
    expect(() => hubBase("http://hub:1")).toThrow(RunfeedError);
    expect(hubBase("wss://hub:1")).toBe("wss://hub:1");
  });

  test.each(["ws://localhost:1", "ws://127.0.0.1:1", "ws://127.8.8.8", "ws://[::1]:1"])(
    "may be %s for a page on https: it does not leave the machine", (hub) => {
      onPage("https://app.example/");
      expect(hubBase(hub)).toBe(hub);
    },
  );

  test("may be ws for a page on http", () => {
    onPage("http://app.example/");
    expect(hubBase("ws://hub:1")).toBe("ws://hub:1");
  });
});

describe("where the hub is", () => {
  test("is what the application said, and the API is not asked", async () => {
    const { places: own, asked } = places("ws://hub:1");

    expect([await own.hub(null), asked]).toEqual(["ws://hub:1", []]);
  });

  test("is asked of the API, once", async () => {
    const { places: own, asked } = places(null, json({ hub: "wss://hub.example/feed/" }));

    expect([await own.hub(null), await own.hub(null)]).toEqual(["wss://hub.example/feed", "wss://hub.example/feed"]);
    expect(asked.map(({ url }) => url)).toEqual(["http://api:8080/base/api/v1/config"]);
  });

  test.each([
    ["does not know the call", json({ code: "path_unknown" }, 404)],
    ["says null", json({ hub: null })],
  ])("is the API's own address when the API %s", async (_, answer) => {
    const { places: own } = places(null, answer);

    expect([await own.hub(null), own.guessed]).toEqual(["ws://api:8080/base", true]);
  });

  test.each([0, 401, 403, 429, 503])(
    "is asked again after the answer %i", async (status) => {
      const { places: own } = places(null, status === 0 ? new Error("away") : json({ code: "no" }, status), json({ hub: "ws://hub:2" }));

      await expect(own.hub(null)).rejects.not.toBeInstanceOf(RunfeedError);
      expect([await own.hub(null), own.guessed]).toEqual(["ws://hub:2", false]);
    },
  );

  test("is asked with the token", async () => {
    const { places: own, asked } = places(null, json({ hub: "ws://hub:2" }));
    await own.hub("secret");

    expect(asked[0]?.headers["Authorization"]).toBe("Bearer secret");
  });

  test("is an error for a page on https when the API names a ws hub", async () => {
    onPage("https://app.example/");

    await expect(places(null, json({ hub: "ws://hub:1" })).places.hub(null)).rejects.toMatchObject({ code: "mixed_content" });
  });
});

describe("URLs", () => {
  const { places: own } = places("ws://hub:1");

  test.each([
    ["websocket", null, null, "ws://hub:1/ws?username=a%2Bb%40c%7Cd"],
    ["websocket", 0, null, "ws://hub:1/ws?username=a%2Bb%40c%7Cd&after=0"],
    ["sse", 7, "e-1", "http://hub:1/sse?username=a%2Bb%40c%7Cd&after=7&epoch=e-1"],
  ] as const)("of the %s after %s of epoch %s has a plus in the name as %%2B", (kind, after, epoch, url) => {
    expect(own.streamUrl("ws://hub:1", kind, after, epoch)).toBe(url);
  });

  test("of a stream of events are https where the socket's are wss", () => {
    expect(own.streamUrl("wss://hub/base", "sse", null, null)).toMatch(/^https:\/\/hub\/base\/sse\?/);
  });

  test("of requests name the run, or the feed with its runs and the cause", async () => {
    const { places: own, asked } = places("ws://hub:1", json({}), json({}));
    await own.get({ ...request, run: "a:b@c" }, null);
    await own.get({ ...request, runs: ["r1", "a:b"], cause: "ws_gap" }, null);

    expect(asked.map(({ url }) => url.replace("http://api:8080/base/api/v1", ""))).toEqual([
      "/runs/a:b@c/events?limit=10&after=7&epoch=E&username=a%2Bb%40c%7Cd",
      "/feeds/a%2Bb%40c%7Cd/events?limit=10&after=7&epoch=E&run_id=r1&run_id=a%3Ab&cause=ws_gap",
    ]);
  });
});

describe("an answer", () => {
  test("carries a token only where there is one", async () => {
    const { places: own, asked } = places("ws://hub:1", json({}), json({}));
    await own.get(request, null);
    await own.get(request, "secret");

    expect(asked.map(({ headers }) => headers["Authorization"])).toEqual([undefined, "Bearer secret"]);
  });

  test.each([
    ["has its status and body", json({ head: 3 }), { status: 200, body: { head: 3 } }],
    ["says how long to wait", json({}, 503, { "Retry-After": "2" }), { status: 503, body: {}, wait: 2000 }],
    ["may wait for a date, which is not read", json({}, 503, { "Retry-After": "Fri, 01 Jan" }), { status: 503, body: {} }],
    ["that is refused in plain text has no body", new Response("no", { status: 502 }), { status: 502, body: null }],
    ["that breaks off is none", new Response('{"events":['), { status: 0, body: null }],
    ["that does not come is none", new Error("away"), { status: 0, body: null }],
  ])("%s", async (_, answer, wanted) => {
    expect(await places("ws://hub:1", answer).places.get(request, null)).toEqual(wanted);
  });

  test("that refuses is the reader's error, with the server's own code", async () => {
    const { places: own } = places("ws://hub:1", json({ code: "invalid", detail: "limit: is too big" }, 400), new Error("away"));

    await expect(own.read("/runs", null)).rejects.toMatchObject({ code: "invalid", message: "limit: is too big", status: 400 });
    await expect(own.read("/runs", null)).rejects.toMatchObject({ code: "unreachable", status: 0 });
  });
});

describe("a line", () => {
  const pass = (ms: number): Promise<unknown> => vi.advanceTimersByTimeAsync(ms);

  /** A request whose answer comes as the test writes it. */
  function asking() {
    vi.useFakeTimers();
    vi.spyOn(AbortSignal, "timeout").mockImplementation((ms) => { // the platform's own is not the test's clock's
      const stop = new AbortController();
      setTimeout(() => stop.abort(), ms);
      return stop.signal;
    });
    const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
    const writer = writable.getWriter();
    const fetch = async (_: string, { signal }: RequestInit): Promise<Response> => {
      signal?.addEventListener("abort", () => void writer.abort(new Error("aborted")));
      return new Response(readable);
    };
    const got = vi.fn();
    void new Places({ api: "http://api", hub: null, username: "u", fetch: fetch as never }).get(request, null).then(got);
    return { writer, got };
  }

  test("that is slow is waited for as long as something comes, letters that are cut included", async () => {
    const { writer, got } = asking();
    for (const byte of new TextEncoder().encode('{"a":"é😀"}')) {
      await pass(29_000);
      await writer.write(Uint8Array.of(byte));
    }
    await writer.close();
    await pass(1);

    expect(got.mock.calls).toEqual([[{ status: 200, body: { a: "é😀" } }]]);
    expect(vi.getTimerCount()).toBe(0);
  });

  test("that is silent for 30 s is given up", async () => {
    const { writer, got } = asking();
    await pass(10_000);
    await writer.write(new TextEncoder().encode("{"));
    await pass(29_000);
    expect(got).not.toHaveBeenCalled();

    await pass(1_001);
    expect(got.mock.calls).toEqual([[{ status: 0, body: null }]]);
  });
});

test("fetch is called as a browser demands it: not as a method of something else", async () => {
  let owner: unknown = "not called";
  const fetch = function (this: unknown): Promise<Response> {
    owner = this;
    return Promise.resolve(json({}));
  };
  await new Places({ api: "http://api", hub: null, username: "u", fetch: fetch as never }).get(request, null);

  expect(owner).toBeUndefined();
});
