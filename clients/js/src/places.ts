/** Where the services are, and what is asked of them over HTTP. */
import type { Answer, Request } from "./actions.js";
import { parseObject, RunfeedError, type Stream } from "./protocol.js";

const SILENCE = 30_000; // ms without a byte; the API itself gives up after 5 s, and a long page on a slow line takes its time

const LOOPBACK = /^(localhost|127(\.\d+){3}|\[::1\])$/;

/** A secret may stand there: it would be shown with the URL. So this is not said of which URL. */
const BARE = " without user, query and fragment";

/** The page that we are on, if we are on one. */
function page(): URL | null {
  return typeof location === "object" && /^https?:$/.test(location.protocol) ? new URL(location.href) : null;
}

/** The API's base URL without a slash at its end. Throws RunfeedError. */
export function apiBase(given: string | undefined): string {
  const url = given ?? page()?.origin;
  if (url === undefined) throw new RunfeedError("invalid", "api: is required where there is no page to take it from");
  if (!/^https?:\/\/[^/?#@]+(\/[^?#]*)?$/.test(url)) throw new RunfeedError("invalid", `api: must be an http or https URL${BARE}`);
  return url.replace(/\/+$/, "");
}

/** The hub's base URL, ws or wss. Throws RunfeedError when a browser would not open it. */
export function hubBase(given: string): string {
  const url = given.replace(/^http(?=s?:\/\/)/, "ws").replace(/\/+$/, "");
  if (!/^wss?:\/\/[^/?#@]+(\/[^?#]*)?$/.test(url)) throw new RunfeedError("invalid", `hub: must be a ws or wss URL${BARE}`);
  if (page()?.protocol === "https:" && url.startsWith("ws:") && !LOOPBACK.test(new URL(url).hostname)) {
    throw new RunfeedError("mixed_content", `hub: a page on https may not open ${url}: it must be a wss:// URL`);
  }
  return url;
}

export interface PlacesOptions {
  readonly api: string;
  readonly hub: string | null;
  readonly username: string;
  readonly fetch: typeof fetch;
}

export class Places {
  readonly #options: PlacesOptions;
  #hub: string | null;
  #guessed = false;

  constructor(options: PlacesOptions) {
    this.#options = options;
    this.#hub = options.hub;
  }

  /** The API did not say where the hub is, so it is looked for at the API's own address. */
  get guessed(): boolean {
    return this.#guessed;
  }

  /** The hub, as given or as the API says. Throws RunfeedError when it is none, other errors when nobody says where it is. */
  async hub(token: string | null): Promise<string> {
    if (this.#hub !== null) return this.#hub;
    const { status, body } = await this.#call("/config", token);
    if (status !== 200 && status !== 404) throw new Error("the API does not say where the hub is"); // it may, the next time
    const said = body?.["hub"];
    this.#guessed = typeof said !== "string";
    this.#hub = hubBase(typeof said === "string" ? said : this.#options.api);
    return this.#hub;
  }

  streamUrl(hub: string, kind: Stream, after: number | null, epoch: string | null): string {
    const query = new URLSearchParams({ username: this.#options.username });
    if (after !== null) query.set("after", String(after));
    if (epoch !== null) query.set("epoch", epoch);
    return kind === "websocket" ? `${hub}/ws?${query}` : `${hub.replace(/^ws/, "http")}/sse?${query}`;
  }

  async get(request: Request, token: string | null): Promise<Answer> {
    const query = new URLSearchParams({ limit: String(request.limit) });
    if (request.after !== null) query.set("after", String(request.after));
    if (request.epoch !== null) query.set("epoch", request.epoch);
    for (const run of request.runs ?? []) query.append("run_id", run);
    if (request.cause !== undefined) query.set("cause", request.cause);
    if (request.run !== undefined) query.set("username", this.#options.username); // another's head means nothing here
    const path = request.run === undefined ? `/feeds/${encodeURIComponent(this.#options.username)}` : `/runs/${request.run}`;
    return this.#call(`${path}/events?${query}`, token);
  }

  /** Some JSON of the API's. Throws RunfeedError when it is refused. */
  async read(path: string, token: string | null): Promise<Record<string, unknown>> {
    const { status, body } = await this.#call(path, token);
    if (status === 200 && body !== null) return body;
    const code = typeof body?.["code"] === "string" ? body["code"] : status === 0 ? "unreachable" : "http";
    throw new RunfeedError(code, String(body?.["detail"] ?? `${path}: ${status || "no answer"}`), status);
  }

  async #call(path: string, token: string | null): Promise<Answer> {
    const headers = { Accept: "application/json", ...(token === null ? {} : { Authorization: `Bearer ${token}` }) };
    const silence = new Silence();
    try {
      const { api, fetch: call } = this.#options; // called by itself: a browser's fetch is nobody's method
      const response = await call(`${api}/api/v1${path}`, { headers, signal: silence.signal, cache: "no-store" });
      const body = parseObject(await whole(response, silence)); // an answer that breaks off is none
      const seconds = Number(response.headers.get("Retry-After") ?? NaN);
      const wait = seconds >= 0 ? { wait: 1000 * seconds } : {};
      return response.status === 200 && body === null ? NO_ANSWER : { status: response.status, body, ...wait };
    } catch {
      return NO_ANSWER;
    } finally {
      silence.end();
    }
  }
}

/** Aborts a request when nothing comes for so long. */
class Silence {
  readonly #stop = new AbortController();
  #timer!: ReturnType<typeof setTimeout>;

  constructor() {
    this.broken();
  }

  get signal(): AbortSignal {
    return this.#stop.signal;
  }

  broken(): void {
    this.end();
    this.#timer = setTimeout(() => this.#stop.abort(), SILENCE);
  }

  end(): void {
    clearTimeout(this.#timer);
  }
}

/** A body's text. */
async function whole(response: Response, silence: Silence): Promise<string> {
  const reader = response.body?.getReader?.();
  if (reader === undefined) return response.text(); // not every fetch gives its bodies piece by piece
  const decoder = new TextDecoder();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    silence.broken();
    if (done) return text + decoder.decode();
    text += decoder.decode(value, { stream: true });
  }
}

export const NO_ANSWER: Answer = { status: 0, body: null };
