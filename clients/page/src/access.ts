/** The page's token: in memory and, so that a reload keeps it, in this tab's sessionStorage. And whether one is wanted. */
import { parseObject } from "../../js/src/protocol.js";
import { type About, aboutOf, endingOf, type Judged, MISSING, NO_TOKEN, refusalOf, sameScope, UNSAID, wrongWith } from "./model/token.js";

const KEY = "runfeed.token";
const HEARS = 2_000; // ms in which hub and API have both heard of a revocation; each asks every second

export class Access {
  /** Why a token is asked for; null: none is. */
  wants: string | null = null;
  about: About = NO_TOKEN;
  /** Another number when all must begin anew: with no token, or one that shows something else. */
  life = 0;
  /** Another number when who waited for a token goes on with the next one. */
  successors = 0;
  #token: string | null = null;
  #waiting: ((token: string) => void)[] = [];
  #judging = false;
  #failed = false; // a client has given up with this token
  #forgotten = false;
  readonly #listeners = new Set<() => void>();

  constructor() {
    const kept = stored();
    if (kept !== null && wrongWith(kept) === null) this.#hold(kept);
  }

  get token(): string | null {
    return this.#token;
  }

  /** The client's `getToken`. What asks while another is wanted waits for that, so nothing is sent meanwhile. */
  get = ({ renew }: { renew: boolean }): string | Promise<string> => {
    if (renew) void this.#ended();
    if (this.#token !== null && this.wants === null && !this.#judging) return this.#token;
    return new Promise((resolve) => this.#waiting.push(resolve));
  };

  /** The API answered 401 to who had this token. */
  refused(token: string | null): void {
    if (token !== this.#token) return;
    if (token !== null) void this.#ended();
    else if (this.wants === null) this.#want(this.#forgotten ? `The token is forgotten. ${MISSING}` : MISSING);
  }

  /** A client has given up because of it, and needs a successor. */
  failed(token: string | null): void {
    if (token === this.#token) this.#failed = true;
    this.refused(token);
  }

  /** Asks, before anybody was refused, whether these services want a token. One that is kept and not wanted goes. */
  async ask(): Promise<void> {
    const token = this.#token;
    if (token === null && this.wants !== null) return;
    const { said } = await asked("healthz", null);
    const auth = said?.["auth"];
    if (typeof auth !== "string" || token !== this.#token) return;
    if (auth !== "jwt") {
      if (token !== null) this.forget();
    } else if (token === null) this.refused(null);
  }

  /** Takes a token that the API takes. Else says what is wrong with it. */
  async offer(text: string): Promise<string | null> {
    const token = text.trim();
    const wrong = wrongWith(token) ?? refusalOf(await judge(token));
    if (wrong !== null) return wrong;
    const anew = this.#token === null || this.#failed || !sameScope(this.about, aboutOf(token));
    this.#hold(token);
    store(token);
    this.#settle(anew);
    return null;
  }

  forget(): void {
    this.#token = null;
    this.about = NO_TOKEN;
    this.#forgotten = true;
    store(null);
    this.#settle(true);
  }

  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  #hold(token: string): void {
    this.#token = token;
    this.about = aboutOf(token);
  }

  /** Whoever waited goes on, unless it is to begin anew. */
  #settle(anew: boolean): void {
    const waiting = this.#waiting.splice(0);
    this.wants = null;
    this.#failed = false;
    if (anew) this.life += 1;
    else {
      this.successors += 1;
      for (const each of waiting) each(this.#token as string);
    }
    this.#tell();
  }

  /** The token is refused, or ran out: which of the two, the API says, if need be when it has heard of it as well. */
  async #ended(): Promise<void> {
    const token = this.#token;
    if (this.#judging || this.wants !== null || token === null) return;
    this.#judging = true;
    const judged = await judge(token);
    this.#judging = false;
    if (this.#token !== token) return;
    this.#want(endingOf(judged, this.about, Date.now() / 1000));
    if (this.wants !== UNSAID) return;
    await new Promise((resolve) => setTimeout(resolve, HEARS));
    if (this.#token === token) this.#want(endingOf(await judge(token), this.about, Date.now() / 1000));
  }

  #want(why: string): void {
    this.wants = why;
    this.#tell();
  }

  #tell(): void {
    for (const each of this.#listeners) each();
  }
}

/** And back to the start, before: what is shown is not to be asked for without it. */
export function forgetToken(access: Access): void {
  addEventListener("hashchange", () => access.forget(), { once: true });
  location.hash = "#/";
}

/** Any call that wants a token, and little of it. */
async function judge(token: string): Promise<Judged> {
  const { status, said } = await asked("api/v1/runs?limit=1", token);
  return { status, code: String(said?.["code"] ?? ""), detail: String(said?.["detail"] ?? `it answers ${status}`) };
}

/** status: 0 when no answer came. */
async function asked(path: string, token: string | null): Promise<{ status: number; said: Record<string, unknown> | null }> {
  try {
    const headers = { Accept: "application/json", ...(token === null ? {} : { Authorization: `Bearer ${token}` }) };
    const response = await fetch(path, { headers, cache: "no-store" });
    return { status: response.status, said: parseObject(await response.text()) };
  } catch {
    return { status: 0, said: null };
  }
}

/** What this tab keeps, where it may: a page may be forbidden to. */
function stored(): string | null {
  try {
    return sessionStorage.getItem(KEY);
  } catch {
    return null;
  }
}

function store(token: string | null): void {
  try {
    if (token === null) sessionStorage.removeItem(KEY);
    else sessionStorage.setItem(KEY, token);
  } catch {
    // Then a reload forgets it.
  }
}
