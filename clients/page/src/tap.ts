/** Keeps the texts that the client's sockets and requests bring, before it parses them. */
import type { Frames } from "./model/frames.js";

export function tappedSocket(frames: Frames): typeof WebSocket {
  return class extends WebSocket {
    constructor(url: string | URL, protocols?: string | string[]) {
      super(url, protocols);
      this.addEventListener("message", ({ data }) => {
        if (typeof data === "string") frames.take(data);
      });
    }
  };
}

export function tappedFetch(frames: Frames): typeof fetch {
  return async (input, init) => {
    const response = await fetch(input, init);
    const json = response.headers.get("Content-Type")?.startsWith("application/json") === true;
    if (!json || !String(input).includes("/events?")) return response;
    const text = response.text.bind(response);
    response.text = async () => {
      const body = await text();
      frames.takeHistory(body);
      return body;
    };
    return response;
  };
}
