/** The last minute of a feed, a tenth of a second at a time: how many events came, which way, and whether a stream was open. */

export const BIN = 100; // ms
export const BINS = 600;

export const UNSEEN = 2;

/** By a frame of a stream, or in an answer. */
export type Way = "stream" | "poll";

export class Strip {
  readonly stream = new Uint16Array(BINS);
  readonly poll = new Uint16Array(BINS);
  /** 1 while a stream was open, 0 while none was, UNSEEN before anybody looked. */
  readonly open = new Uint8Array(BINS).fill(UNSEEN);
  /** The number of the bin that is now. */
  now = 0;
  #begun = false;
  #live = false;
  #until = 0; // the last bin that has an event

  /** Goes on to this time, ms. */
  advance(time: number): void {
    const now = Math.floor(time / BIN);
    if (!this.#begun || now - this.now > BINS) {
      this.stream.fill(0);
      this.poll.fill(0);
      this.open.fill(UNSEEN);
      this.#begun = true;
      this.now = now;
    }
    while (this.now < now) {
      const bin = ++this.now % BINS;
      this.stream[bin] = this.poll[bin] = 0;
      this.open[bin] = this.#live ? 1 : 0;
    }
  }

  take(time: number, way: Way): void {
    this.advance(time);
    const counts = way === "stream" ? this.stream : this.poll;
    const bin = this.now % BINS;
    counts[bin] = Math.min(65_535, (counts[bin] as number) + 1);
    this.#until = this.now;
  }

  connected(time: number, live: boolean): void {
    this.advance(time);
    this.#live = live;
    if (live) this.open[this.now % BINS] = 1;
  }

  /** Something on it still moves. */
  get busy(): boolean {
    return this.now - this.#until <= BINS;
  }
}
