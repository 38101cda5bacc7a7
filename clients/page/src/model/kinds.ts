/** What an event's type says: which knot it is on the line. */
import { TERMINAL, type RunEvent } from "../../../js/src/protocol.js";

export type Ending = "completed" | "failed" | "skipped" | "cancelled";
export type Mark = "started" | Ending | "retry" | "progress" | "note" | "end";

const PART = /^(?:(.*)[_.-])?(started|completed|failed|skipped|cancelled)$/;

export interface Parts {
  /** What began or ended: `node` of `node_started`. */
  readonly what: string;
  readonly says: "started" | Ending;
}

/** The two halves of a type like `node_started`; null for others. */
export function partsOf(type: string): Parts | null {
  const match = PART.exec(type);
  return match ? { what: match[1] ?? "", says: match[2] as Parts["says"] } : null;
}

/** The end of the run. */
export function isTerminal(event: RunEvent): boolean {
  return Object.hasOwn(TERMINAL, event.type);
}

export function markOf(event: RunEvent): Mark {
  if (isTerminal(event)) return "end";
  const parts = partsOf(event.type);
  if (parts !== null) return parts.says;
  if (/retry/.test(event.type)) return "retry";
  return /progress/.test(event.type) || typeof event["progress"] === "number" ? "progress" : "note";
}

/** When an event happened, unix seconds; null when nobody says. */
export function timeOf(event: RunEvent): number | null {
  for (const time of [event.timestamp, event.recorded_at]) {
    if (typeof time === "number" && Number.isFinite(time)) return time;
  }
  return null;
}

export function nameOf(event: RunEvent, field: "step_name" | "node_id"): string | null {
  const name = event[field];
  return typeof name === "string" && name !== "" ? name : null;
}
