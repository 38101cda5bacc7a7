/** When the list of runs is asked for. The feed keeps it up to date while a stream is open: then nobody asks. */

const AGAIN = 20_000; // ms: a run that was made and has no event yet is on no feed
const SLOWEST = 10_000; // ms between two tries while the API is away

/** How long to wait after an answer, ms; null: until something happens. failures: in a row. */
export function pause(failures: number, streams: boolean): number | null {
  if (failures > 0) return Math.min(SLOWEST, 500 * 2 ** failures);
  return streams ? null : AGAIN;
}

/** One question at a time, the earliest; none while nobody looks. */
export class Asking {
  readonly #ask: () => void;
  readonly #hidden: () => boolean;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #due = Infinity;
  #owed = false;
  #over = false;

  constructor(ask: () => void, hidden: () => boolean) {
    this.#ask = ask;
    this.#hidden = hidden;
  }

  /** At the latest so many ms from now. */
  in(wait: number): void {
    const at = Date.now() + wait;
    if (at >= this.#due || this.#over) return;
    clearTimeout(this.#timer);
    this.#due = at;
    this.#timer = setTimeout(this.#now, wait);
  }

  /** What was due while nobody looked is asked once. */
  shown(): void {
    if (this.#owed && !this.#hidden()) this.in(0);
  }

  end(): void {
    this.#over = true;
    clearTimeout(this.#timer);
  }

  #now = (): void => {
    this.#due = Infinity;
    this.#owed = this.#hidden();
    if (!this.#owed) this.#ask();
  };
}
