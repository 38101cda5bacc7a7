/** The client: the machine with a clock, sockets and requests. */
import type { Action, Request } from "./actions.js";
import { Machine } from "./machine.js";
import { apiBase, hubBase, NO_ANSWER, Places } from "./places.js";
import { RunfeedError, RUN_ID, type Status, type Stream, type Transport, USERNAME } from "./protocol.js";
import { type Heard, openEvents, type OpenStream, openWebSocket, type WebSocketClass } from "./streams.js";
import { FEED } from "./subscription.js";
import { type Listener, Store, tell } from "./store.js";
import { type GetToken, Tokens } from "./tokens.js";
import { type Stores, Watch } from "./watch.js";

const LINGER = 250; // ms that a watch stays without listeners: a component that is mounted again keeps it
const LONGEST_TIMER = 2 ** 31 - 1; // ms; what is longer ends at once
const HIDDEN_FRAME = 100; // ms between two changes where nothing is painted
const MOST_OF_RUN = 100_000; // events
const MOST_OF_FEED = 10_000;

export interface RunfeedOptions {
  /** Whose runs. */
  readonly username: string;
  /** The API's base URL; the page's origin when left out. */
  readonly api?: string;
  /** The hub's base URL, ws or wss; what the API says when left out. */
  readonly hub?: string;
  /** A token for both services. Asked for before each use: keep it. renew: the last one was refused, or runs out. */
  readonly getToken?: GetToken;
  /** ms of silence before a poll. */
  readonly pollInterval?: number;
  readonly WebSocket?: WebSocketClass;
  readonly fetch?: typeof fetch;
}

/** How events come now. */
export interface Connection {
  readonly transport: Transport;
  readonly state: "idle" | "waiting" | "connecting" | "open";
  /** When the next try is: ms, as of Date.now(); null: now, or not at all. */
  readonly retryAt: number | null;
  /** Everything up to this id has come. */
  readonly cursor: number | null;
  /** Polls that were answered. */
  readonly polls: number;
  /** Why all ended. */
  readonly error: RunfeedError | null;
}

/** A run as the API describes it. Times are unix seconds. */
export interface RunInfo {
  readonly run_id: string;
  readonly username: string;
  readonly workflow: string | null;
  readonly status: Status;
  readonly progress: number | null;
  readonly current_step: string | null;
  readonly last_seq: number;
  readonly created_at: number;
  readonly started_at: number | null;
  readonly finished_at: number | null;
  readonly updated_at: number;
  readonly metadata: Record<string, unknown> | null;
}

export class Runfeed {
  readonly username: string;
  readonly #options: RunfeedOptions;
  readonly #places: Places;
  readonly #kinds: readonly Stream[];
  readonly #tokens: Tokens;
  readonly #stores = new Map<string, Store>();
  readonly #leaving = new Map<Store, ReturnType<typeof setTimeout>>();
  readonly #dirty = new Set<Store>();
  readonly #lookers = new Set<() => void>();
  readonly #unplaced: ((cursor: number) => void)[] = []; // who waits to hear where the feed is
  #machine: Machine;
  #stream: OpenStream | null = null;
  #opening = 0; // the number of the last try: what an earlier one says is not heard
  #timer: ReturnType<typeof setTimeout> | null = null;
  #frame: ReturnType<typeof setTimeout> | null = null; // at the latest then what changed is told
  #pumping = false;
  #carried = 0; // the number of the token that the stream has
  #cut = false;
  #closed = false;
  #time = 0;
  #clock = Date.now();
  #connection: Connection | null = null;
  #told: Connection | null = null; // what the lookers know: some may have read a newer one
  #retryAt = 0; // of #connection, in the machine's time

  constructor(options: RunfeedOptions) {
    if (!USERNAME.test(options.username)) {
      throw new RunfeedError("invalid", `username: must be 1 to 128 letters, digits and ._@|:+-, not ${JSON.stringify(options.username)}`);
    }
    this.username = options.username;
    this.#options = options;
    const hub = options.hub === undefined ? null : hubBase(options.hub);
    const call = options.fetch ?? globalThis.fetch.bind(globalThis);
    this.#places = new Places({ api: apiBase(options.api), hub, username: options.username, fetch: call });
    this.#kinds = options.WebSocket ?? globalThis.WebSocket ? ["websocket", "sse"] : ["sse"];
    this.#tokens = new Tokens(options.getToken);
    this.#machine = this.#begin();
  }

