/**
 * The stream that brings events: when to open it, which kind, and what its end means.
 * Pure: times are arguments, in milliseconds, and so is chance.
 */
import { type Cause, CLOSE_CODES, type Comeback, type Stream } from "./protocol.js";

export const START = 500; // ms for the first history, which says where the stream is to begin
const FIRST_WAIT = 500; // ms: the ceiling of the first random wait; it doubles
const LONGEST_WAIT = 30_000; // ms
const OPEN_WITHIN = 10_000; // ms for a stream to open; the hub itself gives up on its history after 1 s
const HEARTBEAT = 25_000; // ms between two signs of life of the hub
const SILENT = 2.5 * HEARTBEAT; // ms without any: the connection is dead, whatever the socket says
const STALE = 1.2 * HEARTBEAT; // ms without any: one is overdue
const STABLE = 10_000; // ms that a stream must have been open for its end to be nobody's fault
const FAILURES = 2; // attempts in a row that never opened, until the other kind is tried

export type LinkState = "idle" | "waiting" | "connecting" | "open";

/** The wait before try n (from 0): anything up to a ceiling that doubles, so that many clients spread out. */
export function backoff(tries: number, chance: number): number {
  return chance * Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** tries);
}

/** ms that a close's reason asks to wait: `retry in 1234 ms`. */
export function retryIn(reason: string): number | null {
  const match = /retry in (\d{1,7}) ms/.exec(reason);
  return match ? Number(match[1]) : null;
}

export class Link {
  state: LinkState = "idle";
  kind: Stream = "websocket";
  everOpen = false;
  /** When the next try is, while waiting. */
  retryAt = 0;
  /** ms that the hub asked to wait, before it closed. */
  told: number | null = null;
  readonly #kinds: readonly Stream[];
  #since = 0;
  #heard = 0;
  #beats = false; // the hub sends heartbeats
  #tries = 0;
  #failures = 0;

  /** kinds: what this place can open, the best first; none: only polls. */
  constructor(kinds: readonly Stream[]) {
    this.#kinds = kinds;
  }

  /** A stream is open, or about to be. */
  get live(): boolean {
    return this.state === "open" || this.state === "connecting";
  }

  /** When something is due, or null. */
  get due(): number | null {
    if (this.#kinds.length === 0 || this.state === "idle") return null;
    if (this.state === "waiting") return this.retryAt;
    if (this.state === "connecting") return this.#since + OPEN_WITHIN;
    return this.#beats ? this.#heard + SILENT : null;
  }

  /** Why a poll that is due is made. */
  get cause(): Cause {
    return this.state === "open" ? "ws_idle" : this.everOpen ? "ws_down" : "ws_never";
  }

  /** A stream is wanted, from this moment on. */
  want(now: number): void {
    if (this.state === "idle") this.#wait(now);
  }

  /** No stream is wanted any more. */
  leave(): void {
    this.state = "idle";
    this.everOpen = false;
  }

  /** A try begins; its kind. */
  connect(now: number): Stream {
    this.state = "connecting";
    this.#since = now;
    this.told = null;
    const kinds = this.#kinds;
    this.kind = kinds[Math.floor(this.#failures / FAILURES) % kinds.length] as Stream;
    return this.kind;
  }

  /** The stream is open: events come. beats: it will show signs of life. */
  opened(now: number, beats: boolean): void {
    this.state = "open";
    this.#since = now;
    this.#beats = beats;
    this.everOpen = true;
    this.#failures = 0;
    this.heard(now);
  }

  /** A byte came. */
  heard(now: number): void {
    this.#heard = now;
  }

  /** The stream said nothing for so long that it is dead; or did not open in time. */
  isDead(now: number): boolean {
    return this.live && this.due !== null && now >= this.due;
  }

  /** After a machine slept: a heartbeat is overdue, and the stream is not waited for. */
  isStale(now: number): boolean {
    return this.state === "open" && this.#beats && now - this.#heard > STALE;
  }

  /** There is a reason to think that a try succeeds now: do not wait. */
  hurry(now: number): void {
    if (this.state !== "waiting") return;
    this.#tries = this.#failures = 0; // the best kind may open again, too
    this.#wait(now);
  }

  /** The stream ended. What that means; the next try is set, whatever it means. */
  lost(now: number, code: number, reason: string, chance: number): Comeback {
    if (this.state === "open" && now - this.#since >= STABLE) this.#tries = 0;
    const asked = this.told ?? retryIn(reason);
    if (this.state === "connecting" && asked === null) this.#failures += 1; // who asks us to wait was reached
    this.#wait(now + (asked ?? backoff(this.#tries, chance)));
    if (asked !== 0) this.#tries += 1; // else it was to be opened anew, and nothing failed
    return CLOSE_CODES[code] ?? "resume";
  }

  /** Its token ran out, which is no failure: the same kind is tried at once, unless this happens again and again. */
  expired(now: number, chance: number): void {
    const stable = now - this.#since >= STABLE;
    if (stable) this.#tries = 0;
    this.#wait(now + (this.#tries > 0 ? backoff(this.#tries - 1, chance) : 0));
    if (!stable) this.#tries += 1;
    this.#failures = FAILURES * this.#kinds.indexOf(this.kind);
  }

  #wait(until: number): void {
    this.state = "waiting";
    this.retryAt = until;
  }
}
