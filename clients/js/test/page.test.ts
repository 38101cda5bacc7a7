// @vitest-environment happy-dom
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { FakeServer, many } from "./support/server.js";

const FRAME = 16; // ms
let server: FakeServer;
let hidden: boolean;

beforeEach(() => {
  vi.useFakeTimers();
  vi.spyOn(Math, "random").mockReturnValue(0.5);
  hidden = false;
  vi.spyOn(document, "hidden", "get").mockImplementation(() => hidden);
  server = new FakeServer();
});
afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
});

const pass = (ms = 0): Promise<unknown> => vi.advanceTimersByTimeAsync(ms);

async function watching() {
  const feed = server.client();
  const change = vi.fn();
  const leave = feed.run("r1").subscribe({ change });
  await pass(FRAME + 1);
  change.mockClear();
  return { feed, change, leave };
}

const signs: [string, () => void][] = [
  ["the network is back", () => void window.dispatchEvent(new Event("online"))],
  ["the page is looked at again", () => void document.dispatchEvent(new Event("visibilitychange"))],
  ["the page comes back from the browser's cache", () => void window.dispatchEvent(new Event("pageshow"))],
];

describe.each(signs)("when %s", (_, happens) => {
  test("a client that waits connects at once", async () => {
    await watching();
    server.last.shut(1013, "retry in 20000 ms");
    await pass(1_000);
    expect(server.sockets).toHaveLength(1);

    happens();
    await pass();
    expect(server.live).toHaveLength(1);
  });

  test("a stream that missed a heartbeat meanwhile is opened anew", async () => {
    await watching();
    const first = server.last;
    vi.setSystemTime(Date.now() + 31_000); // the machine slept: no timer ran
    happens();
    await pass(500);

    expect([first.closed, server.sockets.length, server.live.length]).toEqual([true, 2, 1]);
  });

  test("a stream that missed none is left alone", async () => {
    await watching();
    vi.setSystemTime(Date.now() + 29_000);
    happens();
    await pass(500);

    expect([server.sockets.length, server.last.closed]).toEqual([1, false]);
  });

  test("nothing happens while nobody looks, or after all was left", async () => {
    const { leave } = await watching();
    server.last.shut(1013, "retry in 20000 ms");
    hidden = true;
    happens();
    await pass(1_000);
    expect(server.sockets).toHaveLength(1);

    hidden = false;
    leave();
    await pass(250);
    happens();
    await pass(1_000);
    expect(server.sockets).toHaveLength(1);
  });
});

describe("changes are told", () => {
  test("with the next frame, once for all that came before it", async () => {
    const { change } = await watching();
    const frames: (() => void)[] = [];
    vi.stubGlobal("requestAnimationFrame", (call: () => void) => frames.push(call));
    server.append("r1", many(100));
    await pass(90);
    expect([frames.length, change.mock.calls.length]).toEqual([1, 0]);

    frames[0]?.();
    expect(change).toHaveBeenCalledTimes(1);
    server.append("r1", many(1));
    frames[0]?.(); // an old frame, which is nobody's any more
    expect(change).toHaveBeenCalledTimes(1);
    frames[1]?.();
    expect(change).toHaveBeenCalledTimes(2);
  });

  test("every 100 ms where nothing is painted", async () => {
    hidden = true;
    const { change } = await watching();
    await pass(100);
    change.mockClear();
    server.append("r1", many(100));
    await pass(99);
    expect(change).not.toHaveBeenCalled();
    await pass(1);
    expect(change).toHaveBeenCalledTimes(1);
  });

  test("when the page was hidden between the event and its frame: no frame comes then", async () => {
    const { change } = await watching();
    vi.stubGlobal("requestAnimationFrame", () => 1); // as browsers do: it waits until the page is shown
    server.append("r1", many(1));
    hidden = true;
    await pass(100);
    expect(change).toHaveBeenCalledTimes(1);

    server.append("r1", ["workflow_completed"]);
    await pass(100);
    expect(change).toHaveBeenCalledTimes(2);
  });
});
