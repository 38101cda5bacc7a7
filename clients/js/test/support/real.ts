/** The real services, where tests/integration/clients/test_js.py has started them and says so in the environment. */
import { vi } from "vitest";
import { WebSocket } from "ws";
import { Runfeed, type RunfeedOptions } from "../../src/client.js";
import type { RunEvent } from "../../src/protocol.js";
import type { Watch } from "../../src/watch.js";

const { RUNFEED_TEST_API: API, RUNFEED_TEST_HUB: HUB, RUNFEED_TEST_CONTROL: CONTROL } = process.env;

export const here = API !== undefined && HUB !== undefined && CONTROL !== undefined;

const BATCH = 1_000; // events in a request
const clients: Runfeed[] = [];

/** How many sockets were opened; each is another TCP connection through the test's proxy. */
export const sockets = { opened: 0 };

class Counted extends WebSocket {
  constructor(url: string, protocols: string[]) {
    super(url, protocols);
    this.on("open", () => (sockets.opened += 1));
  }
}

/** A client of a user whom nobody else has, with a worker's means: Node 20 has no WebSocket of its own. */
export function newClient(options: Partial<RunfeedOptions> = {}): Runfeed {
  sockets.opened = 0;
  const username = `js-${crypto.randomUUID().slice(0, 12)}`;
  const client = new Runfeed({ username, api: API, hub: HUB, WebSocket: Counted, ...options } as RunfeedOptions);
  clients.push(client);
  return client;
}

export function closeClients(): void {
  for (const client of clients.splice(0)) client.close();
}

/** Something that becomes true. */
export const until = (look: () => unknown): Promise<unknown> => vi.waitFor(look, { timeout: 15_000, interval: 10 });

async function call(method: string, url: string, body?: unknown): Promise<Record<string, unknown>> {
  const response = await fetch(url, { method, ...(body === undefined ? {} : { body: JSON.stringify(body) }) });
  const said = await response.text();
  if (!response.ok) throw new Error(`${method} ${url}: ${response.status} ${said}`);
  return JSON.parse(said) as Record<string, unknown>;
}

export async function newRun({ username }: Runfeed, run_id?: string): Promise<string> {
  return (await call("POST", `${API}/api/v1/runs`, { username, run_id }))["run_id"] as string;
}

/** A worker appends events, as fast as they are taken; the last is of this type. The ids that they got. */
export async function append(run: string, count: number, last = "step"): Promise<number[]> {
  const ids: number[] = [];
  while (ids.length < count) {
    const size = Math.min(BATCH, count - ids.length);
    const types = Array.from({ length: size }, (_, index) => (ids.length + index + 1 === count ? last : "step"));
    const answer = await call("POST", `${API}/api/v1/runs/${run}/events`, { events: types.map((type) => ({ type })) });
    ids.push(...(answer["events"] as { id: number }[]).map(({ id }) => id));
  }
  return ids;
}

/** What the Python side does to the hub and the network: cut, stop, start. */
export const control = (what: "cut" | "stop" | "start"): Promise<Record<string, unknown>> => call("POST", `${CONTROL}/${what}`);

/** How many sockets the hub itself counts. */
export async function connections(): Promise<number> {
  return (await call("GET", `${CONTROL}/stats`))["connections"] as number;
}

/** The seqs that a listener is told, as they come. */
export function seqsOf(watch: Watch): number[] {
  const seqs: number[] = [];
  watch.subscribe(({ seq }: RunEvent) => void seqs.push(seq as number));
  return seqs;
}
