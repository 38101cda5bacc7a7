/** The token that requests and streams carry: asked for before each use, and made anew when it was refused or runs out. */

export type GetToken = (about: { renew: boolean }) => string | Promise<string>;

/** As something carries it; and the number of the renewal that it came from, for who is refused to say which one was. */
export type Carried = readonly [token: string | null, number: number];

export class Tokens {
  readonly #get: GetToken | undefined;
  #number = 0; // renewals that brought one
  #refused = -1; // the latest that was refused, or runs out
  #renewal: Promise<string> | null = null;

  /** get: undefined where none is needed. */
  constructor(get: GetToken | undefined) {
    this.#get = get;
  }

  /** The one of this number was refused, or runs out; who is told so late has no say in the one after it. */
  renew(number: number): void {
    this.#refused = Math.max(this.#refused, number);
  }

  /** There is one renewal for all who ask meanwhile; one that failed is tried again. */
  async token(): Promise<Carried> {
    const get = this.#get;
    const number = this.#number;
    if (!get) return [null, number];
    const renew = this.#refused >= number;
    if (!renew) return [await get({ renew }), number];
    const renewal = (this.#renewal ??= (async () => get({ renew }))());
    try {
      return [await renewal, (this.#number = number + 1)]; // for all of them the same
    } finally {
      if (this.#renewal === renewal) this.#renewal = null;
    }
  }
}
