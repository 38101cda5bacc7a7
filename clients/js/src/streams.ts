/** The two kinds of stream, opened and read. Both say the same things; both fall silent when they are closed here. */
import { parseObject, SUBPROTOCOL } from "./protocol.js";
import { Blocks } from "./sse.js";

export interface Heard {
  /** It is open, and will not say so itself. */
  opened(): void;
  /** An event's or a control frame's JSON. */
  text(text: string): void;
  /** A sign of life, with the id up to which all was sent. */
  beat(head: number | null): void;
  closed(code: number, reason: string): void;
}

/** What of a WebSocket is used here: the platform's has it, and that of the package `ws`. */
export type WebSocketClass = new (url: string, protocols: string[]) => {
  readonly protocol: string;
  // any: the events' own types differ from one class to the other.
  onopen: ((event: any) => void) | null;
  onmessage: ((event: any) => void) | null;
  onclose: ((event: any) => void) | null;
  onerror: ((event: any) => void) | null;
  send(text: string): void;
  close(): void;
};

export interface OpenStream {
  /** Sends a token, where that can be done. Not one that it has already, and nothing when it has ended. */
  authenticate?(token: string): void;
  close(): void;
}

/** What a status in front of a stream is as a close code. */
const CODES: Readonly<Record<number, number>> = {
  400: 4400, 401: 4401, 403: 4403, 404: 4404, 410: 4409, 429: 1013, 503: 1013,
};

export function openWebSocket(make: WebSocketClass, url: string, token: string | null, heard: Heard): OpenStream {
  const socket = new make(url, token === null ? [SUBPROTOCOL] : [SUBPROTOCOL, `bearer.${token}`]);
  let over = false;
  let known = token;
  socket.onopen = () => {
    if (!over && socket.protocol !== SUBPROTOCOL) heard.opened();
  };
  socket.onmessage = ({ data }: { data: unknown }) => {
    if (!over && typeof data === "string") heard.text(data);
  };
  socket.onclose = ({ code, reason }: { code: number; reason: string }) => {
    if (!over) heard.closed(code, reason);
    over = true;
  };
  socket.onerror = () => {}; // a close follows, and says as much
  return {
    authenticate(token) {
      if (!over && token !== known) socket.send(JSON.stringify({ type: "auth", token }));
      known = token;
    },
    close() {
      over = true;
      socket.close();
    },
  };
}

export function openEvents(call: typeof fetch, url: string, token: string | null, heard: Heard): OpenStream {
  const stop = new AbortController();
  void readEvents(call, url, token, heard, stop.signal);
  return { close: () => stop.abort() };
}

async function readEvents(
  call: typeof fetch, url: string, token: string | null, heard: Heard, signal: AbortSignal,
): Promise<void> {
  let end: [code: number, reason: string] = [1006, ""];
  try {
    const headers = { Accept: "text/event-stream", ...(token === null ? {} : { Authorization: `Bearer ${token}` }) };
    const response = await call(url, { headers, signal, cache: "no-store" });
    if (response.status !== 200 || response.body === null) {
      const seconds = Number(response.headers.get("Retry-After") ?? NaN);
      end = [await codeOf(response), seconds >= 0 ? `retry in ${Math.round(1000 * seconds)} ms` : ""];
      if (!response.bodyUsed) await response.body?.cancel();
    } else if (!/^text\/event-stream\b/i.test(response.headers.get("Content-Type") ?? "")) {
      await response.body.cancel(); // not the hub: a page to log in, as some networks put before everything
    } else {
      const wait = await readBlocks(response.body, heard, signal);
      if (wait !== null) end = [1012, `retry in ${wait} ms`];
    }
  } catch {
    // Whatever it was, the stream is over, and that is what is said.
  }
  if (!signal.aborted) heard.closed(...end);
}

/** A refusal as a close code. */
async function codeOf(response: Response): Promise<number> {
  const code = CODES[response.status] ?? 1006;
  if (code !== 4404) return code;
  // A proxy that knows no such path says nothing about the hub: only what has the hub's own words is its answer.
  return typeof parseObject(await response.text())?.["code"] === "string" ? code : 1006;
}

/** Reads to the end; the ms that the server asked to wait, or null. */
async function readBlocks(body: ReadableStream<Uint8Array>, heard: Heard, signal: AbortSignal): Promise<number | null> {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  const blocks = new Blocks();
  let wait: number | null = null;
  let open = false;
  for (;;) {
    const { done, value } = await reader.read();
    if (done || signal.aborted) return wait;
    for (const block of blocks.feed(decoder.decode(value, { stream: true }))) {
      wait = block.retry ?? wait;
      if (block.retry !== null && block.data === null) continue; // its last words: a refusal is a stream of these alone
      if (!open) heard.opened();
      open = true;
      if (block.data !== null) heard.text(block.data);
      else heard.beat(/^\d{1,16}$/.test(block.id ?? "") ? Number(block.id) : null);
    }
  }
}
