/** What one run's or the whole feed's watchers have been given, and what waits for them. */
import { TERMINAL, type RunEvent } from "./protocol.js";

const WAITING = 5_000; // events kept while a history is read; beyond that it is read again

/** The key of the subscription to all of the user's runs; others are a run's id. */
export const FEED = "";

export class Subscription {
  readonly key: string;
  /** It has been given everything up to this id; null: it begins with whatever comes next. */
  position: number | null;
  /** It has its history, and gets events as they come. */
  loaded = false;
  /** Up to this id a history must go, before what comes live follows on it. */
  needs: number;
  /** The request that reads its history now. */
  loading: number | null = null;
  /** When its history may be asked for, ms; and how often that failed. */
  due: number;
  failures = 0;
  /** It had its terminal event: nothing is polled for it. */
  ended = false;
  /** Its numbering is another, and that is told once it is known where it goes on. */
  untold = false;
  /** Its history was not to be had: it may have none yet, or none that the token of then showed. */
  missing = false;
  #start: number | null;
  #waiting: RunEvent[] = [];

  constructor(key: string, position: number | null, needs: number, due: number) {
    this.key = key;
    this.position = this.#start = position;
    this.needs = needs;
    this.due = due;
  }

  wants(event: RunEvent): boolean {
    return this.key === FEED || this.key === event.run_id;
  }

  /** An event of ours. Whether it is to be handed on now: not one that was, and not before its history. */
  take(event: RunEvent): boolean {
    if (event.type in TERMINAL && this.key !== FEED) this.ended = true;
    const id = event.id;
    if (typeof id !== "number") return true;
    if (event.seq === 1) this.missing = false;
    else this.again(id); // there is a history before it
    if (this.position !== null && id <= this.position) return false;
    if (!this.loaded) {
      this.#wait(event, id);
      return false;
    }
    this.position = id;
    return true;
  }

  /** An event of its history. Whether it is new. */
  read(event: RunEvent): boolean {
    if (event.type in TERMINAL && this.key !== FEED) this.ended = true;
    const id = event.id as number;
    if (this.position !== null && id <= this.position) return false;
    this.position = id;
    return true;
  }

  /** Its history has been read up to an id. The events that waited for it, if now they follow on it; else null. */
  complete(head: number): RunEvent[] | null {
    this.position = Math.max(this.position ?? 0, head);
    if (this.position < this.needs) return null;
    this.loaded = true;
    const waiting = this.#waiting;
    this.#waiting = [];
    return waiting.filter((event) => this.take(event));
  }

  /** Its history has to be read on, to this id at least, from this moment on. */
  reload(needs: number, due: number): void {
    this.needs = Math.max(this.needs, needs);
    this.loaded = false;
    this.due = due;
  }

  /** What was missing is to be read from where it begins, to this id at least: it may be there by now. */
  again(needs: number): void {
    if (!this.missing) return;
    this.missing = false;
    this.position = this.#start;
    this.reload(needs, this.due);
  }

  /** Everything it was given is void. It begins anew: a run at its beginning, the feed behind the head. */
  reset(head: number | null, now: number): void {
    this.position = this.#start = this.key === FEED ? head : 0;
    this.missing = false;
    this.untold = this.position === null;
    this.loaded = this.key === FEED && head !== null;
    this.needs = head ?? 0;
    this.loading = null;
    this.ended = false;
    this.due = now;
    this.failures = 0;
    this.#waiting = [];
  }

  #wait(event: RunEvent, id: number): void {
    if (this.#waiting.length < WAITING) {
      this.#waiting.push(event);
      return;
    }
    this.#waiting = [];
    this.needs = id; // what was forgotten is in the history
  }
}
