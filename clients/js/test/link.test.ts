import { describe, expect, test } from "vitest";
import { backoff, Link, retryIn } from "../src/link.js";

const CEILINGS = [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000];

test.each(CEILINGS.map((ceiling, tries) => [tries, ceiling]))(
  "before try %i a client waits anything from 0 to %i ms", (tries, ceiling) => {
    expect([backoff(tries, 0), backoff(tries, 0.25), backoff(tries, 1)]).toEqual([0, ceiling / 4, ceiling]);
  },
);

test("waits stay at 30 s, however often it is tried", () => {
  expect(backoff(5_000, 1)).toBe(30_000);
});

test.each([
  ["retry in 1234 ms", 1234],
  ["restarting: retry in 0 ms, please", 0],
  ["retry in 12345678 ms", null],
  ["retry in -5 ms", null],
  ["", null],
])("the close's reason %j asks to wait %j ms", (reason, wait) => {
  expect(retryIn(reason)).toBe(wait);
});

/** Open at 0 after so many tries that failed. */
function openAfter(failures: number): Link {
  const link = new Link(["websocket", "sse"]);
  link.want(0);
  for (let failed = 0; failed < failures; failed++) {
    link.connect(0);
    link.lost(0, 1006, "", 1);
  }
  link.connect(0);
  link.opened(0, true);
  return link;
}

describe("a stream that ends", () => {
  test("soon after it opened is one more failure: a hub that closes at once is not hammered", () => {
    const link = openAfter(3);
    link.lost(9_999, 1006, "", 1);

    expect(link.retryAt - 9_999).toBe(4_000);
  });

  test("after 10 s begins with the short waits again", () => {
    const link = openAfter(3);
    link.lost(10_000, 1006, "", 1);

    expect(link.retryAt - 10_000).toBe(500);
  });

  test("comes back when the hub asked it to, by a frame before the reason", () => {
    const link = openAfter(0);
    link.told = 700;
    link.lost(100, 1012, "retry in 900 ms", 1);

    expect(link.retryAt).toBe(800);
  });
});

test("tries go to the other kind of stream after two failures, and back after two more", () => {
  const link = new Link(["websocket", "sse"]);
  link.want(0);
  const kinds = Array.from({ length: 6 }, () => {
    const kind = link.connect(0);
    link.lost(0, 1006, "", 0);
    return kind;
  });

  expect(kinds).toEqual(["websocket", "websocket", "sse", "sse", "websocket", "websocket"]);
});

test("a stream that shows signs of life is dead 62.5 s after the last, one that shows none never", () => {
  const beats = openAfter(0);
  beats.heard(1_000);
  expect([beats.isDead(63_499), beats.isDead(63_500)]).toEqual([false, true]);

  const silent = openAfter(0);
  silent.opened(0, false);
  expect(silent.isDead(1e9)).toBe(false);
});
