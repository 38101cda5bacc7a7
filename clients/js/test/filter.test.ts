import { expect, test } from "vitest";
import { mayFilter, RUN_FILTERS } from "../src/protocol.js";

const long = (count: number): string[] => Array.from({ length: count }, (_, n) => String(n).padEnd(128, ":"));

test("a poll names its runs only while its line stays within what the API reads", () => {
  expect(mayFilter(["r1", "r2"])).toBe(true);
  expect(mayFilter(Array.from({ length: RUN_FILTERS }, (_, n) => `r${n}`))).toBe(true);
  expect(mayFilter(Array.from({ length: RUN_FILTERS + 1 }, (_, n) => `r${n}`))).toBe(false);
  expect(mayFilter(long(14))).toBe(true);
  expect(mayFilter(long(60))).toBe(false);
  expect(mayFilter(["r1", ""])).toBe(false);

  const line = new URLSearchParams(long(14).map((run) => ["run_id", run])).toString();
  expect(line.length).toBeLessThan(6_500); // and 8,190 is refused; the rest is for the username and the cursor
});
