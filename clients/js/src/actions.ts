/** What the machine asks for, and what it is answered. */
import { type Cause, type Reset, type RunEvent, RunfeedError, type Status, type Stream } from "./protocol.js";

export interface Request {
  readonly do: "get";
  readonly id: number;
  /** This run's history; without it the feed's. */
  readonly run?: string;
  /** Of the feed: these runs only. */
  readonly runs?: readonly string[];
  /** null: only where the feed is. */
  readonly after: number | null;
  readonly epoch: string | null;
  readonly limit: number;
  /** Set on a poll; what has none is a history that was never read. */
  readonly cause?: Cause;
}

export type Action =
  | { readonly do: "connect"; readonly kind: Stream; readonly after: number | null; readonly epoch: string | null }
  | { readonly do: "disconnect" }
  | Request
  /** Hand this to the watchers of `to`: a run's id, or "" for those of the whole feed. */
  | { readonly do: "event"; readonly to: string; readonly event: RunEvent }
  | { readonly do: "reset"; readonly to: string; readonly reset: Reset }
  /** They have the history, and are given what comes as it comes. status: what the server says of the run. */
  | { readonly do: "loaded"; readonly to: string; readonly status: Status | null }
  /** Something is wrong with this one: it may mend itself. */
  | { readonly do: "problem"; readonly to: string; readonly error: RunfeedError }
  /** The token was refused, or runs out: bring another with the next request. */
  | { readonly do: "renew" }
  /** Send the token on the stream that is open, once it is there; if none comes, nothing. */
  | { readonly do: "authenticate" }
  /** All is over: the same would be refused again. */
  | { readonly do: "fail"; readonly error: RunfeedError };

/** What a request came to. status: 0 when no answer came. wait: `Retry-After`, in ms. */
export interface Answer {
  readonly status: number;
  readonly body: Record<string, unknown> | null;
  readonly wait?: number;
}

/** Which numbering somebody speaks of, and where the feed is in it. */
export function placeOf({ epoch, head }: Record<string, unknown>): [epoch: string | null, head: number | null] {
  return [typeof epoch === "string" ? epoch : null, typeof head === "number" ? head : null];
}

/** What is wrong with an answer, as an error. */
export function errorOf({ status, body }: Answer): RunfeedError {
  const code = typeof body?.["code"] === "string" ? body["code"] : status === 0 ? "unreachable" : "http";
  return new RunfeedError(code, String(body?.["detail"] ?? (status ? `HTTP ${status}` : "no answer")), status);
}
