/** The list of runs, and when it is asked for: at first, when a stream opens, while none is, and when something is not known. */
import type { Runfeed, RunInfo } from "../../js/src/client.js";
import { type RunEvent, RunfeedError } from "../../js/src/protocol.js";
import { Asking, pause } from "./model/asking.js";
import { RunList, type Wish } from "./model/runlist.js";
import { isRefused } from "./model/trouble.js";

const PAGE = 50;
const UNKNOWN = 300; // ms: runs of which an event came, and nothing else is known
const PAUSE = 2_000; // ms between two lists that are asked for because of that

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
  readonly #lists: boolean;
  readonly #pages = new Map<Wish, Page>();
  readonly #asking = new Asking(() => void this.#first(), () => document.hidden);
  #asked = 0;
  #failures = 0;
  #life = 0;
  #streams = false;

  /** lists: there may be asked for a list at all. */
  constructor(client: Runfeed, tell: () => void, lists: boolean) {
    this.#client = client;
    this.#tell = tell;
    this.#lists = lists;
  }

  start(): () => void {
    const look = (): void => this.#asking.shown();
    document.addEventListener("visibilitychange", look);
    this.#asking.in(0);
    return () => {
      this.#asking.end();
      document.removeEventListener("visibilitychange", look);
    };
  }

  page(wish: Wish): Page {
    return this.#pages.get(wish) ?? { loading: true };
  }

  /** The runs to be shown are of this status. */
  want(wish: Wish): void {
    this.#wish = wish;
    if (!this.#pages.has(wish)) this.#asking.in(0);
  }

  feedIsThere(): void {
    this.complete = true;
    this.#asking.in(0);
  }

  /** A stream opened, or ended. One that opened may have missed what is on no feed. */
  connected(streams: boolean): void {
    if (streams === this.#streams) return;
    this.#streams = streams;
    if (streams) this.#asking.in(0);
    else this.#later();
  }

  happened(event: RunEvent): void {
    this.list.happened(event);
  }

  /** Asks for what is not known, now or soon. */
  look(): void {
    if (this.list.guesses.length > 0) this.#asking.in(Math.max(UNKNOWN, this.#asked + PAUSE - Date.now()));
  }

  restart(): void {
    this.list.clear();
    this.#pages.clear();
    this.#life += 1;
    this.#asking.in(0);
  }

  async more(): Promise<void> {
    const { cursor, loading } = this.page(this.#wish);
    if (typeof cursor === "string" && !loading) await this.#read(this.#wish, cursor);
  }

  retry(): void {
    this.#asking.in(0);
  }

  /** The first page: what is newest. */
  async #first(): Promise<void> {
    if (!this.#lists) return;
    this.#asked = Date.now();
    const wishes = new Set<Wish>(["all", this.#wish]);
    const guesses = this.list.guesses;
    const done = await Promise.all([...wishes].map((wish) => this.#read(wish, undefined)));
    this.#failures = done.every(Boolean) ? 0 : this.#failures + 1;
    if (this.#failures === 0) this.list.settle(guesses);
    this.#later();
  }

  #later(): void {
    if (this.error !== null && isRefused(this.error)) return; // asking again changes nothing
    const wait = pause(this.#failures, this.#streams);
    if (wait !== null) this.#asking.in(wait);
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
