/** The steps of a run as lanes of bars, one event at a time: O(1) each, whatever came before. */
import type { RunEvent } from "../../../js/src/protocol.js";
import { type Ending, isTerminal, nameOf, partsOf, timeOf } from "./kinds.js";

const MOST_BARS = 60; // of a lane are kept one by one; of those before, only how many there were

export interface Bar {
  readonly start: number;
  end: number | null;
  /** null: it runs. `again`: it was started once more before it ended. `open`: the run ended and it had not. */
  ending: Ending | "again" | "open" | null;
  /** Its start was seen; else only its end is known, and it is a point. */
  readonly started: boolean;
  /** From 1: which try of its lane. */
  readonly attempt: number;
  /** The indexes of its first and last event. */
  readonly first: number;
  last: number;
}

export interface Lane {
  readonly index: number;
  readonly name: string;
  /** The node, where the step has a name of its own. */
  readonly node: string | null;
  readonly bars: Bar[];
  /** Bars that are not kept any more, and the time that they took up. */
  dropped: number;
  readonly droppedFrom: number;
  droppedTo: number;
  events: number;
  /** Another number whenever a bar of it is another. */
  version: number;
}

export class Lanes {
  readonly all: Lane[] = [];
  /** The earliest and the latest time that an event named. */
  from: number | null = null;
  to: number | null = null;
  /** The first event's time: what offsets count from. */
  origin: number | null = null;
  readonly running = new Set<Lane>();
  readonly #byKey = new Map<string, Lane>();
  readonly #byName = new Map<string, Lane>();
  #time = 0;

  /** Takes the event with this index; its lane's index, or -1. */
  take(event: RunEvent, index: number): number {
    const time = this.#clock(event);
    if (isTerminal(event)) {
      this.#finish(time, index);
      return -1;
    }
    const parts = partsOf(event.type);
    const lane = this.#laneOf(event, parts?.what ?? null, parts?.says === "started", time);
    if (lane === null) return -1;
    lane.events += 1;
    const open = lane.bars.at(-1);
    if (open !== undefined && open.ending === null) open.last = index;
    if (parts?.says === "started") this.#start(lane, time, index);
    else if (parts !== null) this.#end(lane, time, index, parts.says);
    return lane.index;
  }

  /** The event's time; without one, that of the event before it. */
  #clock(event: RunEvent): number {
    const said = timeOf(event);
    if (said !== null) {
      this.origin ??= said;
      this.from = Math.min(this.from ?? said, said);
      this.to = Math.max(this.to ?? said, said);
      this.#time = said;
    }
    return this.#time;
  }

  /** The lane of a step and node. One name of the two finds the lane that had both, the latest of them. */
  #laneOf(event: RunEvent, what: string | null, starts: boolean, time: number): Lane | null {
    const step = nameOf(event, "step_name");
    const node = nameOf(event, "node_id");
    if (step === null && node === null) return this.#unnamed(what, starts, time);
    const key = `${step ?? ""}\n${node ?? ""}`;
    let lane = this.#byKey.get(key);
    if (lane === undefined && (step === null || node === null)) {
      lane = this.#byName.get(step === null ? `n${node}` : `s${step}`);
    }
    lane ??= this.#add(key, step ?? (node as string), step === null ? null : node, time);
    if (step !== null) this.#byName.set(`s${step}`, lane);
    if (node !== null) this.#byName.set(`n${node}`, lane);
    return lane;
  }

  /** `render_started` without a name is a lane of its own; `steps_completed`, which nothing started, is not. */
  #unnamed(what: string | null, starts: boolean, time: number): Lane | null {
    if (what === null || what === "" || what === "workflow" || what === "run") return null;
    return this.#byKey.get(what) ?? (starts ? this.#add(what, what, null, time) : null);
  }

  #add(key: string, name: string, node: string | null, time: number): Lane {
    const lane: Lane = {
      index: this.all.length, name, node: node === name ? null : node, bars: [],
      dropped: 0, droppedFrom: time, droppedTo: time, events: 0, version: 0,
    };
    this.all.push(lane);
    this.#byKey.set(key, lane);
    return lane;
  }

  #start(lane: Lane, time: number, index: number): void {
    const open = lane.bars.at(-1);
    if (open !== undefined && open.ending === null) this.#close(lane, open, time, "again");
    this.#push(lane, { start: time, end: null, ending: null, started: true, attempt: 0, first: index, last: index });
    this.running.add(lane);
  }

  #end(lane: Lane, time: number, index: number, ending: Ending): void {
    const open = lane.bars.at(-1);
    if (open !== undefined && open.ending === null) {
      this.#close(lane, open, time, ending);
      this.running.delete(lane);
      return;
    }
    if (open !== undefined && open.ending === ending && open.end === time) return; // said twice
    this.#push(lane, { start: time, end: time, ending, started: false, attempt: 0, first: index, last: index });
  }

  #push(lane: Lane, bar: Bar): void {
    lane.bars.push({ ...bar, attempt: lane.dropped + lane.bars.length + 1 });
    if (lane.bars.length > MOST_BARS) {
      const old = lane.bars.shift() as Bar;
      lane.dropped += 1;
      lane.droppedTo = Math.max(lane.droppedTo, old.end ?? old.start);
    }
    lane.version += 1;
  }

  /** Clocks of two machines may disagree: no bar ends before it began. */
  #close(lane: Lane, bar: Bar, time: number, ending: NonNullable<Bar["ending"]>): void {
    bar.end = Math.max(bar.start, time);
    bar.ending = ending;
    lane.version += 1;
  }

  /** The run ended: what had no end gets none. */
  #finish(time: number, index: number): void {
    for (const lane of this.running) {
      const bar = lane.bars.at(-1) as Bar;
      bar.last = index;
      this.#close(lane, bar, time, "open");
    }
    this.running.clear();
  }
}

/** What is drawn of a lane: a bar, or a stretch in which bars are too close to be told apart. */
export interface Stretch {
  /** The only one, or the first. */
  readonly bar: Bar;
  readonly end: number | null;
  /** How many bars it stands for. */
  readonly many: number;
}

/** The stretches of a lane, where what is shorter than `least` seconds cannot be seen. */
export function stretches({ bars }: Lane, least: number): Stretch[] {
  const found: Stretch[] = [];
  for (const bar of bars) {
    const last = found.at(-1);
    const short = bar.end !== null && bar.end - bar.start < least;
    if (last !== undefined && short && last.end !== null && bar.start - last.end < least && isDense(last, least)) {
      found[found.length - 1] = { bar: last.bar, end: Math.max(last.end, bar.end as number), many: last.many + 1 };
    } else {
      found.push({ bar, end: bar.end, many: 1 });
    }
  }
  return found;
}

function isDense({ bar, end, many }: Stretch, least: number): boolean {
  return many > 1 || (end as number) - bar.start < least;
}

/** A lane in words: what became of its last tries. */
export function told(lane: Lane, write: (seconds: number) => string): string {
  const said = lane.bars.slice(-4).map((bar) => {
    if (bar.ending === null) return "running";
    if (!bar.started) return `${bar.ending}, its start was not seen`;
    const how = bar.ending === "again" ? "started again" : bar.ending === "open" ? "without an end" : bar.ending;
    return `${how} after ${write((bar.end as number) - bar.start)}`;
  });
  const before = lane.dropped + Math.max(0, lane.bars.length - 4);
  if (before > 0) said.unshift(`${before} tries before`);
  return said.length > 0 ? said.join(", then ") : "mentioned, never started";
}
