import { describe, expect, test } from "vitest";
import { type Block, Blocks } from "../src/sse.js";
import { chance } from "./support/chance.js";

const block = (said: Partial<Block>): Block => ({ event: "message", data: null, id: null, retry: null, ...said });

const STREAM = [
  ": hello\nid: 3\n\n",
  'id: 4\ndata: {"type":"step"}\n\n',
  "event: reset\r\nid\r\ndata:one\r\ndata:  two\r\n\r\n",
  "retry: 1500\rdata\r\r",
  "\n\n:\n\n",
  "id: a\0b\nretry: soon\nunknown: x\ndata: é☃😀:\n\n",
  "data: never ends",
].join("");

const WANTED: Block[] = [
  block({ id: "3" }),
  block({ id: "4", data: '{"type":"step"}' }),
  block({ event: "reset", id: "", data: "one\n two" }),
  block({ data: "", retry: 1500 }),
  block({}),
  block({ data: "é☃😀:" }),
];

function read(pieces: string[]): Block[] {
  const blocks = new Blocks();
  return pieces.flatMap((piece) => blocks.feed(piece));
}

describe("an event stream", () => {
  test("is read by its rules: every end of line, comments, several lines of data, an empty id", () => {
    expect(read([STREAM])).toEqual(WANTED);
  });

  test("gives the same blocks wherever it is cut in two", () => {
    for (let cut = 0; cut <= STREAM.length; cut++) {
      expect([cut, read([STREAM.slice(0, cut), STREAM.slice(cut)])]).toEqual([cut, WANTED]);
    }
  });

  test("gives the same blocks in pieces of one character, and of any sizes", () => {
    expect(read([...STREAM].flatMap((character) => character.split("")))).toEqual(WANTED);
    for (let seed = 1; seed <= 200; seed++) expect([seed, read(cutAnyhow(seed))]).toEqual([seed, WANTED]);
  });

  test("is given up when a line is longer than any of ours", () => {
    const blocks = new Blocks();
    const mebibyte = "x".repeat(2 ** 20);
    for (let sent = 0; sent < 4; sent++) blocks.feed(mebibyte);

    expect(() => blocks.feed("x")).toThrow(RangeError);
  });
});

function cutAnyhow(seed: number): string[] {
  const random = chance(seed);
  const pieces: string[] = [];
  for (let at = 0; at < STREAM.length; ) {
    const size = Math.floor(random() * 9);
    pieces.push(STREAM.slice(at, at + size));
    at += size;
  }
  return pieces;
}
