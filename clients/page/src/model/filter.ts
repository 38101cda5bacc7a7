/** Which events of a run are shown. It reads each event once, and all again only when something else is asked for. */
import type { RunEvent } from "../../../js/src/protocol.js";
import { haystack } from "./describe.js";

export interface Wanted {
  /** An event type; "": any. */
  readonly type: string;
  /** A lane's index; -1: any. */
  readonly lane: number;
  readonly text: string;
}

export const ALL: Wanted = { type: "", lane: -1, text: "" };

export function isAll({ type, lane, text }: Wanted): boolean {
  return type === "" && lane === -1 && text.trim() === "";
}

export interface Source {
  readonly events: readonly RunEvent[];
  /** How many of them it has taken. */
  readonly taken: number;
  readonly laneOf: readonly number[];
}

export class Filter {
  /** Indexes of the events that match, ascending. When all are wanted nothing is listed: see `at`. */
  #found: number[] = [];
  #read = 0;
  #wanted: Wanted = ALL;
  #all = true;
  #needles: string[] = [];

  get wanted(): Wanted {
    return this.#wanted;
  }

  get count(): number {
    return this.#all ? this.#read : this.#found.length;
  }

  /** The index of the event in this row. */
  at(row: number): number {
    return this.#all ? row : (this.#found[row] ?? -1);
  }

  /** The row of the event with this index, or of the next one that is shown. */
  rowOf(index: number): number {
    if (this.#all) return Math.min(index, this.#read);
    let low = 0;
    for (let high = this.#found.length; low < high; ) {
      const middle = (low + high) >> 1;
      if ((this.#found[middle] as number) < index) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  want(wanted: Wanted): void {
    this.#wanted = wanted;
    this.#all = isAll(wanted);
    this.#needles = wanted.text.toLowerCase().split(/\s+/).filter((word) => word !== "");
    this.restart();
  }

  restart(): void {
    this.#found = [];
    this.#read = 0;
  }

  /** Reads on, until `late` says that it takes too long. Whether it has read all. */
  read(source: Source, late: () => boolean = () => false): boolean {
    if (this.#all) this.#read = source.taken;
    while (this.#read < source.taken) {
      const index = this.#read++;
      if (this.#matches(source, index)) this.#found.push(index);
      if (index % 64 === 63 && late()) break;
    }
    return this.#read >= source.taken;
  }

  #matches({ events, laneOf }: Source, index: number): boolean {
    const event = events[index] as RunEvent;
    const { type, lane } = this.#wanted;
    if (type !== "" && event.type !== type) return false;
    if (lane !== -1 && laneOf[index] !== lane) return false;
    if (this.#needles.length === 0) return true;
    const text = haystack(event);
    return this.#needles.every((needle) => text.includes(needle));
  }
}
