/** The token that requests and streams carry: when another is asked for, and when one is refused for good. Pure. */
import type { Action } from "./actions.js";
import type { Requests } from "./asked.js";

export class Renewal {
  readonly #requests: Requests;
  readonly #act: (action: Action) => void;
  #fresh: number | null = null; // requests from this one on have a token that was renewed, and nothing has proved it yet
  #stream = false; // so has the stream

  constructor(requests: Requests, act: (action: Action) => void) {
    this.#requests = requests;
    this.#act = act;
  }

  /** A stream is opened with the token that there is now. */
  connects(): void {
    this.#stream = this.#fresh !== null;
  }

  /** It is open. */
  opened(): void {
    if (this.#stream) this.#fresh = null;
    this.#stream = false;
  }

  /** The API took this request's token. */
  answered(id: number): void {
    if (id >= (this.#fresh ?? Infinity)) this.#fresh = null;
  }

  /** The open stream's token runs out: it stays open when another is sent on it in time. */
  expiring(): void {
    this.over();
    this.#act({ do: "authenticate" });
  }

  /** That was sent, and the hub took it. */
  authenticated(): void {
    this.#fresh = null;
  }

  /** The API refused this request's token. Whether another is tried. */
  refused(id: number): boolean {
    return this.#renew(id >= (this.#fresh ?? Infinity));
  }

  /** The hub refused the stream's token, or it runs out. Whether another is tried. */
  over(): boolean {
    return this.#renew(this.#stream);
  }

  /** fresh: it was the renewed one. */
  #renew(fresh: boolean): boolean {
    if (this.#fresh !== null) return !fresh; // an old one was still on its way
    this.#fresh = this.#requests.next;
    this.#act({ do: "renew" });
    return true;
  }
}
