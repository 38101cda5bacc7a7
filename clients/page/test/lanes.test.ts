import { describe, expect, it } from "vitest";
import type { RunEvent } from "../../js/src/protocol.js";
import { duration } from "../src/model/format.js";
import { Lanes, stretches, told } from "../src/model/lanes.js";
import { event, sequence } from "./events.js";

function lanesOf(events: readonly RunEvent[]): Lanes {
  const lanes = new Lanes();
  events.forEach((each, index) => lanes.take(each, index));
  return lanes;
}

/** Every lane as `name: start-end ending, ...`; a running bar has no end, a point no start. */
function drawn(lanes: Lanes): string[] {
  return lanes.all.map((lane) => {
    const bars = lane.bars.map((bar) => `${bar.started ? bar.start : ""}-${bar.end ?? ""} ${bar.ending ?? "runs"}`);
    return `${lane.name}${lane.node === null ? "" : `/${lane.node}`}: ${bars.join(", ")}`;
  });
}

describe("lanes", () => {
  it("has none without events", () => {
    const lanes = new Lanes();
    expect(lanes.all).toEqual([]);
    expect(lanes.from).toBeNull();
    expect(lanes.running.size).toBe(0);
  });

  it("draws steps beside each other, in the order in which they began", () => {
    const lanes = lanesOf(sequence(
      ["workflow_started"], ["step_started", { step_name: "a" }], ["step_started", { step_name: "b" }],
      ["step_completed", { step_name: "a" }], ["step_failed", { step_name: "b" }], ["workflow_completed"],
    ));
    expect(drawn(lanes)).toEqual(["a: 101-103 completed", "b: 102-104 failed"]);
    expect(lanes.running.size).toBe(0);
  });

  it("lets a step without an end run, until the run ends", () => {
    const begun = sequence(["node_started", { node_id: "a" }], ["note"]);
    expect(drawn(lanesOf(begun))).toEqual(["a: 100- runs"]);
    expect(lanesOf(begun).running.size).toBe(1);
    const ended = sequence(["node_started", { node_id: "a" }], ["note"], ["workflow_cancelled"]);
    expect(drawn(lanesOf(ended))).toEqual(["a: 100-102 open"]);
  });

  it("shows an end without a start as a point", () => {
    const lanes = lanesOf(sequence(["node_completed", { node_id: "a" }], ["node_skipped", { node_id: "b" }]));
    expect(drawn(lanes)).toEqual(["a: -100 completed", "b: -101 skipped"]);
    expect(told(lanes.all[0]!, duration)).toBe("completed, its start was not seen");
  });

  it("draws tries of one step behind each other", () => {
    const lanes = lanesOf(sequence(
      ["step_started", { step_name: "a" }], ["step_failed", { step_name: "a" }], ["step_retrying", { step_name: "a" }],
      ["step_started", { step_name: "a" }], ["step_completed", { step_name: "a" }],
    ));
    expect(drawn(lanes)).toEqual(["a: 100-101 failed, 103-104 completed"]);
    expect(lanes.all[0]?.bars.map(({ attempt, first, last }) => [attempt, first, last])).toEqual([[1, 0, 1], [2, 3, 4]]);
    expect(told(lanes.all[0]!, duration)).toBe("failed after 1.0 s, then completed after 1.0 s");
  });

  it("ends a try that is started once more", () => {
    const lanes = lanesOf(sequence(["step_started", { step_name: "a" }], ["step_started", { step_name: "a" }]));
    expect(drawn(lanes)).toEqual(["a: 100-101 again, 101- runs"]);
  });

  it("draws what is said twice once, and what differs twice", () => {
    const same = { node_id: "a", timestamp: 105 };
    const lanes = lanesOf(sequence(["node_started", { node_id: "a" }], ["node_completed", same], ["node_completed", same], ["node_failed", same]));
    expect(drawn(lanes)).toEqual(["a: 100-105 completed, -105 failed"]);
  });

  it("lets no step end before it began, whatever the clocks say", () => {
    const lanes = lanesOf([
      event("node_started", { node_id: "a", timestamp: 50 }), event("node_completed", { node_id: "a", timestamp: 49 }),
      event("node_started", { node_id: "b", timestamp: 40 }),
    ]);
    expect(drawn(lanes)).toEqual(["a: 50-50 completed", "b: 40- runs"]);
    expect([lanes.origin, lanes.from, lanes.to]).toEqual([50, 40, 50]);
  });

  it("takes recorded_at where there is no timestamp, and the time before where there is neither", () => {
    const lanes = lanesOf([
      event("node_started", { node_id: "a", recorded_at: 10 }), event("node_completed", { node_id: "a" }),
      event("node_started", { node_id: "b", timestamp: "soon" }),
    ]);
    expect(drawn(lanes)).toEqual(["a: 10-10 completed", "b: 10- runs"]);
    expect(drawn(lanesOf([event("node_started", { node_id: "a" })]))).toEqual(["a: 0- runs"]);
  });

  it("has a lane for each node of a step, and finds it by either name", () => {
    const lanes = lanesOf(sequence(
      ["step_started", { step_name: "search", node_id: "n1" }], ["step_started", { step_name: "search", node_id: "n2" }],
      ["step_completed", { node_id: "n1" }], ["step_completed", { step_name: "search", node_id: "n2" }],
      ["step_failed", { step_name: "search" }],
    ));
    expect(drawn(lanes)).toEqual(["search/n1: 100-102 completed", "search/n2: 101-103 completed, -104 failed"]);
  });

  it("gives what has no name a lane only when it is started", () => {
    const lanes = lanesOf(sequence(["steps_completed"], ["render_started"], ["render_completed"], ["started"], ["run_started"]));
    expect(drawn(lanes)).toEqual(["render: 101-102 completed"]);
  });

  it("takes every separator that a type may have", () => {
    const lanes = lanesOf(sequence(["node.started", { node_id: "a" }], ["node-completed", { node_id: "a" }]));
    expect(drawn(lanes)).toEqual(["a: 100-101 completed"]);
  });

  it("tells the lane of each event", () => {
    const lanes = new Lanes();
    const events = sequence(["workflow_started"], ["node_started", { node_id: "a" }], ["node_log", { node_id: "b" }], ["node_log", { node_id: "a" }]);
    expect(events.map((each, index) => lanes.take(each, index))).toEqual([-1, 0, 1, 0]);
    expect(told(lanes.all[1]!, duration)).toBe("mentioned, never started");
  });

  it("takes names that objects have anyway", () => {
    const lanes = lanesOf(sequence(["node_started", { node_id: "__proto__" }], ["node_started", { node_id: "constructor" }]));
    expect(drawn(lanes)).toEqual(["__proto__: 100- runs", "constructor: 101- runs"]);
  });

  it("keeps a bounded number of tries", () => {
    const events = Array.from({ length: 500 }, (_, index) => [
      event("node_started", { node_id: "a", timestamp: 2 * index }), event("node_completed", { node_id: "a", timestamp: 2 * index + 1 }),
    ]).flat();
    const [lane] = lanesOf(events).all;
    expect(lane?.bars.length).toBe(60);
    expect(lane?.dropped).toBe(440);
    expect([lane?.droppedFrom, lane?.droppedTo]).toEqual([0, 879]);
    expect(lane?.bars.at(-1)?.attempt).toBe(500);
    expect(told(lane!, duration)).toMatch(/^496 tries before, then completed after 1\.0 s/);
  });

  it("changes the version of the lane that changes", () => {
    const lanes = new Lanes();
    sequence(["node_started", { node_id: "a" }], ["node_started", { node_id: "b" }]).forEach((each, index) => lanes.take(each, index));
    const before = lanes.all.map((lane) => lane.version);
    lanes.take(event("node_completed", { node_id: "b", timestamp: 110 }), 2);
    expect(lanes.all.map((lane, index) => lane.version - before[index]!)).toEqual([0, 1]);
  });
});

describe("stretches", () => {
  const bars = (...times: readonly (readonly [number, number | null])[]) =>
    lanesOf(times.flatMap(([start, end]) => [
      event("node_started", { node_id: "a", timestamp: start }), ...(end === null ? [] : [event("node_completed", { node_id: "a", timestamp: end })]),
    ])).all[0]!;

  it("keeps bars apart that can be told apart", () => {
    expect(stretches(bars([0, 2], [3, 4], [9, null]), 0.5).map(({ end, many }) => [end, many])).toEqual([[2, 1], [4, 1], [null, 1]]);
  });

  it("joins those that cannot, and leaves the one that runs", () => {
    const lane = bars([0, 0.1], [0.2, 0.3], [0.4, 0.5], [3, 3.1], [3.2, null]);
    expect(stretches(lane, 0.5).map(({ bar, end, many }) => [bar.start, end, many])).toEqual([[0, 0.5, 3], [3, 3.1, 1], [3.2, null, 1]]);
  });

  it("does not join a long one", () => {
    expect(stretches(bars([0, 5], [5.1, 5.2]), 0.5).length).toBe(2);
  });
});
