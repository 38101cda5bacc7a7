/** Keeps the texts that the client's sockets and requests bring, and how they came, before it parses them. */
import { Blocks } from "../../js/src/sse.js";
import { type Frames, framesOf } from "./model/frames.js";
import { idOf, type Origin, originOf, type Origins } from "./model/origins.js";

export class Tap {
  readonly #frames: Frames;
  readonly #origins: Origins;

  constructor(frames: Frames, origins: Origins) {
    this.#frames = frames;
    this.#origins = origins;
  }

  socket(): typeof WebSocket {
    const take = this.#take;
    return class extends WebSocket {
      constructor(url: string | URL, protocols?: string | string[]) {
        super(url, protocols);
        this.addEventListener("message", ({ data }) => {
          if (typeof data === "string") take(data, "stream");
        });
      }
    };
  }

  readonly fetch: typeof fetch = async (input, init) => {
    const response = await fetch(input, init);
    const origin = originOf(String(input));
    const type = response.headers.get("Content-Type") ?? "";
    if (origin === "stream" && type.startsWith("text/event-stream")) this.#stream(response);
    else if (origin !== null && origin !== "stream" && type.startsWith("application/json")) this.#answer(response, origin);
    return response;
  };

  #take = (text: string, origin: Origin): void => {
    const id = idOf(text);
    if (id === null) return;
    this.#frames.take(id, text);
    this.#origins.take(id, origin);
  };

  #answer(response: Response, origin: Origin): void {
    const text = response.text.bind(response);
    response.text = async () => {
      const body = await text();
      for (const frame of framesOf(body)) this.#take(frame, origin);
      return body;
    };
  }

  /** The body goes through here: what is read of it is what the client reads. */
  #stream(response: Response): void {
    const blocks = new Blocks();
    const decoder = new TextDecoder();
    const look = new TransformStream<Uint8Array, Uint8Array>({
      transform: (chunk, onward) => {
        for (const { data } of blocks.feed(decoder.decode(chunk, { stream: true }))) if (data !== null) this.#take(data, "stream");
        onward.enqueue(chunk);
      },
    });
    const body = response.body?.pipeThrough(look as never) ?? null;
    Object.defineProperty(response, "body", { value: body });
  }
}
