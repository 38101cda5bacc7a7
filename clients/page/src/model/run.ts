/** A run's events and all that is made of them, each event once. */
import type { RunEvent } from "../../../js/src/protocol.js";
import { isTerminal } from "./kinds.js";
import { Lanes } from "./lanes.js";
import { Seqs } from "./seqs.js";

export class RunModel {
  events: readonly RunEvent[] = [];
  taken = 0;
  lanes = new Lanes();
  laneOf: number[] = [];
  types = new Map<string, number>();
  seqs = new Seqs();
  terminal: RunEvent | null = null;
  /** Another number when everything began again: indexes mean other events now. */
  life = 0;
  #last: RunEvent | undefined;

  /** Takes what is new in a snapshot, `most` events at a time. Whether it has taken all. */
  take(events: readonly RunEvent[], most = Infinity): boolean {
    if (!this.#goesOn(events)) this.#restart();
    this.events = events;
    const until = Math.min(events.length, this.taken + most);
    while (this.taken < until) this.#one(events[this.taken] as RunEvent);
    return this.taken === events.length;
  }

  /** What was taken stands where it stood. Else the numbering began anew, or the oldest were given up. */
  #goesOn(events: readonly RunEvent[]): boolean {
    if (this.taken === 0) return true;
    return events[0] === this.events[0] && events[this.taken - 1] === this.#last;
  }

  #one(event: RunEvent): void {
    const index = this.taken++;
    this.laneOf.push(this.lanes.take(event, index));
    this.types.set(event.type, (this.types.get(event.type) ?? 0) + 1);
    this.seqs.take(event.seq);
    if (isTerminal(event)) this.terminal = event;
    this.#last = event;
  }

  #restart(): void {
    this.taken = 0;
    this.lanes = new Lanes();
    this.laneOf = [];
    this.types = new Map();
    this.seqs = new Seqs();
    this.terminal = null;
    this.#last = undefined;
    this.life += 1;
  }
}
