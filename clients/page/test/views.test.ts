import { describe, expect, it } from "vitest";
import { stride, tickLabel, ticks } from "../src/model/axis.js";
import { ownerOf } from "../src/model/owner.js";
import { describe as fieldsOf } from "../src/model/describe.js";
import { count, duration, elapsed, lag, many, moment, offset, percent } from "../src/model/format.js";
import { markOf, partsOf } from "../src/model/kinds.js";
import { parseRoute, runHref, userHref } from "../src/model/route.js";
import { Rows } from "../src/model/rows.js";
import { event } from "./events.js";

describe("routes", () => {
  it("names the three views", () => {
    expect(parseRoute("")).toEqual({ view: "start" });
    expect(parseRoute("#/")).toEqual({ view: "start" });
    expect(parseRoute("#/users/alice")).toEqual({ view: "user", user: "alice" });
    expect(parseRoute("#/users/alice/runs/")).toEqual({ view: "user", user: "alice" });
    expect(parseRoute("#/users/alice/runs/a:b")).toEqual({ view: "run", user: "alice", run: "a:b" });
  });

  it("brings names through an address and back", () => {
    const user = "auth0|5f7c+x@y.z";
    expect(parseRoute(userHref(user))).toEqual({ view: "user", user });
    expect(parseRoute(runHref(user, "r:1@x"))).toEqual({ view: "run", user, run: "r:1@x" });
  });

  it.each(["#/users/", "#/users/-a", "#/users/a%20b", "#/users/a/runs/b%7Cc", "#/nowhere", "#/users/a/walks/b", "#/users/a/runs/b/c", "#/users/%zz"])(
    "says what is wrong with %s", (hash) => {
      const route = parseRoute(hash);
      expect(route.view).toBe("wrong");
      expect(route).toHaveProperty("rule", expect.stringMatching(/./));
    },
  );
});

describe("whose a run is", () => {
  it("is what the API says, else what the list says; one that nobody has made may become ours", () => {
    const [ours, theirs] = [{ username: "u" }, { username: "v" }];
    expect([ownerOf("u", ours, false), ownerOf("u", theirs, false), ownerOf("u", theirs, true)]).toEqual(["ours", "another", "another"]);
    expect([ownerOf("u", undefined, false), ownerOf("u", undefined, true), ownerOf("u", null, false)]).toEqual(["wait", "ours", "ours"]);
  });
});

describe("figures", () => {
  it("writes lengths of time", () => {
    expect([0, 0.0004, 0.412, 0.9996, 3.14, 59.94, 59.96, 125, 3725, 200_000].map(duration)).toEqual(
      ["0 ms", "0 ms", "412 ms", "1.0 s", "3.1 s", "59.9 s", "1:00", "2:05", "1:02:05", "2 d 7 h"],
    );
    expect([null, NaN, Infinity, -1].map(duration)).toEqual(["–", "–", "–", "0 ms"]);
    expect([0.04, 9.96, 61.9].map(elapsed)).toEqual(["0.0 s", "10.0 s", "1:01"]);
  });

  it("writes moments from a beginning", () => {
    expect([0, 12.0344, 125.034, 3725.5, -0.2, -0.0001, 59.9996].map(offset)).toEqual(
      ["0.000", "12.034", "2:05.034", "1:02:05.500", "−0.200", "0.000", "1:00.000"],
    );
    expect(offset(null)).toBe("–");
  });

  it("writes lags, and those of clocks that differ", () => {
    expect([4.2, 999.4, 999.6, 3400, 125_000, -12, -0.2].map(lag)).toEqual(["4 ms", "999 ms", "1.0 s", "3.4 s", "2:05", "−12 ms", "0 ms"]);
    expect(lag(null)).toBe("–");
  });

  it("writes counts", () => {
    expect([0, 999, 1000, 1234567].map(count)).toEqual(["0", "999", "1,000", "1,234,567"]);
    expect([many(1, "event"), many(2, "event"), many(0, "query", "queries")]).toEqual(["1 event", "2 events", "0 queries"]);
    expect([percent(null), percent(99.9), percent(100)]).toEqual(["–", "99 %", "100 %"]);
  });

  it("writes a moment with its day when that is another", () => {
    const noon = new Date(2026, 10, 22, 12, 0, 5).getTime() / 1000;
    expect(moment(noon, noon + 60)).toBe("12:00:05");
    expect(moment(noon, noon + 86_400)).toBe("2026-11-22 12:00");
    expect([moment(null, noon), moment(1e15, noon)]).toEqual(["–", "–"]);
  });
});

