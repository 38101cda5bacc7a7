import { expect, test } from "vitest";
import type { RunEvent } from "../src/protocol.js";
import { FEED, Subscription } from "../src/subscription.js";

const WAITING = 5_000;
const event = (id: number, type = "step"): RunEvent => ({ id, run_id: "r1", username: "u", type });
const ids = (events: RunEvent[] | null): number[] | undefined => events?.map(({ id }) => id as number);
const loading = (): Subscription => new Subscription("r1", 0, 0, 0);

test("what comes before the history waits for it, and follows on it once", () => {
  const run = loading();
  for (const id of [4, 5, 6]) expect(run.take(event(id))).toBe(false);

  expect(ids(run.complete(5))).toEqual([6]);
  expect(run.take(event(6))).toBe(false);
  expect(run.take(event(7))).toBe(true);
});

test(`${WAITING} events wait for a history; with one more all are left to the history`, () => {
  const fits = loading();
  for (let id = 1; id <= WAITING; id++) fits.take(event(id));
  expect(fits.complete(0)).toHaveLength(WAITING);

  const full = loading();
  for (let id = 1; id <= WAITING + 1; id++) full.take(event(id));
  expect(full.complete(WAITING)).toBeNull(); // read on: this one is missing
  expect(ids(full.complete(WAITING + 1))).toEqual([]);
});

test("an event without an id is handed on at once, before the history as well", () => {
  expect(loading().take({ run_id: "r1", username: "u", type: "step" })).toBe(true);
});

test("a terminal event ends a run and not the feed", () => {
  const [run, feed] = [loading(), new Subscription(FEED, 0, 0, 0)];
  for (const each of [run, feed]) each.take(event(1, "workflow_cancelled"));

  expect([run.ended, feed.ended]).toEqual([true, false]);
});

test("after a reset a run begins at its beginning, and the feed with what comes next", () => {
  const [run, feed] = [loading(), new Subscription(FEED, 0, 0, 0)];
  for (const each of [run, feed]) {
    each.complete(9);
    each.reset(3, 100);
  }

  expect([run.position, run.loaded, run.needs]).toEqual([0, false, 3]);
  expect([feed.position, feed.loaded]).toEqual([3, true]);
});
