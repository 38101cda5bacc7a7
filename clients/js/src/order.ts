/** A feed's events in the order of their ids: one cursor, and what came before its turn. */
import type { RunEvent } from "./protocol.js";

export const HOLE = 250; // ms that the next id may be missing; the hub holds 50 itself
const KEPT = 1_000; // events kept behind a hole; beyond that the poll brings them

export class Order {
  /** Everything up to this id has come; null: nobody knows yet where the feed is. */
  cursor: number | null = null;
  /** When what is missing is to be asked for; null: nothing is. */
  holeAt: number | null = null;
  /** The stream leaves out runs, and nothing else behind the cursor: an id that does not come is of one of those. */
  partial = false;
  readonly #kept = new Map<number, RunEvent>();
  #told = 0; // as far as the hub says that it has come

  /** Something is known to be missing. */
  get hole(): boolean {
    return this.cursor !== null && (this.#kept.size > 0 || this.#told > this.cursor);
  }

  /** While something is missing there is a time to ask for it; the first that was set holds. */
  watch(at: number): void {
    this.holeAt = this.hole ? (this.holeAt ?? at) : null;
  }

  /** The same after somebody was asked: this time holds, not the first. */
  watchLater(at: number): void {
    this.holeAt = this.hole ? at : null;
  }

  /** The feed is at this id now, whatever came before. */
  begin(cursor: number | null): void {
    this.cursor = cursor;
    this.#kept.clear();
    this.#told = 0;
  }

  /** The hub says that all up to this id was sent. */
  told(head: number): void {
    if (this.partial) this.cursor = Math.max(this.cursor as number, head);
    this.#told = Math.max(this.#told, head);
  }

  /** An event with an id came. Those that follow on the cursor now, in order: it may have to wait, or be a repeat. */
  arrive(event: RunEvent): RunEvent[] {
    const id = event.id as number;
    this.cursor ??= id - 1;
    if (this.partial) this.told(id - 1);
    if (id > this.cursor && this.#kept.size < KEPT) this.#kept.set(id, event);
    return id === this.cursor + 1 ? [event, ...this.advance(id)] : [];
  }

  /** Everything up to this id has come, some other way. What was kept and follows on it. */
  advance(to: number): RunEvent[] {
    let cursor = Math.max(this.cursor ?? 0, to);
    for (const id of this.#kept.keys()) if (id <= cursor) this.#kept.delete(id);
    const following: RunEvent[] = [];
    let next: RunEvent | undefined;
    while ((next = this.#kept.get(cursor + 1)) !== undefined) {
      cursor += 1;
      this.#kept.delete(cursor);
      following.push(next);
    }
    this.cursor = cursor;
    return following;
  }
}
