/** What happened to the connection, in words: a short log, and a line on what happens now. */
import type { Connection } from "../../../js/src/client.js";
import { lag, many } from "./format.js";

const KEPT = 40;

export interface Entry {
  readonly at: number;
  readonly text: string;
  /** How often in a row. */
  readonly times: number;
}

export const KIND = { websocket: "websocket", sse: "event stream", poll: "poll", none: "none" } as const;

export class Wire {
  /** The latest first. */
  entries: readonly Entry[] = [];
  /** It had been open, and is not now: since when. */
  lostAt: number | null = null;
  #state: Connection["state"] = "idle";
  #polls = 0;
  #everOpen = false;
  #error: unknown = null;

  /** The connection is another. brought: events that came by polls since the last change. */
  changed(now: number, connection: Connection, brought: number, cut: boolean): void {
    if (connection.polls > this.#polls) this.#polled(now, connection, brought);
    this.#polls = connection.polls;
    if (connection.state === "open" && this.#state !== "open") this.#opened(now, connection);
    if (connection.state !== "open" && this.#state === "open") {
      this.lostAt = now;
      this.#say(now, cut ? "socket cut by you" : "socket lost");
    }
    this.#state = connection.state;
    if (connection.error !== null && connection.error !== this.#error) this.#say(now, `ended: ${connection.error.message}`);
    this.#error = connection.error;
  }

  #opened(now: number, connection: Connection): void {
    const kind = connection.transport === "sse" ? "event stream" : "socket";
    const after = this.lostAt === null ? "" : ` after ${lag(now - this.lostAt)}`;
    this.#say(now, this.#everOpen ? `${kind} back${after}` : `${kind} open`);
    this.#everOpen = true;
    this.lostAt = null;
  }

  #polled(now: number, connection: Connection, brought: number): void {
    if (brought > 0) this.#say(now, `poll brought ${many(brought, "event")}`);
    else if (connection.state !== "open") this.#say(now, "poll: nothing new");
  }

  #say(at: number, text: string): void {
    const [last, ...rest] = this.entries;
    if (last?.text === text) this.entries = [{ at, text, times: last.times + 1 }, ...rest];
    else this.entries = [{ at, text, times: 1 }, ...this.entries].slice(0, KEPT);
  }
}

export interface Now {
  readonly cut: boolean;
  readonly transport: Connection["transport"];
  readonly state: Connection["state"];
  /** The poll has answered since the stream was lost. */
  readonly polled: boolean;
  /** It was cut, and is back since. */
  readonly back: boolean;
  /** For a token. */
  readonly waits: boolean;
}

/** What happens now, for somebody who looks on. */
export function story({ cut, transport, state, polled, back, waits }: Now): string {
  if (waits && state !== "open") return "The page waits for a token, and asks for nothing meanwhile.";
  if (cut && !polled) return "The socket is cut. After 4 s without a word the page asks the API instead.";
  if (cut) return "Polling. Each answer brings all that came since the last one, in order: late, but nothing is missing.";
  if (state !== "open" && polled) return "No stream can be opened now. The page polls, and tries again by itself.";
  if (state !== "open") return "Opening a stream.";
  if (back) return "Back. The new socket went on right behind the last event that was shown.";
  if (transport === "sse") return "WebSockets do not get through here; the same events come as an event stream.";
  return "Each event comes on the socket as soon as it is stored. Cut it, and see what happens.";
}