describe("the axis", () => {
  it("grows in strides that leave room", () => {
    expect([0, 0.5, 1, 5.7, 12, 61, 100].map(stride)).toEqual([0.1, 0.6, 1.5, 6, 15, 80, 150]);
    for (let length = 0.01; length < 1e6; length *= 1.07) expect(stride(length)).toBeGreaterThan(length);
  });

  it("has round ticks, not too many", () => {
    expect(ticks(12, 7)).toEqual([0, 2, 4, 6, 8, 10, 12]);
    expect(ticks(0.6, 6)).toEqual([0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6]);
    expect(ticks(3600, 6)).toEqual([0, 600, 1200, 1800, 2400, 3000, 3600]);
    expect(ticks(0, 5)).toEqual([0]);
    for (let length = 0.01; length < 1e7; length *= 1.3) expect(ticks(length, 8).length).toBeLessThanOrEqual(9);
  });

  it("labels them", () => {
    expect([0, 0.25, 2, 2.5, 90, 3600, 5400].map(tickLabel)).toEqual(["0", "250 ms", "2 s", "2.5 s", "1:30", "1:00 h", "1:30 h"]);
  });
});

describe("rows", () => {
  it("has nothing to draw without rows", () => {
    const rows = new Rows(0, 30);
    expect([rows.total, rows.window(0, 600, 5)]).toEqual([0, [0, 0]]);
  });

  it("draws what is seen and a little more", () => {
    expect(new Rows(10_000, 30).window(3_000, 600, 5)).toEqual([95, 126]);
    expect(new Rows(10_000, 30).window(-50, 600, 5)).toEqual([0, 24]);
    expect(new Rows(10, 30).window(9e9, 600, 5)).toEqual([4, 10]);
  });

  it("makes room for rows that are open", () => {
    const rows = new Rows(100, 30, [[2, 200], [5, 100]]);
    expect([0, 2, 3, 5, 6, 100].map((index) => rows.top(index))).toEqual([0, 60, 290, 350, 480, 3300]);
    expect([0, 59, 60, 289, 290, 349, 350, 479, 480, 3299, 9e9].map((y) => rows.at(y))).toEqual([0, 1, 2, 2, 3, 4, 5, 5, 6, 99, 99]);
  });

  it("finds every row at its own top", () => {
    const rows = new Rows(50, 30, [[0, 10], [7, 333], [8, 1], [49, 40]]);
    for (let index = 0; index < 50; index += 1) expect(rows.at(rows.top(index))).toBe(index);
  });
});

describe("an event in a line", () => {
  const line = (more: Record<string, unknown>) => fieldsOf(event("x", more)).map(({ name, value }) => (name === "" ? value : `${name}=${value}`));

  it("says sentences first, and nothing that stands elsewhere", () => {
    expect(line({ id: 1, seq: 1, timestamp: 1, recorded_at: 1, node_id: "n", found: 3, message: "Three found", reason: "late" })).toEqual(
      ["Three found", "reason=late", "found=3"],
    );
  });

  it("joins a step's number with how many there are", () => {
    expect(line({ step_number: 2, total_steps: 7 })).toEqual(["step=2/7"]);
    expect(line({ step_number: 2 })).toEqual(["step_number=2"]);
  });

  it("keeps everything short, and on one line", () => {
    expect(line({ message: `a\n  b\t${"x".repeat(5_000)}` })[0]).toMatch(/^a b x+…$/);
    expect(line({ a: { b: [1, { c: null }] }, big: Array(30).fill(1), ratio: 1 / 3, yes: true, none: null })).toEqual(
      ['a={"b":[1,{"c":null}]}', "big=[30 values]", "ratio=0.333333", "yes=true", "none=null"],
    );
    const wide = Object.fromEntries(Array.from({ length: 400 }, (_, index) => [`field${index}`, "y".repeat(50)]));
    expect(line(wide).join(" ").length).toBeLessThan(600);
  });

  it("leaves what looks like HTML as it is: it is text", () => {
    expect(line({ message: "<b>&amp;</b>" })).toEqual(["<b>&amp;</b>"]);
  });
});

describe("marks", () => {
  it.each([
    ["workflow_started", "started"], ["node_completed", "completed"], ["step_failed", "failed"], ["a.skipped", "skipped"],
    ["workflow_completed", "end"], ["workflow_failed", "end"], ["workflow_cancelled", "end"], ["node_retrying", "retry"],
    ["node_progress", "progress"], ["log", "note"], ["restarted", "note"], ["toString", "note"],
  ])("%s is %s", (type, mark) => expect(markOf(event(type))).toBe(mark));

  it("takes a figure of progress for progress", () => {
    expect(markOf(event("tick", { progress: 5 }))).toBe("progress");
  });

  it("splits a type", () => {
    expect(partsOf("node_started")).toEqual({ what: "node", says: "started" });
    expect(partsOf("started")).toEqual({ what: "", says: "started" });
    expect(partsOf("starting")).toBeNull();
  });
});