  /** One run: from its beginning, or behind an id. */
  run(runId: string, { after = 0 }: { after?: number } = {}): Watch {
    if (!RUN_ID.test(runId)) throw new RunfeedError("invalid", `run_id: ${JSON.stringify(runId)} is none`);
    return new Watch(runId, after, this.#shelf);
  }

  /** All of the user's runs: what happens from now on, or behind an id. */
  feed({ after = null }: { after?: number | null } = {}): Watch {
    return new Watch(FEED, after, this.#shelf);
  }

  /** The user's runs, newest first, and the cursor of the next page. */
  async runs(options: { status?: Status; limit?: number; cursor?: string } = {}): Promise<{ runs: RunInfo[]; cursor: string | null }> {
    const query = new URLSearchParams({ username: this.username });
    for (const [name, value] of Object.entries(options)) if (value !== undefined) query.set(name, String(value));
    const read = (token: string | null) => this.#places.read(`/runs?${query}`, token) as Promise<never>;
    const [token, number] = await this.#tokens.token();
    try {
      return await read(token);
    } catch (error) {
      if (token === null || (error as RunfeedError).status !== 401) throw error;
    }
    this.#tokens.renew(number);
    return read((await this.#tokens.token())[0]);
  }

  /** How events come now; the same object until that changes. */
  connection = (): Connection => {
    const { link, transport, cursor, polls, failed } = this.#machine;
    const retryAt = link.state === "waiting" ? Date.now() + link.retryAt - this.#now() : null;
    const now: Connection = { transport, state: link.state, retryAt, cursor, polls, error: failed };
    const old = this.#connection;
    const same = old !== null && now.transport === old.transport && now.state === old.state && now.cursor === old.cursor
      && now.polls === old.polls && now.error === old.error && (retryAt === null || link.retryAt === this.#retryAt);
    if (!same) {
      this.#connection = now;
      this.#retryAt = link.retryAt;
    }
    return this.#connection as Connection;
  };

  /** Calls back when `connection()` is another, until the returned function is called. */
  onConnection = (listener: () => void): (() => void) => {
    this.#lookers.add(listener);
    return () => void this.#lookers.delete(listener);
  };

  /** Asks now whether anything is missing. */
  refresh(): void {
    this.#do(() => this.#machine.refresh(this.#now()));
  }

  /** Cuts the stream and lets none open, to see what happens then; `false` ends that. */
  cut(on = true): void {
    this.#cut = on;
    this.#do(() => (on ? this.#machine.closed(this.#now(), 1006, "") : this.#machine.wake(this.#now())));
    if (on) this.#drop();
  }

  /** Ends everything: listeners hear nothing more, iterators end. */
  close(): void {
    this.#closed = true;
    for (const store of [...this.#stores.values()]) {
      this.#remove(store);
      store.end(null);
      store.listeners.clear();
    }
  }

  readonly #shelf: Stores = {
    find: ({ key }) => this.#stores.get(key),
    join: (watch, listener) => this.#join(watch, listener),
    part: (store, listener) => this.#part(store, listener),
    placed: (call) => {
      this.#unplaced.push(call);
      this.#place();
    },
  };

  #join({ key, after }: Watch, listener: Listener): Store {
    let store = this.#stores.get(key);
    if (store === undefined || store.over) {
      store = new Store(key, after, key === FEED ? MOST_OF_FEED : MOST_OF_RUN, this.#changed);
      if (this.#closed) store.end(null);
      else this.#add(store);
    } else if ((after ?? Infinity) < (store.after ?? Infinity)) {
      throw new RunfeedError("invalid", `after: this is watched from ${store.after ?? "now"} on already; use another Runfeed`);
    }
    clearTimeout(this.#leaving.get(store));
    this.#leaving.delete(store);
    store.listeners.add(listener);
    return store;
  }

  #part(store: Store, listener: Listener): void {
    store.listeners.delete(listener);
    if (store.listeners.size > 0 || this.#stores.get(store.key) !== store || this.#leaving.has(store)) return;
    this.#leaving.set(store, setTimeout(() => this.#remove(store), LINGER));
  }

  #add(store: Store): void {
    this.#listen(true);
    this.#stores.set(store.key, store);
    if (this.#machine.failed !== null) this.#machine = this.#begin();
    this.#do(() => this.#machine.watch(this.#now(), store.key, store.after));
  }

  #remove(store: Store): void {
    clearTimeout(this.#leaving.get(store));
    this.#leaving.delete(store);
    if (this.#stores.get(store.key) !== store) return;
    this.#stores.delete(store.key);
    this.#do(() => this.#machine.unwatch(this.#now(), store.key));
    if (this.#stores.size === 0) this.#listen(false);
  }

  #changed = (store: Store): void => {
    this.#dirty.add(store);
    this.#paint();
  };

  #begin(): Machine {
    const { pollInterval } = this.#options;
    return new Machine({ kinds: this.#kinds, ...(pollInterval === undefined ? {} : { pollInterval }) });
  }

  // The machine's world.

  /** ms that only grow, and go on while the machine sleeps. */
  #now(): number {
    const clock = Date.now();
    this.#time += Math.max(0, clock - this.#clock);
    this.#clock = clock;
    return this.#time;
  }

  /** carried: the number of the token with which it was heard. */
  #do(call: () => void, carried = this.#carried): void {
    call();
    this.#place();
    if (this.#pumping) return;
    this.#pumping = true;
    for (let actions = this.#machine.actions(); actions.length > 0; actions = this.#machine.actions()) {
      for (const action of actions) this.#act(action, carried);
    }
    this.#pumping = false;
    if (this.#timer !== null) clearTimeout(this.#timer);
    const due = this.#machine.due;
    this.#timer = due === null ? null : setTimeout(this.#tick, Math.min(Math.max(0, due - this.#now()), LONGEST_TIMER));
    this.#paint();
  }

  /** Before what happened is told: the next event moves the cursor. */
  #place(): void {
    const { cursor } = this.#machine;
    if (cursor !== null) for (const each of this.#unplaced.splice(0)) each(cursor);
  }

  #tick = (): void => this.#do(() => this.#machine.tick(this.#now()));

  #act(action: Action, carried: number): void {
    switch (action.do) {
      case "connect":
        return void this.#open(action.kind, action.after, action.epoch);
      case "disconnect":
        return this.#drop();
      case "get":
        return void this.#get(action);
      case "event":
        return this.#stores.get(action.to)?.take(action.event);
      case "reset":
        return this.#stores.get(action.to)?.reset(action.reset);
      case "loaded":
        return this.#stores.get(action.to)?.historyCame(action.status);
      case "problem":
        return this.#stores.get(action.to)?.trouble(action.error);
      case "renew":
        return this.#tokens.renew(carried);
      case "authenticate":
        return void this.#authenticate(this.#stream);
      case "fail":
        for (const store of this.#stores.values()) store.end(action.error); // still shown; who joins begins again
        this.#listen(false);
    }
  }

  async #open(kind: Stream, after: number | null, epoch: string | null): Promise<void> {
    const number = ++this.#opening;
    const current = (call: () => void) => () => (number === this.#opening ? this.#do(call) : undefined);
    try {
      if (this.#cut) throw new Error("cut");
      const [token, carried] = await this.#tokens.token();
      const hub = await this.#places.hub(token);
      if (number !== this.#opening) return;
      this.#carried = carried;
      const url = this.#places.streamUrl(hub, kind, after, epoch);
      const heard = this.#heard(current);
      this.#stream = kind === "websocket"
        ? openWebSocket(this.#options.WebSocket ?? globalThis.WebSocket, url, token, heard)
        : openEvents(this.#options.fetch ?? globalThis.fetch.bind(globalThis), url, token, heard);
    } catch (error) {
      const final = error instanceof RunfeedError;
      current(() => this.#machine.closed(this.#now(), final ? 4400 : 1006, final ? error.message : ""))();
    }
  }

  /** When no token is had, the hub closes the stream, and what follows of that is the machine's. */
  async #authenticate(stream: OpenStream | null): Promise<void> {
    try {
      const [token, number] = await this.#tokens.token();
      if (token === null) return;
      stream?.authenticate?.(token);
      this.#carried = number; // also of a stream that was opened meanwhile: it waited for the same one
    } catch {}
  }

  #heard(current: (call: () => void) => () => void): Heard {
    return {
      opened: () => current(() => this.#machine.opened(this.#now()))(),
      text: (text) => current(() => this.#machine.message(this.#now(), text))(),
      beat: (head) => current(() => this.#machine.beat(this.#now(), head))(),
      closed: (code, reason) => {
        const none = code === 4404 && this.#places.guessed; // no hub at the API's address: polls bring what happens
        current(() => this.#machine.closed(this.#now(), none ? 1006 : code, none ? "" : reason))();
      },
    };
  }

  #drop(): void {
    this.#opening += 1;
    this.#stream?.close();
    this.#stream = null;
  }

  async #get(request: Request): Promise<void> {
    const machine = this.#machine;
    let answer = NO_ANSWER; // without a token that should be there, too
    let number = 0;
    try {
      const [token, carried] = await this.#tokens.token();
      number = carried;
      answer = await this.#places.get(request, token);
    } catch {}
    this.#do(() => machine.answered(this.#now(), request.id, answer), number);
  }

  /** What changed is told once a frame: nobody sees more. */
  #paint(): void {
    if (this.#frame !== null) return;
    const flush = (): void => {
      if (this.#frame === timer) this.#flush();
    };
    // No frame comes to a page that is hidden, and none that was asked for before it was: time is waited for as well.
    const timer = setTimeout(flush, HIDDEN_FRAME);
    this.#frame = timer;
    if (typeof requestAnimationFrame === "function" && !(typeof document === "object" && document.hidden)) {
      requestAnimationFrame(flush);
    }
  }

  #flush(): void {
    if (this.#frame !== null) clearTimeout(this.#frame);
    this.#frame = null;
    const dirty = [...this.#dirty];
    this.#dirty.clear();
    for (const store of dirty) store.flush();
    const now = this.connection();
    if (now === this.#told) return;
    this.#told = now;
    for (const each of this.#lookers) tell(each);
  }

  #wake = (): void => {
    if (typeof document !== "object" || !document.hidden) this.#do(() => this.#machine.wake(this.#now()));
  };

  /** Listens, while there is anything to watch, for what says that a try may succeed now. */
  #listen(on: boolean): void {
    if (typeof globalThis.addEventListener !== "function") return;
    const method = on ? "addEventListener" : "removeEventListener";
    for (const name of ["online", "pageshow"]) globalThis[method](name, this.#wake);
    if (typeof document === "object") document[method]("visibilitychange", this.#wake);
  }
}
