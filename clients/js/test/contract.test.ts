import { describe, expect, test } from "vitest";
import type { Request } from "../src/actions.js";
import { Machine } from "../src/machine.js";
import { CLOSE_CODES, CLOSED, RUN_FILTERS, RUN_ID, TERMINAL, USERNAME } from "../src/protocol.js";
import type { Cause, Status } from "../src/protocol.js";
import { contract } from "./support/contract.js";

// The compiler refuses these when the types have another name, or one more.
const STATUSES: Record<Status, true> = {
  queued: true, running: true, rendering: true, completed: true, failed: true, cancelled: true,
};
const CAUSES: Record<Cause, true> = { ws_never: true, ws_gap: true, ws_idle: true, ws_down: true, forced: true };

test("a close code means what the contract says, and no other code is known", () => {
  const said = Object.entries(contract.close_codes).map(([code, { retry }]) => [code, retry]);

  expect(CLOSE_CODES).toEqual(Object.fromEntries(said));
});

test("terminal types, statuses and causes of polls are the contract's", () => {
  expect({ ...TERMINAL }).toEqual(contract.terminal);
  expect("constructor" in TERMINAL).toBe(false);
  expect([...CLOSED].sort()).toEqual(Object.values(contract.terminal).sort());
  expect(Object.keys(STATUSES)).toEqual(contract.statuses);
  expect(contract.poll_causes).toBeDefined();
  expect(Object.keys(CAUSES)).toEqual(contract.poll_causes);
});

describe.each([
  ["run_id", RUN_ID, contract.names.run_id],
  ["username", USERNAME, contract.names.username],
])("%s", (_, pattern, name) => {
  test("has the contract's pattern", () => expect(pattern.source).toBe(name.pattern));
  test.each(name.valid)("may be %j", (text) => expect(text).toMatch(pattern));
  test.each(name.invalid)("may not be %j", (text) => expect(text).not.toMatch(pattern));
});

/** A machine that watches so many runs and is where the feed is. */
function watching(runs: number): Machine {
  const machine = new Machine();
  for (let run = 1; run <= runs; run++) machine.watch(0, `r${run}`, null);
  const [first] = machine.actions() as Request[];
  machine.answered(1, (first as Request).id, { status: 200, body: { events: [], head: 5, epoch: "E" } });
  machine.actions();
  return machine;
}

function poll(machine: Machine): Request {
  machine.refresh(2);
  return machine.actions().find((action) => action.do === "get" && action.cause !== undefined) as Request;
}

test("a poll names as many runs as a request may have, and asks for the whole feed beyond that", () => {
  expect(RUN_FILTERS).toBe(contract.limits.run_filters);
  expect(poll(watching(RUN_FILTERS)).runs).toHaveLength(RUN_FILTERS);
  expect(poll(watching(RUN_FILTERS + 1)).runs).toBeUndefined();
});

test("no page is asked for that is larger than the API gives", () => {
  const machine = new Machine();
  machine.watch(0, "r1", null);
  const [load] = machine.actions() as Request[];

  expect((load as Request).limit).toBeLessThanOrEqual(contract.limits.history_events_max);
  expect(poll(watching(1)).limit).toBeLessThanOrEqual(contract.limits.history_events_max);
});
