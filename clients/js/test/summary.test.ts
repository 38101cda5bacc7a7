import { describe, expect, test } from "vitest";
import type { RunEvent, Status } from "../src/protocol.js";
import { add, later, NOTHING } from "../src/summary.js";
import { summaries } from "./support/contract.js";

type Repeated = [text: string, count: number];

/** The event with its `repeat`ed texts written out. */
function spelled({ repeat = {}, ...event }: Record<string, unknown>): RunEvent {
  const texts = Object.entries(repeat as Record<string, Repeated>).map(([name, [text, count]]) => [name, text.repeat(count)]);
  return { run_id: "r1", username: "u", ...event, ...Object.fromEntries(texts) } as RunEvent;
}

describe("a run's events say of it what the API says", () => {
  test.each(summaries.runs)("$why", ({ events, status, progress, step, repeat }) => {
    const wanted = repeat === undefined ? step : repeat[0].repeat(repeat[1]);

    expect(events.map(spelled).reduce(add, NOTHING)).toEqual({ status, progress, step: wanted });
  });
});

test.each<[Status, Status, Status]>([
  ["queued", "running", "running"],
  ["rendering", "running", "rendering"],
  ["completed", "running", "completed"],
  ["failed", "completed", "failed"],
])("%s and then %s is %s", (one, other, both) => {
  expect(later(one, other)).toBe(both);
});
