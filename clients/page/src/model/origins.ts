/** Which way each event came: by the first frame of a stream, or the first answer, that had it. */

/** stream: a frame; poll: an answer to a question whether anything was missed; history: any other answer. */
export type Origin = "stream" | "poll" | "history";

const MOST = 20_000; // ids: twice what a feed keeps

export class Origins {
  readonly #of = new Map<number, Origin>();

  /** A history is read beside the stream, and says nothing of how the feed has it: the others go before it. */
  take(id: number, origin: Origin): void {
    const known = this.#of.get(id);
    if (known !== undefined && (known !== "history" || origin === "history")) return;
    this.#of.set(id, origin);
    if (this.#of.size > MOST) this.#of.delete(this.#of.keys().next().value as number);
  }

  get(id: number | undefined): Origin | undefined {
    return id === undefined ? undefined : this.#of.get(id);
  }

  /** The numbers mean other events now. */
  restart(): void {
    this.#of.clear();
  }
}

/** What an answer to this address is; null: it has no events. */
export function originOf(url: string): Origin | null {
  const [path, query] = url.split("?", 2) as [string, string?];
  if (/\/sse$/.test(path)) return "stream";
  if (query === undefined || !path.endsWith("/events")) return null;
  return new URLSearchParams(query).has("cause") ? "poll" : "history";
}

/** The id that an event's text begins with; null: it is no event. */
export function idOf(text: string): number | null {
  const match = /^\{"id":(\d{1,16}),/.exec(text);
  return match === null ? null : Number(match[1]);
}
