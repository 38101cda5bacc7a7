/** The requests that are on their way. */
import type { Action, Request } from "./actions.js";
import type { Subscription } from "./subscription.js";

export const LOADS = 4; // histories read at a time
export const LOAD_EVENTS = 2_000; // events in a page of history: some 500 KB, read without a pause that shows
export const POLL_EVENTS = 1_000;

export interface Asked {
  readonly request: Request;
  /** Whose history it reads; null: a poll. */
  readonly subscription: Subscription | null;
  /** Whom a poll asks for. */
  readonly scope: ReadonlySet<Subscription>;
}

const NOBODY: ReadonlySet<Subscription> = new Set();

export class Requests {
  readonly #asked = new Map<number, Asked>();
  readonly #act: (action: Action) => void;
  #last = 0;

  constructor(act: (action: Action) => void) {
    this.#act = act;
  }

  /** Histories that are being read. */
  get loads(): number {
    return this.#asked.size - (this.polling ? 1 : 0);
  }

  /** The id of the next request. */
  get next(): number {
    return this.#last + 1;
  }

  /** There is one poll at a time. */
  get polling(): boolean {
    for (const { subscription } of this.#asked.values()) if (subscription === null) return true;
    return false;
  }

  /** Asks. Without a subscription it is a poll for those in scope. */
  ask(request: Omit<Request, "do" | "id">, subscription: Subscription | null, scope = NOBODY): void {
    const whole: Request = { do: "get", id: ++this.#last, ...request };
    if (subscription !== null) subscription.loading = whole.id;
    this.#asked.set(whole.id, { request: whole, subscription, scope });
    this.#act(whole);
  }

  /** An answer came; what it answers, or undefined when nobody waits for it any more. */
  answered(id: number): Asked | undefined {
    const asked = this.#asked.get(id);
    this.#asked.delete(id);
    if (asked?.subscription) asked.subscription.loading = null;
    return asked;
  }

  /** Whatever is answered to this one is of no interest any more; null: to the poll; neither: to all. */
  forget(subscription?: Subscription | null): void {
    for (const [id, asked] of this.#asked) {
      if (subscription === undefined || asked.subscription === subscription) this.#asked.delete(id);
    }
  }
}
