/** One run, or all of a user's, as an application watches it: by listener, by iterator, or as a snapshot. */
import { type Reset, type RunEvent, RunfeedError, TERMINAL } from "./protocol.js";
import { EMPTY, type Listener, type Snapshot, type Store, tell } from "./store.js";
import { FEED } from "./subscription.js";

/** Where a watch finds what it shows: there is one store for each run, for as long as somebody watches it. */
export interface Stores {
  find(watch: Watch): Store | undefined;
  /** Throws RunfeedError when the run is watched already, from an id that is too late for this one. */
  join(watch: Watch, listener: Listener): Store;
  part(store: Store, listener: Listener): void;
}

export class Watch implements AsyncIterable<RunEvent | Reset> {
  /** The run's id; "" is the whole feed. */
  readonly key: string;
  /** It begins behind this id; null: with what comes next. */
  readonly after: number | null;
  readonly #stores: Stores;

  constructor(key: string, after: number | null, stores: Stores) {
    this.key = key;
    this.after = after;
    this.#stores = stores;
  }

  /** Calls back until the returned function is called. A function is told each event, those that came already first. */
  subscribe(listener: Listener | ((event: RunEvent) => void)): () => void {
    const given: Listener = typeof listener === "function" ? { event: listener } : listener;
    const own: Listener = {
      event: (event) => (this.#wants(event) ? given.event?.(event) : undefined),
      reset: (reset) => given.reset?.(reset),
      change: () => given.change?.(),
    };
    const store = this.#stores.join(this, own);
    for (const event of [...store.events]) tell(() => own.event?.(event));
    return () => this.#stores.part(store, own);
  }

  /** What is known now; the same object until something changes. Nothing, while nobody subscribes. */
  snapshot = (): Snapshot => this.#stores.find(this)?.snapshot ?? EMPTY;

  /** Every event in order, once; ends after a run's terminal event. A Reset says that it begins again. */
  async *[Symbol.asyncIterator](): AsyncGenerator<RunEvent | Reset, void, undefined> {
    const listener: Listener = {};
    const store = this.#stores.join(this, listener);
    try {
      let resets = store.resets.length;
      for (let next = store.dropped; ; ) {
        const reset = store.resets.at(-1);
        if (reset !== undefined && resets < store.resets.length) {
          resets = store.resets.length;
          next = 0;
          yield reset;
        } else if (next < store.dropped) {
          throw new RunfeedError("slow", "more events waited for this iterator than are kept: begin again with after");
        } else if (next < store.dropped + store.events.length) {
          const event = store.events[next++ - store.dropped] as RunEvent;
          if (this.#wants(event)) yield event;
          if (this.key !== FEED && event.type in TERMINAL) return;
        } else if (this.#isOver(store)) {
          return;
        } else {
          await store.news();
        }
      }
    } finally {
      this.#stores.part(store, listener);
    }
  }

  #wants({ id }: RunEvent): boolean {
    return this.after === null || typeof id !== "number" || id > this.after;
  }

  /** Throws what ended it. */
  #isOver(store: Store): boolean {
    if (store.over && store.error !== null) throw store.error;
    return store.over || (this.key !== FEED && store.closed);
  }
}
