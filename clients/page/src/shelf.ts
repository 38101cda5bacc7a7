/** The list of runs, and when it is asked for: at first, when the feed is there, and when something is not known. */
import type { Runfeed, RunInfo } from "../../js/src/client.js";
import { type RunEvent, RunfeedError } from "../../js/src/protocol.js";
import { RunList, type Wish } from "./model/runlist.js";

const PAGE = 50;
const UNKNOWN = 300; // ms: runs of which an event came, and nothing else is known
const PAUSE = 2_000; // ms between two lists that are asked for because of that
const AGAIN = 20_000; // ms: a run that was made and has no event yet is on no feed
const SLOWEST = 10_000; // ms between two tries while the API is away

export interface Page {
  /** Of the next page; null: there is none; undefined: not asked yet. */
  readonly cursor?: string | null;
  readonly loading: boolean;
  /** Runs made before this were not asked for yet: those that are known all the same would stand there with gaps. */
  readonly since?: number;
}

export class Shelf {
  readonly list = new RunList();
  error: RunfeedError | null = null;
  /** Listed once after the feed was there: nothing fell between the two. */
  complete = false;
  #wish: Wish = "all";
  readonly #client: Runfeed;
  readonly #tell: () => void;
  readonly #pages = new Map<Wish, Page>();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #due = Infinity;
  #asked = 0;
  #failures = 0;
  #life = 0;
  #running = false;

  constructor(client: Runfeed, tell: () => void) {
    this.#client = client;
    this.#tell = tell;
  }

  start(): () => void {
    this.#running = true;
    const look = (): void => {
      if (!document.hidden) this.#ask(0);
    };
    document.addEventListener("visibilitychange", look);
    void this.#first();
    return () => {
      this.#running = false;
      clearTimeout(this.#timer);
      document.removeEventListener("visibilitychange", look);
    };
  }

  page(wish: Wish): Page {
    return this.#pages.get(wish) ?? { loading: true };
  }

  /** The runs to be shown are of this status. */
  want(wish: Wish): void {
    this.#wish = wish;
    if (!this.#pages.has(wish)) void this.#first();
  }

  feedIsThere(): void {
    this.complete = true;
    this.#ask(0);
  }

  happened(event: RunEvent): void {
    this.list.happened(event);
  }

  /** Asks for what is not known, now or soon. */
  look(): void {
    if (this.list.guesses) this.#ask(Math.max(UNKNOWN, this.#asked + PAUSE - Date.now()));
  }

  restart(): void {
    this.list.clear();
    this.#pages.clear();
    this.#life += 1;
    this.#ask(0);
  }

  async more(): Promise<void> {
    const { cursor, loading } = this.page(this.#wish);
    if (typeof cursor === "string" && !loading) await this.#read(this.#wish, cursor);
  }

  retry(): void {
    this.#ask(0);
  }

  #ask(wait: number): void {
    const at = Date.now() + wait;
    if (at >= this.#due || !this.#running) return;
    this.#due = at;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.#first(), wait);
  }

  /** The first page: what is newest. */
  async #first(): Promise<void> {
    clearTimeout(this.#timer);
    this.#due = Infinity;
    this.#asked = Date.now();
    const wishes = new Set<Wish>(["all", this.#wish]);
    const done = await Promise.all([...wishes].map((wish) => this.#read(wish, undefined)));
    this.#failures = done.every(Boolean) ? 0 : this.#failures + 1;
    this.#ask(this.#failures === 0 ? AGAIN : Math.min(SLOWEST, 500 * 2 ** this.#failures));
  }

  async #read(wish: Wish, cursor: string | undefined): Promise<boolean> {
    const life = this.#life;
    const known = this.#pages.get(wish);
    this.#pages.set(wish, { ...known, loading: true });
    try {
      const answer = await this.#client.runs({
        limit: PAGE, ...(wish === "all" ? {} : { status: wish }), ...(cursor === undefined ? {} : { cursor }),
      });
      if (life === this.#life) this.#good(wish, cursor, known, answer);
      return true;
    } catch (error) {
      this.error = error instanceof RunfeedError ? error : new RunfeedError("unknown", String(error));
      return false;
    } finally {
      const page = this.#pages.get(wish);
      if (page !== undefined) this.#pages.set(wish, { ...page, loading: false });
      this.#tell();
    }
  }

  #good(wish: Wish, cursor: string | undefined, known: Page | undefined, answer: { runs: RunInfo[]; cursor: string | null }): void {
    this.error = null;
    this.list.listed(answer.runs);
    // The first page was read again: what was read beyond it stays read.
    const again = cursor === undefined && known?.cursor !== undefined;
    const next = again ? (known.cursor as string | null) : answer.cursor;
    const since = next === null ? -Infinity : again ? (known.since ?? -Infinity) : (answer.runs.at(-1)?.created_at ?? -Infinity);
    this.#pages.set(wish, { cursor: next, loading: true, since });
  }
}
