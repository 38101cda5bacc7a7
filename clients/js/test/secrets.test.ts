/** A token is shown nowhere: not in an error, not in what is known of a client, not on the console. */
import { inspect } from "node:util";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { Runfeed } from "../src/client.js";
import { FakeServer } from "./support/server.js";

const SECRET = "s3cret";
const EXPIRING = { control: true, type: "auth_expiring", closes_in_ms: 25_000 };
const getToken = (): string => SECRET;

let server: FakeServer;
let said: string[];

beforeEach(() => {
  vi.useFakeTimers();
  server = new FakeServer();
  said = [];
  for (const name of ["log", "info", "warn", "error", "debug"] as const) {
    vi.spyOn(console, name).mockImplementation((...words) => void said.push(inspect(words)));
  }
});
afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

/** All that an application, or its log, can see of a client that watches a run. */
async function shown(feed: Runfeed): Promise<string> {
  const run = feed.run("r1");
  run.subscribe({});
  await vi.advanceTimersByTimeAsync(20_000);
  const listed = await feed.runs().catch((error: Error) => [error, error.stack]);
  const all = [feed, run, feed.connection(), run.snapshot(), listed, said];
  return inspect(all, { depth: Infinity, showHidden: true }) + JSON.stringify(all);
}

test("a token that all goes well with", async () => {
  const feed = server.client({ getToken });
  const text = await shown(feed);
  server.last.say(EXPIRING);

  expect(server.tokens).toContain(SECRET);
  expect(text).not.toContain(SECRET);
});

test("a token that is refused for good", async () => {
  server.refusals.push(401, 401, 401, 401);
  const text = await shown(server.client({ getToken }));

  expect(text).toContain("401");
  expect(text).not.toContain(SECRET);
});

test("a token that the platform cannot send, and names in what it throws", async () => {
  const tried: string[] = [];
  const fails = (what: unknown): never => {
    tried.push(JSON.stringify(what));
    throw new SyntaxError(`this is invalid: ${JSON.stringify(what)}`);
  };
  const fetch = (async (_: string, { headers }: { headers: unknown }) => fails(headers)) as never;
  const WebSocket = function (_: string, protocols: unknown) {
    fails(protocols);
  } as never;
  const text = await shown(server.client({ getToken, fetch, WebSocket }));

  expect(tried.some((each) => each.includes(`bearer.${SECRET}`))).toBe(true);
  expect(tried.some((each) => each.includes(`Bearer ${SECRET}`))).toBe(true);
  expect(text).not.toContain(SECRET);
});
