/** What a run's events say of it as a whole: the same rules as the API's own. */
import { TERMINAL, type RunEvent, type Status } from "./protocol.js";

const RANK: Readonly<Record<Status, number>> = {
  queued: 0, running: 1, rendering: 2, completed: 3, failed: 3, cancelled: 3,
};

export interface Summary {
  readonly status: Status;
  /** 0 to 100; null: no event said. */
  readonly progress: number | null;
  /** The step or node that the run is at. */
  readonly step: string | null;
}

export const NOTHING: Summary = { status: "queued", progress: null, step: null };

/** The later of two statuses: a run never goes back. */
export function later(one: Status, other: Status): Status {
  return RANK[other] > RANK[one] ? other : one;
}

/** The summary after one more event. */
export function add(summary: Summary, event: RunEvent): Summary {
  const says = TERMINAL[event.type] ?? (event.type === "steps_completed" ? "rendering" : "running");
  const status = later(summary.status, says);
  return { status, progress: progressOf(event, says) ?? summary.progress, step: stepOf(event) ?? summary.step };
}

function progressOf(event: RunEvent, status: Status): number | null {
  if (status === "completed") return 100;
  const { progress, step_number: step, total_steps: total } = event;
  const counts = event["status"] === "completed" && isWhole(step) && isWhole(total) && total > 0;
  const value = progress ?? (counts ? (100 * step) / total : null);
  return typeof value === "number" && value >= 0 && value <= 100 ? value : null;
}

function isWhole(value: unknown): value is number {
  return Number.isInteger(value);
}

/** As the API counts: a character outside of the first plane is one, and not two. */
function characters(text: string): number {
  return text.length - (text.match(/[\ud800-\udbff][\udc00-\udfff]/g)?.length ?? 0);
}

function stepOf(event: RunEvent): string | null {
  for (const name of [event["step_name"], event["node_id"]]) {
    if (typeof name === "string" && name.length > 0 && characters(name) <= 256) return name;
  }
  return null;
}
