import { expect, test } from "vitest";
import { Pace } from "../src/pace.js";

test("polls that bring nothing come 1.5 times as far apart each, to 30 s, until there is news", () => {
  const pace = new Pace(4_000);
  const apart: number[] = [];
  for (let now = 0; apart.length < 7; now = pace.due) {
    pace.nothing(now);
    apart.push(pace.due - now);
  }
  expect(apart).toEqual([6_000, 9_000, 13_500, 20_250, 30_000, 30_000, 30_000]);

  pace.news(1e6);
  expect(pace.due).toBe(1_004_000);
});

test("an interval beyond 30 s that the application chose is kept", () => {
  const pace = new Pace(60_000);
  pace.nothing(0);

  expect(pace.due).toBe(60_000);
});

test("the server's wait is kept to when it is longer than ours", () => {
  const pace = new Pace(4_000);
  pace.nothing(0, 20_000);
  expect(pace.due).toBe(20_000);

  pace.nothing(20_000, 10);
  expect(pace.due).toBe(29_000);
});
