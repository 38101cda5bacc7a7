/** One user's page: the client, and what is known of the feed, the runs and the connection. */
import { Runfeed } from "../../js/src/client.js";
import type { RunEvent } from "../../js/src/protocol.js";
import type { Access } from "./access.js";
import { Frames } from "./model/frames.js";
import { Lag } from "./model/lag.js";
import { type Origin, Origins } from "./model/origins.js";
import { Seqs } from "./model/seqs.js";
import { Strip } from "./model/strip.js";
import { wantsToken } from "./model/trouble.js";
import { Wire } from "./model/wire.js";
import { Shelf } from "./shelf.js";
import { Tap } from "./tap.js";

const CLOCKS_AGREE = 2_000; // ms: `Date` has whole seconds, and an answer takes its time

export class Session {
  readonly username: string;
  readonly client: Runfeed;
  readonly access: Access;
  /** It began with a token. The client brings it, and the ones after it. */
  readonly proves: boolean;
  readonly frames = new Frames();
  readonly shelf: Shelf;
  readonly lag = new Lag();
  readonly strip = new Strip();
  readonly wire = new Wire();
  /** Ids that came since the page was opened. */
  readonly ids = new Seqs();
  /** The server's clock less ours, ms; 0 when they agree. */
  skew = 0;
  cut = false;
  /** The stream was cut, and has come back since. */
  back = false;
  /** Polls that were answered since the stream was lost. */
  polledSince = 0;
  version = 0;
  readonly #listeners = new Set<(urgent: boolean) => void>();
  readonly #origins = new Origins();
  #pollsAtLoss = 0;
  #successors: number; // of the token that it began with
  #brought = 0; // by polls, since the connection last changed
  #stop: (() => void)[] = [];

  constructor(username: string, access: Access) {
    this.username = username;
    this.access = access;
    this.proves = access.token !== null;
    this.#successors = access.successors;
    const tap = new Tap(this.frames, this.#origins);
    const getToken = this.proves ? { getToken: access.get } : {};
    this.client = new Runfeed({ username, WebSocket: tap.socket(), fetch: tap.fetch, ...getToken });
    this.shelf = new Shelf(this.client, this.#listed, access.about.runs === null);
  }

  /** Only some of the user's runs are shown: there is no list of them, and the feed's ids have holes. */
  get partial(): boolean {
    return this.access.about.runs !== null;
  }

  start(): void {
    const feed = this.client.feed();
    const change = (): void => {
      if (!this.shelf.complete && feed.snapshot().loaded) this.shelf.feedIsThere();
      this.shelf.look();
      this.#tell();
    };
    const reset = (): void => {
      this.ids.restart();
      this.#origins.restart();
      this.shelf.restart();
    };
    this.#stop = [
      feed.subscribe({ event: this.#event, change, reset }),
      this.client.onConnection(this.#connection),
      this.access.subscribe(this.#succeeded),
      this.shelf.start(),
    ];
    void this.#compareClocks();
  }

  stop(): void {
    for (const stop of this.#stop) stop();
    this.client.close();
  }

  /** Now, by the server's clock: unix seconds. */
  now(): number {
    return (Date.now() + this.skew) / 1000;
  }

  setCut(on: boolean): void {
    this.cut = on;
    this.back = false;
    this.client.cut(on);
    this.#tell(true);
  }

  /** A GET of the API. */
  async ask(path: string, signal: AbortSignal): Promise<Response> {
    const token = this.proves ? await this.access.get({ renew: false }) : null;
    const headers: HeadersInit = token === null ? {} : { Authorization: `Bearer ${token}` };
    const response = await fetch(`api/v1/${path}`, { headers, signal, cache: "no-store" });
    if (response.status === 401) this.access.refused(token);
    return response;
  }

  /** Calls back when something is another; urgent: somebody waits to see it. */
  subscribe = (listener: (urgent: boolean) => void): (() => void) => {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  };

  #tell = (urgent = false): void => {
    this.version += 1;
    for (const each of this.#listeners) each(urgent);
  };

  #listed = (): void => {
    if (this.shelf.error !== null && wantsToken(this.shelf.error)) this.access.refused(this.#token);
    this.#tell();
  };

  /**
   * The next token is there. The client took each try that waited for it for one that failed, so it may be about to wait
   * for long, or to open the other kind: it begins with the best kind, at once.
   */
  #succeeded = (): void => {
    const before = this.#successors;
    this.#successors = this.access.successors;
    if (before === this.#successors || this.cut || this.client.connection().state === "open") return;
    this.client.cut(true);
    this.client.cut(false);
  };

  get #token(): string | null {
    return this.proves ? this.access.token : null;
  }

  #event = (event: RunEvent): void => {
    const now = Date.now();
    const origin = this.#originOf(event);
    if (typeof event.recorded_at === "number") this.lag.take(now - 1000 * event.recorded_at);
    this.strip.take(now, origin === "stream" ? "stream" : "poll");
    if (origin === "poll") this.#brought += 1;
    this.ids.take(event.id);
    this.shelf.happened(event);
  };

  /** Not known: a long feed has forgotten it. */
  #originOf({ id }: RunEvent): Origin {
    return this.#origins.get(id) ?? (this.client.connection().state === "open" ? "stream" : "poll");
  }

  #connection = (): void => {
    const connection = this.client.connection();
    const now = Date.now();
    const open = connection.state === "open";
    const was = this.wire.lostAt;
    this.shelf.connected(open);
    this.strip.connected(now, open);
    this.wire.changed(now, connection, this.#brought, this.cut);
    this.#brought = 0;
    if (this.wire.lostAt !== null && was === null) this.#pollsAtLoss = connection.polls;
    if (was !== null && open) this.back = true;
    this.polledSince = open ? 0 : connection.polls - this.#pollsAtLoss;
    if (connection.error !== null && wantsToken(connection.error)) this.access.failed(this.#token);
    this.#tell(was !== this.wire.lostAt);
  };

  async #compareClocks(): Promise<void> {
    try {
      const began = Date.now();
      const { headers } = await fetch("api/v1/config", { method: "HEAD", cache: "no-store" });
      const server = Date.parse(headers.get("Date") ?? "") + 500;
      const skew = server - (began + Date.now()) / 2;
      if (Math.abs(skew) > CLOCKS_AGREE) this.skew = skew;
    } catch {
      // Then they are taken to agree.
    }
  }
}
