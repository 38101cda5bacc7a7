/** Everybody who watches: whom an event is for, and whose history is to be read next. */
import type { Action } from "./actions.js";
import { FEED, Subscription } from "./subscription.js";
import type { RunEvent, Status } from "./protocol.js";

export class Watchers {
  readonly #all = new Map<string, Subscription>();
  readonly #act: (action: Action) => void;

  /** act: takes what is to be handed to the application, in order. */
  constructor(act: (action: Action) => void) {
    this.#act = act;
  }

  get size(): number {
    return this.#all.size;
  }

  has(key: string): boolean {
    return this.#all.has(key);
  }

  add(subscription: Subscription): void {
    this.#all.set(subscription.key, subscription);
  }

  remove(key: string): Subscription | undefined {
    const subscription = this.#all.get(key);
    this.#all.delete(key);
    return subscription;
  }

  [Symbol.iterator](): Iterator<Subscription> {
    return this.#all.values();
  }

  /** Those to whom something may still happen. */
  active(): Subscription[] {
    return [...this.#all.values()].filter((each) => !each.ended);
  }

  /** Those whose history is to be read and is not on its way. */
  unread(): Subscription[] {
    return [...this.#all.values()].filter((each) => !each.loaded && each.loading === null);
  }

  /** An event came: to everybody whom it is for and who has not had it. */
  spread(event: RunEvent): void {
    for (const each of this.#all.values()) if (each.wants(event) && each.take(event)) this.give(each, event);
  }

  give(to: Subscription, event: RunEvent): void {
    this.#act({ do: "event", to: to.key, event });
  }

  /** A history was read up to an id: what waited for it follows, or it has to be read on. */
  complete(to: Subscription, head: number, status: Status | null): void {
    const waited = to.complete(head);
    if (waited === null) return;
    for (const event of waited) this.give(to, event);
    this.#act({ do: "loaded", to: to.key, status });
  }

  /**
   * There is no history, or none for us: what there will be comes by the stream and the polls. due: when it is asked for
   * again, if something has come already.
   */
  missing(to: Subscription, due: number): void {
    to.missing = to.key !== FEED;
    to.due = due;
    this.complete(to, to.needs, null);
    if (to.missing) to.due = 0; // else at once
  }

  /** A stream is opened, with a token that may show more than the one before: what was missing may be there. */
  again(now: number, needs: number): void {
    for (const each of this.#all.values()) {
      if (each.missing) each.due = now;
      each.again(needs);
    }
  }

  /** This is where the feed is; everything behind it is for histories to bring. */
  anchor(now: number, head: number, epoch: string | null): void {
    for (const each of this.#all.values()) {
      if (each.position === null) {
        if (each.untold) this.#tellReset(each, head, epoch);
        this.complete(each, head, null);
      } else if (!each.loaded) each.reload(head, each.failures > 0 ? each.due : now);
    }
  }

  /** What everybody but these was given may lack something up to this id. */
  reload(now: number, needs: number, except: ReadonlySet<Subscription>): void {
    for (const each of this.#all.values()) if (!except.has(each) && !each.ended) each.reload(needs, now);
  }

  /**
   * Everything is void, for all. A feed whose head nobody knows is told later: whoever is told reads anew what it wants,
   * and then must miss nothing, but what is stored between that moment and the one in which the head is heard would be
   * before the head, and behind what was read.
   */
  reset(now: number, head: number | null, epoch: string | null): void {
    for (const each of this.#all.values()) {
      each.reset(head, now);
      if (!each.untold) this.#tellReset(each, head, epoch);
      if (each.key === FEED && each.loaded) this.#act({ do: "loaded", to: FEED, status: null });
    }
  }

  #tellReset({ key }: Subscription, head: number | null, epoch: string | null): void {
    this.#act({ do: "reset", to: key, reset: { control: true, type: "reset", epoch, head } });
  }
}
