/** The API and the hub of user u, as small as they can be, inside the test: no network, and no time of their own. */
import { Runfeed, type RunfeedOptions } from "../../src/client.js";
import type { RunEvent } from "../../src/protocol.js";

const CODES: Readonly<Record<number, string>> = { 404: "run_unknown", 503: "store_away" };
const TERMINAL = /^workflow_(completed|failed|cancelled)$/;

/** An event stream as `fetch` answers one; the server's side of it is `say` and `end`. */
export class FakeStream {
  readonly headers = new Headers({ "Content-Type": "text/event-stream" });
  readonly status = 200;
  readonly #pieces: (Uint8Array | null)[] = [];
  #wake = (): void => {};

  constructor(readonly after: string | null, readonly token: string | null) {}

  readonly body = {
    getReader: () => ({
      read: async () => {
        while (this.#pieces.length === 0) await new Promise<void>((woken) => (this.#wake = woken));
        const value = this.#pieces.shift();
        return { done: value === null, value };
      },
    }),
  };

  say(frame: object): void {
    this.#put(new TextEncoder().encode(`data: ${JSON.stringify(frame)}\n\n`));
  }

  end(): void {
    this.#put(null);
  }

  #put(piece: Uint8Array | null): void {
    this.#pieces.push(piece);
    this.#wake();
  }
}

/** A browser's WebSocket as a page sees it; the server's side of it is `accept`, `say` and `shut`. */
export class FakeSocket {
  protocol = "";
  open = false;
  /** By the client. */
  closed = false;
  onopen: (() => void) | null = null;
  onmessage: ((message: { data: string }) => void) | null = null;
  onclose: ((close: { code: number; reason: string }) => void) | null = null;
  /** By the client, parsed. */
  readonly sent: unknown[] = [];
  readonly #server: FakeServer;

  constructor(server: FakeServer, readonly url: string, readonly protocols: string[]) {
    this.#server = server;
    server.sockets.push(this);
    if (server.accepts) queueMicrotask(() => this.accept());
  }

  get after(): string | null {
    return new URL(this.url).searchParams.get("after");
  }

  accept(): void {
    if (this.closed) return;
    const { events, epoch } = this.#server;
    this.protocol = "runfeed.v1";
    this.open = true;
    this.onopen?.();
    const from = Number(this.after ?? events.length);
    this.say({ control: true, type: "connected", head: from, epoch });
    for (const event of events.slice(from)) this.say(event);
    this.say({ control: true, type: "caught_up", head: events.length, epoch });
  }

  say(frame: object): void {
    this.onmessage?.({ data: JSON.stringify(frame) });
  }

  send(text: string): void {
    this.sent.push(JSON.parse(text));
  }

  shut(code: number, reason = ""): void {
    this.open = false;
    this.onclose?.({ code, reason });
  }

  close(): void {
    this.open = false;
    this.closed = true;
  }
}

export class FakeServer {
  readonly sockets: FakeSocket[] = [];
  readonly streams: FakeStream[] = [];
  /** Event streams open; else no `/sse` is answered. */
  streaming = false;
  /** Path and query of every request; and its token. */
  readonly asked: string[] = [];
  readonly tokens: (string | null)[] = [];
  /** Given instead of an answer, one request each: a status, or 0 for none. */
  readonly refusals: number[] = [];
  events: RunEvent[] = [];
  epoch = "E";
  /** Paths that the API answers 404. */
  readonly unknown = new Set<string>();
  /** Sockets are answered; else they hang. */
  accepts = true;

  get live(): FakeSocket[] {
    return this.sockets.filter((socket) => socket.open);
  }

  get last(): FakeSocket {
    return this.sockets.at(-1) as FakeSocket;
  }

  /** A worker appends events; quiet: the hub does not send them. */
  append(run: string, types: string[], { quiet = false, ...fields }: Record<string, unknown> = {}): void {
    for (const type of types) {
      const seq = this.events.filter(({ run_id }) => run_id === run).length + 1;
      const event = { id: this.events.length + 1, seq, run_id: run, username: "u", type, ...fields };
      this.events.push(event);
      if (!quiet) for (const socket of this.live) socket.say(event);
    }
  }

  client(options: Partial<RunfeedOptions> = {}): Runfeed {
    const { fetch, WebSocket } = this;
    return new Runfeed({ username: "u", api: "http://api", hub: "ws://hub", fetch, WebSocket, ...options });
  }

  readonly WebSocket = (() => {
    const server = this; // the class below has a `this` of its own
    return class extends FakeSocket {
      constructor(url: string, protocols: string[]) {
        super(server, url, protocols);
      }
    } as unknown as typeof WebSocket;
  })();

  readonly fetch = (async (input: string, { headers }: { headers: Record<string, string> }) => {
    const url = new URL(input);
    this.asked.push(url.pathname.replace("/api/v1", "") + url.search);
    this.tokens.push(headers["Authorization"]?.replace("Bearer ", "") ?? null);
    if (url.pathname === "/sse" && this.streaming) return this.#stream(url);
    const unknown = this.unknown.has(url.pathname);
    const refused = unknown ? 404 : this.refusals.shift();
    if (refused === 0 || (url.pathname === "/sse" && !unknown)) throw new TypeError("fetch failed");
    const body = refused === undefined ? this.#answer(url) : { code: CODES[refused] ?? "no", detail: "not now" };
    // Not a Response: reading one takes real time, of which the tests' clocks know nothing.
    return { status: refused ?? 200, headers: new Headers(), text: async () => JSON.stringify(body) };
  }) as unknown as typeof fetch;

  #stream({ searchParams }: URL): FakeStream {
    const stream = new FakeStream(searchParams.get("after"), this.tokens.pop() as string | null);
    this.asked.pop();
    this.streams.push(stream);
    const from = Number(stream.after ?? this.events.length);
    stream.say({ control: true, type: "connected", head: from, epoch: this.epoch });
    for (const event of this.events.slice(from)) stream.say(event);
    return stream;
  }

  #answer({ pathname, searchParams }: URL): object {
    const [, kind, name] = /\/(runs|feeds)\/([^/]+)\/events$/.exec(pathname) ?? [];
    const after = Number(searchParams.get("after") ?? (kind === "runs" ? 0 : this.events.length));
    const limit = Number(searchParams.get("limit"));
    const runs = kind === "runs" ? [name] : searchParams.getAll("run_id");
    const wanted = this.events.filter(({ run_id }) => runs.length === 0 || runs.includes(run_id));
    const events = wanted.filter(({ id }) => (id as number) > after).slice(0, limit);
    const head = this.events.length;
    const next = events.length === limit ? events.at(-1)?.id : head;
    return { epoch: this.epoch, events, head, next, ...(kind === "runs" ? this.#run(wanted) : {}) };
  }

  #run(events: RunEvent[]): object {
    const end = TERMINAL.exec(events.at(-1)?.type ?? "");
    return { last_seq: events.length, status: end?.[1] ?? (events.length > 0 ? "running" : "queued") };
  }
}

export const many = (count: number, type = "step"): string[] => Array<string>(count).fill(type);

/** An array of 1..last. */
export const upTo = (last: number): number[] => Array.from({ length: last }, (_, index) => index + 1);
