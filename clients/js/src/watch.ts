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
  /** Says once where the feed is: at once, or as soon as that is known. */
  placed(call: (cursor: number) => void): void;
}

/** What of a store one listener or iterator is told. */
class Share {
  /** Nothing up to this id. */
  #after: number;
  readonly #store: Store;
  readonly #fromNow: boolean;

  constructor({ key, after }: Watch, store: Store, stores: Stores) {
    this.#store = store;
    this.#fromNow = key === FEED && after === null;
    this.#after = after ?? 0;
    if (!this.#fromNow || store.after === null || store.loaded) return;
    // An older history is read for somebody else: what was before now still comes, and is not ours.
    this.#after = Infinity;
    stores.placed((cursor) => (this.#after = Math.min(this.#after, cursor)));
  }

  wants({ id }: RunEvent): boolean {
    return typeof id !== "number" || id > this.#after;
  }

  /** It was told of a reset: another numbering begins, in which the old id means nothing. */
  reset(): void {
    this.#after = 0;
  }

  /** Where in the store it begins, counted from the store's own beginning. Throws when that was given up already. */
  begin(): number {
    const { dropped, events, lost } = this.#store;
    if (this.#fromNow) return dropped + events.length;
    if (lost > this.#after) {
      throw new RunfeedError("slow", "the first events were given up already: begin behind them with after, or use another Runfeed");
    }
    return dropped;
  }
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

  /**
   * Calls back until the returned function is called. A function is told each event, those that came already first.
   * Throws RunfeedError `slow` when it is to be told events of which the first were given up already.
   */
  subscribe(listener: Listener | ((event: RunEvent) => void)): () => void {
    const given: Listener = typeof listener === "function" ? { event: listener } : listener;
    const own: Listener = {
      event: (event) => (share.wants(event) ? given.event?.(event) : undefined),
      reset: (reset) => {
        share.reset();
        given.reset?.(reset);
      },
      change: () => given.change?.(),
    };
    const store = this.#stores.join(this, own);
    const share = new Share(this, store, this.#stores);
    if (given.event !== undefined) this.#replay(store, share, own); // others see in the snapshot what is not there any more
    return () => this.#stores.part(store, own);
  }

  /** What is known now; the same object until something changes. Nothing, while nobody subscribes. */
  snapshot = (): Snapshot => this.#stores.find(this)?.snapshot ?? EMPTY;

  /** Every event in order, once; ends after a run's terminal event. A Reset says that it begins again. Throws `slow` as above. */
  async *[Symbol.asyncIterator](): AsyncGenerator<RunEvent | Reset, void, undefined> {
    const listener: Listener = {};
    const store = this.#stores.join(this, listener);
    try {
      const share = new Share(this, store, this.#stores);
      let resets = store.resets.length;
      for (let next = share.begin(); ; ) {
        const reset = store.resets.at(-1);
        if (reset !== undefined && resets < store.resets.length) {
          resets = store.resets.length;
          next = 0;
          share.reset();
          yield reset;
        } else if (next < store.dropped) {
          throw new RunfeedError("slow", "more events waited for this iterator than are kept: begin again with after");
        } else if (next < store.dropped + store.events.length) {
          const event = store.events[next++ - store.dropped] as RunEvent;
          if (share.wants(event)) yield event;
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

  /** Tells what came already. */
  #replay(store: Store, share: Share, to: Listener): void {
    try {
      for (const event of store.events.slice(share.begin() - store.dropped)) tell(() => to.event?.(event));
    } catch (error) {
      this.#stores.part(store, to);
      throw error;
    }
  }

  /** Throws what ended it. */
  #isOver(store: Store): boolean {
    if (store.over && store.error !== null) throw store.error;
    return store.over || (this.key !== FEED && store.closed);
  }
}
