/** All that is known of one run, or of all of a user's, and who is to be told of it. */
import { CLOSED, type Reset, type RunEvent, RunfeedError, type Status } from "./protocol.js";
import { FEED } from "./subscription.js";
import { add, later, NOTHING, type Summary } from "./summary.js";

/** What is known now. The object, and `events`, are other ones whenever something in them is. */
export interface Snapshot extends Summary {
  readonly events: readonly RunEvent[];
  readonly last: RunEvent | null;
  /** How many events stood before the first of `events` and were given up: no more are kept than some 100,000. */
  readonly dropped: number;
  /** The history is there: what is missing behind the first of `events` has not happened. */
  readonly loaded: boolean;
  /** What is wrong, and may mend itself; or why all ended. */
  readonly error: RunfeedError | null;
}

export const EMPTY: Snapshot = { ...NOTHING, events: [], last: null, dropped: 0, loaded: false, error: null };

export interface Listener {
  /** Each event, in order, once; first those that came already. */
  event?(event: RunEvent): void;
  /** What was shown is void: it begins again. */
  reset?(reset: Reset): void;
  /** The snapshot is another: at most once a frame. */
  change?(): void;
}

export class Store {
  /** The run's id; "" is the whole feed. */
  readonly key: string;
  readonly listeners = new Set<Listener>();
  readonly #most: number;
  readonly #sleepers = new Set<() => void>();
  readonly #changed: (store: Store) => void;
  #events: RunEvent[] = [];
  #dropped = 0;
  #lost = 0;
  #after: number | null;
  #summary: Summary = NOTHING;
  #loaded = false;
  #error: RunfeedError | null = null;
  #resets: Reset[] = [];
  #over = false;
  #snapshot: Snapshot | null = null;

  /** most: events that are kept; the oldest go first. changed: is told when something did. */
  constructor(key: string, after: number | null, most: number, changed: (store: Store) => void) {
    this.key = key;
    this.#after = after;
    this.#most = most;
    this.#changed = changed;
  }

  get snapshot(): Snapshot {
    this.#snapshot ??= {
      ...this.#summary,
      events: this.#events.slice(),
      last: this.#events.at(-1) ?? null,
      dropped: this.#dropped,
      loaded: this.#loaded,
      error: this.#error,
    };
    return this.#snapshot;
  }

  /** It begins behind this id; null: with what comes next. */
  get after(): number | null {
    return this.#after;
  }

  /** The events that are kept, as they are now. */
  get events(): readonly RunEvent[] {
    return this.#events;
  }

  /** How many events stood before those that are kept, and were given up for the bound. */
  get dropped(): number {
    return this.#dropped;
  }

  /** The last id that was given up; Infinity: an event without one was. */
  get lost(): number {
    return this.#lost;
  }

  get resets(): readonly Reset[] {
    return this.#resets;
  }

  /** Its history is there. */
  get loaded(): boolean {
    return this.#loaded;
  }

  /** Nothing will come any more. */
  get over(): boolean {
    return this.#over;
  }

  get error(): RunfeedError | null {
    return this.#error;
  }

  /** The run had ended before we came, and its history is there. */
  get closed(): boolean {
    return this.#loaded && CLOSED.includes(this.#summary.status);
  }

  /** Waits until something happens. */
  async news(): Promise<void> {
    await new Promise<void>((wake) => this.#sleepers.add(wake));
  }

  take(event: RunEvent): void {
    this.#events.push(event);
    if (this.#events.length > this.#most) {
      const many = Math.ceil(this.#most / 10); // seldom, because it costs
      for (const { id } of this.#events.splice(0, many)) this.#lost = Math.max(this.#lost, id ?? Infinity);
      this.#dropped += many;
    }
    this.#summary = add(this.#summary, event);
    if (this.#error?.code === "run_unknown") this.#error = null;
    for (const each of this.listeners) tell(() => each.event?.(event));
    this.#touch();
  }

  reset(reset: Reset): void {
    this.#events = [];
    this.#dropped = this.#lost = 0;
    this.#after = this.key === FEED ? reset.head : 0; // as the machine begins again
    this.#summary = NOTHING;
    this.#loaded = false;
    this.#resets.push(reset);
    for (const each of this.listeners) tell(() => each.reset?.(reset));
    this.#touch();
  }

  historyCame(status: Status | null): void {
    this.#loaded = true;
    if (status !== null) this.#summary = { ...this.#summary, status: later(this.#summary.status, status) };
    if (status !== null || this.key === FEED) this.#error = null; // a run without a status is one that nobody knows yet
    this.#touch();
  }

  trouble(error: RunfeedError): void {
    this.#error = error;
    this.#touch();
  }

  end(error: RunfeedError | null): void {
    this.#over = true;
    this.#error = error;
    this.#touch();
  }

  /** From now on the snapshot is another. */
  flush(): void {
    this.#snapshot = null;
    for (const each of this.listeners) tell(() => each.change?.());
  }

  #touch(): void {
    const sleepers = [...this.#sleepers];
    this.#sleepers.clear();
    for (const wake of sleepers) wake();
    this.#changed(this);
  }
}

/** A listener that throws is its author's affair: it is reported, and nobody else is hurt. */
export function tell(call: () => void): void {
  try {
    call();
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}
