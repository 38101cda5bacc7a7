/** What is said to those who hear the page: a summary now and then, not every event. */
import { many } from "./format.js";

export const PAUSE = 5_000; // ms between two announcements at least

export class Announcer {
  #events = 0;
  #latest: string | null = null;
  #said = -Infinity;

  /** Events came; state: where that leaves the run. */
  events(count: number): void {
    this.#events += count;
  }

  /** Something else happened; the latest is what counts. */
  news(text: string): void {
    this.#latest = text;
  }

  /** What to say now, or null. */
  next(now: number, state: string): string | null {
    if (now - this.#said < PAUSE || (this.#events === 0 && this.#latest === null)) return null;
    const events = this.#events > 0 ? `${many(this.#events, "new event")}. ${state}` : "";
    const text = [this.#latest, events].filter((part) => part !== null && part !== "").join(". ");
    this.#events = 0;
    this.#latest = null;
    this.#said = now;
    return text;
  }
}
