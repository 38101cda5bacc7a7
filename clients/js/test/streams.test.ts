import { describe, expect, test } from "vitest";
import { type Heard, openEvents, openWebSocket } from "../src/streams.js";
import { deferred } from "./support/later.js";

/** Writes down all that a stream says; `over` resolves at its end. */
function ear() {
  const said: string[] = [];
  const { promise: over, resolve } = deferred<void>();
  const heard: Heard = {
    opened: () => said.push("opened"),
    text: (text) => said.push(`text ${text}`),
    beat: (head) => said.push(`beat ${head}`),
    closed: (code, reason) => {
      said.push(`closed ${code} ${reason}`.trim());
      resolve();
    },
  };
  return { said, heard, over };
}

const EVENTS = { headers: { "Content-Type": "text/event-stream; charset=utf-8" } };

/** What a stream says when it is answered so. */
async function said(response: Response | Error): Promise<string[]> {
  const { said, heard, over } = ear();
  const call = () => (response instanceof Error ? Promise.reject(response) : Promise.resolve(response));
  openEvents(call as never, "http://hub/sse", null, heard);
  await over;
  return said;
}

const bytes = (text: string, size: number): ReadableStream<Uint8Array> => {
  const all = new TextEncoder().encode(text);
  return new ReadableStream({
    start(controller) {
      for (let at = 0; at < all.length; at += size) controller.enqueue(all.subarray(at, at + size));
      controller.close();
    },
  });
};

describe("an event stream", () => {
  test.each([1, 2, 3, 7, 1000])("says the same in pieces of %i bytes, letters that are cut included", async (size) => {
    const text = ': \nid: 3\n\nid: 4\ndata: {"note":"é😀"}\n\n';

    expect(await said(new Response(bytes(text, size), EVENTS))).toEqual([
      "opened", "beat 3", 'text {"note":"é😀"}', "closed 1006",
    ]);
  });

  test("that is sent away for a while never opened, and is told when to come back", async () => {
    expect(await said(new Response("retry: 1500\n\n", EVENTS))).toEqual(["closed 1012 retry in 1500 ms"]);
  });

  test.each([
    [400, 4400], [401, 4401], [403, 4403], [404, 4404], [410, 4409], [429, 1013], [503, 1013], [500, 1006], [204, 1006],
  ])("that is answered %i is closed with %i", async (status, code) => {
    const body = status === 204 ? null : '{"code":"no"}';

    expect(await said(new Response(body, { status }))).toEqual([`closed ${code}`]);
  });

  test.each(["{}", "<html>not found</html>", ""])("that is answered 404 with %j was not answered by the hub", async (body) => {
    expect(await said(new Response(body, { status: 404 }))).toEqual(["closed 1006"]);
  });

  test("that is refused with a time comes back then", async () => {
    expect(await said(new Response("", { status: 503, headers: { "Retry-After": "3" } }))).toEqual(["closed 1013 retry in 3000 ms"]);
  });

  test("that nobody answers is closed", async () => {
    expect(await said(new TypeError("fetch failed"))).toEqual(["closed 1006"]);
  });

  test("is not what a login page in its place says", async () => {
    const page = new Response("<html>\n\n<p>log in\n\n</html>\n\n", { headers: { "Content-Type": "text/html" } });

    expect(await said(page)).toEqual(["closed 1006"]);
  });

  test("sends its token in a header, and says nothing after it was closed", async () => {
    const { said, heard } = ear();
    const { promise: asked, resolve } = deferred<RequestInit>();
    const { promise: ended, resolve: end } = deferred<Error>();
    const call = (_: string, init: RequestInit): Promise<Response> => {
      resolve(init);
      return new Promise((_, reject) => init.signal?.addEventListener("abort", () => {
        reject(new Error("aborted"));
        end(new Error("aborted"));
      }));
    };
    const stream = openEvents(call as never, "http://hub/sse", "secret", heard);
    expect((await asked).headers).toMatchObject({ Authorization: "Bearer secret", Accept: "text/event-stream" });

    stream.close();
    await ended;
    await new Promise(setImmediate);
    expect(said).toEqual([]);
  });
});

class Socket {
  static last: Socket;
  protocol = "runfeed.v1";
  closes = 0;
  sent: string[] = [];
  onopen!: () => void;
  onmessage!: (message: { data: unknown }) => void;
  onclose!: (close: { code: number; reason: string }) => void;
  constructor(readonly url: string, readonly protocols: string[]) {
    Socket.last = this;
  }
  send(text: string): void {
    this.sent.push(text);
  }
  close(): void {
    this.closes += 1;
  }
}

function open(token: string | null, protocol = "runfeed.v1") {
  const { said, heard } = ear();
  const stream = openWebSocket(Socket as never, "ws://hub/ws", token, heard);
  const socket = Socket.last;
  socket.protocol = protocol;
  return { said, stream, socket };
}

describe("a WebSocket", () => {
  test("offers the control frames, and the token as a second name", () => {
    expect(open(null).socket.protocols).toEqual(["runfeed.v1"]);
    expect(open("secret").socket.protocols).toEqual(["runfeed.v1", "bearer.secret"]);
  });

  test("is open by its first frame, or at once where no control frames are spoken", () => {
    const [ours, other] = [open(null), open(null, "")];
    for (const { socket } of [ours, other]) socket.onopen();

    expect([ours.said, other.said]).toEqual([[], ["opened"]]);
  });

  test("says texts and its end, and ignores bytes", () => {
    const { said, socket } = open(null);
    socket.onmessage({ data: "{}" });
    socket.onmessage({ data: new ArrayBuffer(2) });
    socket.onclose({ code: 1012, reason: "retry in 5 ms" });

    expect(said).toEqual(["text {}", "closed 1012 retry in 5 ms"]);
  });

  test("sends a token that it has not yet, while it is open", () => {
    const { stream, socket } = open("t1");
    for (const token of ["t1", "t2", "t2", "t3"]) stream.authenticate?.(token);
    expect(socket.sent.map((text) => JSON.parse(text))).toEqual([{ type: "auth", token: "t2" }, { type: "auth", token: "t3" }]);

    socket.onclose({ code: 4401, reason: "" });
    stream.authenticate?.("t4");
    expect(socket.sent).toHaveLength(2);
  });

  test("says nothing after it was closed here", () => {
    const { said, stream, socket } = open(null, "");
    stream.close();
    socket.onopen();
    socket.onmessage({ data: "{}" });
    socket.onclose({ code: 1000, reason: "" });

    expect([said, socket.closes]).toEqual([[], 1]);
  });
});
