/** What the services and their clients agree on. tests/contract/contract.json has the same; a test compares them. */

/** An event of a run, as it was stored. Fields beside these are the producer's own. */
export interface RunEvent {
  /** The event's number in its user's feed: 1..n without a hole. Events of other producers than the API have none. */
  readonly id?: number;
  /** Its number in its run: 1..n without a hole. */
  readonly seq?: number;
  readonly run_id: string;
  readonly username: string;
  readonly type: string;
  /** When it happened, and when the API took it: unix seconds. */
  readonly timestamp?: number;
  readonly recorded_at?: number;
  readonly [field: string]: unknown;
}

/** Said by the server when its numbering began anew: what was shown before is void, and what follows begins again. */
export interface Reset {
  readonly control: true;
  readonly type: "reset";
  readonly epoch: string | null;
  /** The whole feed goes on exactly behind this; only a run's may be null. */
  readonly head: number | null;
}

export type Status = "queued" | "running" | "rendering" | "completed" | "failed" | "cancelled";

/** How events reach us now. `none`: not at all, for the moment. */
export type Transport = "websocket" | "sse" | "poll" | "none";
export type Stream = "websocket" | "sse";

/** Why a client polls: what the server's `orchestrator_polls_total{cause}` counts. */
export type Cause = "ws_never" | "ws_gap" | "ws_idle" | "ws_down" | "forced";

export const SUBPROTOCOL = "runfeed.v1";
export const RUN_FILTERS = 128; // `run_id`s in one request
const FILTER_LENGTH = 2_000; // characters of them all; escaped they are up to three times as many, in a line of 8 KiB
export const CLOSED: readonly Status[] = ["completed", "failed", "cancelled"];
/** It has no prototype: a type may be any name, also one that every object has, like `constructor`. */
export const TERMINAL: Readonly<Record<string, Status>> = Object.assign(Object.create(null), {
  workflow_completed: "completed",
  workflow_failed: "failed",
  workflow_cancelled: "cancelled",
});
export const RUN_ID = /^[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}$/;
export const USERNAME = /^[A-Za-z0-9][A-Za-z0-9._@|:+-]{0,127}$/;

/** What to do about a close: `resume` and `after_delay` come back; `never`: the same request would end the same way. */
export type Comeback = "resume" | "after_delay" | "without_cursor" | "never";
export const CLOSE_CODES: Readonly<Record<number, Comeback>> = {
  1001: "resume",
  1008: "after_delay",
  1009: "never",
  1012: "after_delay",
  1013: "after_delay",
  4400: "never",
  4401: "never",
  4403: "never",
  4404: "never",
  4408: "resume",
  4409: "without_cursor",
  4410: "resume",
};

/** Why a client gave up, or what it cannot do now. `code` is for programs: the server's, or one of ours. */
export class RunfeedError extends Error {
  override readonly name = "RunfeedError";
  readonly code: string;
  /** The HTTP status or the WebSocket close code; 0 when there was none. */
  readonly status: number;

  constructor(code: string, message: string, status = 0) {
    super(message);
    this.code = code;
    this.status = status;
  }
}

/** Whether a request for a feed may name these runs; "" is the whole feed. Else it asks for all of them. */
export function mayFilter(runs: readonly string[]): boolean {
  return runs.length <= RUN_FILTERS && runs.join("&run_id=").length <= FILTER_LENGTH && !runs.includes("");
}

/** The object in a JSON text; null when the text is no JSON object. */
export function parseObject(text: string): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : null;
  } catch {
    return null;
  }
}
