/** When to poll: a while after the last sign that nothing is missing. Pure: times are arguments, in milliseconds. */

const SLOWER = 1.5; // after each poll that brought nothing new
const SLOWEST = 30_000; // ms

export class Pace {
  readonly #quick: number;
  #interval: number;
  #from = 0;

  /** quick: ms of silence before a poll, while there are events. */
  constructor(quick: number) {
    this.#quick = quick;
    this.#interval = quick;
  }

  /** When the next poll is due. */
  get due(): number {
    return this.#from + this.#interval;
  }

  /** The stream said something: as of now nothing is missing. */
  heard(now: number): void {
    this.#from = Math.max(this.#from, now);
  }

  /** An event came, whichever way. */
  news(now: number): void {
    this.#interval = this.#quick;
    this.heard(now);
  }

  /** A poll brought nothing new, or failed. wait: ms that the server asked for. */
  nothing(now: number, wait = 0): void {
    this.#interval = Math.min(this.#interval * SLOWER, Math.max(SLOWEST, this.#quick));
    this.heard(now + Math.max(0, wait - this.#interval));
  }
}
