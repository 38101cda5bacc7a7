import { describe, expect, it, vi } from "vitest";
import type { RunEvent } from "../../js/src/protocol.js";
import { Announcer, PAUSE } from "../src/model/announce.js";
import { ALL, Filter } from "../src/model/filter.js";
import { Frames, framesOf } from "../src/model/frames.js";
import { idOf, originOf, Origins } from "../src/model/origins.js";
import { Tap } from "../src/tap.js";
import { Lag, median } from "../src/model/lag.js";
import { RunModel } from "../src/model/run.js";
import { samplePlan } from "../src/model/sample.js";
import { Seqs } from "../src/model/seqs.js";
import { BIN, BINS, Strip, UNSEEN } from "../src/model/strip.js";
import { event, sequence } from "./events.js";

const SOME = sequence(
  ["workflow_started"], ["node_started", { node_id: "a" }], ["node_log", { node_id: "a", message: "Hello World" }],
  ["node_started", { node_id: "b" }], ["node_completed", { node_id: "a" }], ["workflow_completed"],
);

describe("a run", () => {
  it("takes each event once, however the snapshots come", () => {
    const whole = new RunModel();
    whole.take(SOME);
    const parts = new RunModel();
    for (let n = 0; n <= SOME.length; n += 1) parts.take(SOME.slice(0, n));
    parts.take(SOME.slice());
    expect(parts.types).toEqual(whole.types);
    expect(parts.laneOf).toEqual([-1, 0, 0, 1, 0, -1]);
    expect([parts.taken, parts.life, parts.seqs.toString(), parts.terminal]).toEqual([6, 0, "1..6, no hole", SOME[5]]);
  });

  it("takes many a part at a time", () => {
    const model = new RunModel();
    expect([model.take(SOME, 4), model.taken, model.take(SOME, 4), model.taken]).toEqual([false, 4, true, 6]);
  });

  it("begins anew when the numbering did", () => {
    const model = new RunModel();
    model.take(SOME);
    model.take([]);
    expect([model.taken, model.life, model.lanes.all.length, model.terminal]).toEqual([0, 1, 0, null]);
    const other = sequence(["other"]);
    model.take(other);
    expect([...model.types]).toEqual([["other", 1]]);
  });

  it("begins anew when the oldest events were given up", () => {
    const model = new RunModel();
    model.take(SOME);
    model.take([...SOME.slice(2), event("late", { seq: 7 })]);
    expect([model.taken, model.life, model.seqs.toString()]).toEqual([5, 1, "3..7, no hole"]);
  });
});

describe("numbers", () => {
  const said = (...numbers: (number | undefined)[]): string => {
    const seqs = new Seqs();
    for (const number of numbers) seqs.take(number);
    return `${seqs} ${seqs.whole}`;
  };

  it("says whether they are whole", () => {
    expect(said()).toBe("none yet true");
    expect(said(1)).toBe("1, no hole true");
    expect(said(1, 2, undefined, 3)).toBe("1..3, no hole true");
    expect(said(5, 6)).toBe("5..6, no hole true");
    expect(said(1, 4)).toBe("1..4, 2 missing false");
    expect(said(1, 2, 2)).toBe("1..2, 1 repeated false");
  });
});

describe("a filter", () => {
  const shown = (filter: Filter): number[] => Array.from({ length: filter.count }, (_, row) => filter.at(row));
  const model = new RunModel();
  model.take(SOME);

  it.each([
    [ALL, [0, 1, 2, 3, 4, 5]],
    [{ ...ALL, type: "node_started" }, [1, 3]],
    [{ ...ALL, lane: 0 }, [1, 2, 4]],
    [{ ...ALL, type: "node_started", lane: 1 }, [3]],
    [{ ...ALL, text: "  hello  WORLD " }, [2]],
    [{ ...ALL, text: '"seq":4' }, [3]],
    [{ ...ALL, text: "nowhere" }, []],
  ])("shows what is wanted: %j", (wanted, expected) => {
    const filter = new Filter();
    filter.want(wanted);
    expect(filter.read(model)).toBe(true);
    expect(shown(filter)).toEqual(expected);
  });

  it("reads each event once", () => {
    let reads = 0;
    const counting = { events: new Proxy(SOME, { get: (all, key) => (reads += Number(typeof key === "string" && /^\d+$/.test(key)), Reflect.get(all, key)) }), laneOf: model.laneOf, taken: 4 };
    const filter = new Filter();
    filter.want({ ...ALL, type: "node_started" });
    filter.read(counting);
    filter.read(counting);
    filter.read({ ...counting, taken: 6 });
    expect([reads, shown(filter)]).toEqual([6, [1, 3]]);
  });

  it("stops when it is late, and goes on", () => {
    const events = Array.from({ length: 1_000 }, (_, index) => event(index % 2 === 0 ? "even" : "odd"));
    const many = new RunModel();
    many.take(events);
    const filter = new Filter();
    filter.want({ ...ALL, type: "odd" });
    let parts = 1;
    while (!filter.read(many, () => true)) parts += 1;
    expect([filter.count, parts]).toEqual([500, 16]);
  });

  it("finds the row of an event, or of the next that is shown", () => {
    const filter = new Filter();
    filter.want({ ...ALL, lane: 0 });
    filter.read(model);
    expect([0, 1, 2, 3, 4, 5].map((index) => filter.rowOf(index))).toEqual([0, 0, 1, 2, 2, 3]);
  });
});

describe("frames", () => {
  const ONE = '{"id":1,"seq":1,"a":"}{\\"]\\\\","n":1.0,"o":{"p":[{}]}}';
  const TWO = '{"id":2,"seq":2,"b":12345678901234567890}';

  it("cuts them out of a history as they are", () => {
    expect(framesOf(`{"run_id":"r","events":[${ONE},${TWO}],"next":2}`)).toEqual([ONE, TWO]);
    expect(framesOf('{"events":[]}')).toEqual([]);
    expect(framesOf('{"runs":[]}')).toEqual([]);
    expect(framesOf(`{"events":[${ONE},{"id":2,"x":"`)).toEqual([ONE]);
  });

  it("keeps events by id", () => {
    const frames = new Frames();
    frames.take(1, ONE);
    frames.take(1, TWO);
    expect([frames.get(1), frames.get(3), frames.get(undefined)]).toEqual([ONE, undefined, undefined]);
  });

  it("keeps no more than it may", () => {
    const frames = new Frames();
    for (let id = 1; id <= 300; id += 1) frames.take(id, `{"id":${id},"x":"${"x".repeat(65_000)}"}`);
    expect([frames.get(1), frames.get(300)?.length]).toEqual([undefined, 65_017]);
  });
});

describe("how events came", () => {
  it("is known by the address that brought them", () => {
    const of = (path: string): unknown => originOf(`http://api/api/v1${path}`);
    expect([of("/feeds/u/events?limit=9&cause=ws_gap"), of("/runs/r/events?limit=9&after=0")]).toEqual(["poll", "history"]);
    expect([of("/runs?username=cause"), of("/config"), originOf("http://hub/sse?username=u")]).toEqual([null, null, "stream"]);
  });

  it("is the first that had them, but a history only where nothing else had", () => {
    const origins = new Origins();
    for (const [id, first, then] of [[1, "poll", "stream"], [2, "stream", "poll"], [3, "history", "stream"], [4, "poll", "history"]] as const) {
      origins.take(id, first);
      origins.take(id, then);
    }
    expect([1, 2, 3, 4, 5, undefined].map((id) => origins.get(id))).toEqual(["poll", "stream", "stream", "poll", undefined, undefined]);
    origins.restart();
    expect(origins.get(1)).toBeUndefined();
  });

  it("is forgotten for the oldest", () => {
    const origins = new Origins();
    for (let id = 1; id <= 20_001; id += 1) origins.take(id, "stream");
    expect([origins.get(1), origins.get(2)]).toEqual([undefined, "stream"]);
  });

  it("takes no control frame for an event", () => {
    expect(['{"id":7,"seq":1}', '{"control":true,"type":"connected"}', "no json"].map(idOf)).toEqual([7, null, null]);
  });

  it("is seen in frames, event streams and answers, which go on unchanged", async () => {
    const [frames, origins] = [new Frames(), new Origins()];
    const tap = new Tap(frames, origins);
    const one = '{"id":1,"type":"é"}';
    const answers: Record<string, [string, string]> = {
      "http://h/sse?username=u": ["text/event-stream", `id: 1\ndata: ${one}\n\n`],
      "http://h/feeds/u/events?cause=ws_idle": ["application/json", '{"events":[{"id":2,"a":1}],"next":2}'],
    };
    vi.stubGlobal("fetch", async (url: string) => new Response(answers[url]![1], { headers: { "Content-Type": answers[url]![0] } }));
    const [stream, poll] = Object.keys(answers) as [string, string];
    const reader = (await tap.fetch(stream)).body!.getReader();
    expect(new TextDecoder().decode((await reader.read()).value)).toBe(answers[stream]![1]);
    expect(await (await tap.fetch(poll)).text()).toBe(answers[poll]![1]);
    expect([origins.get(1), frames.get(1), origins.get(2), frames.get(2)]).toEqual(["stream", one, "poll", '{"id":2,"a":1}']);
    vi.unstubAllGlobals();
  });
});

describe("lag", () => {
  it("keeps the last 60", () => {
    const lag = new Lag();
    expect([lag.last, lag.median, lag.worst]).toEqual([null, null, null]);
    for (let ms = 1; ms <= 100; ms += 1) lag.take(ms);
    expect([lag.values.length, lag.last, lag.median, lag.worst]).toEqual([60, 100, 70.5, 100]);
  });

  it("has a middle", () => expect([median([]), median([3]), median([9, 1, 5])]).toEqual([null, 3, 5]));
});

describe("the strip", () => {
  const at = (strip: Strip, ago: number): [number, number, number] => {
    const bin = (strip.now - ago + BINS) % BINS;
    return [strip.stream[bin]!, strip.poll[bin]!, strip.open[bin]!];
  };

  it("counts what came when, and which way", () => {
    const strip = new Strip();
    strip.connected(10_000, true);
    strip.take(10_000, "stream");
    strip.take(10_010, "stream");
    strip.connected(10_500, false);
    strip.take(11_000, "poll");
    expect([at(strip, 0), at(strip, 7), at(strip, 10), at(strip, 11)]).toEqual([[0, 1, 0], [0, 0, 1], [2, 0, 1], [0, 0, UNSEEN]]);
  });

  it("forgets after a minute", () => {
    const strip = new Strip();
    strip.take(0, "stream");
    expect(strip.busy).toBe(true);
    strip.advance(BIN * (BINS + 1));
    expect([strip.busy, strip.stream.some((count) => count > 0)]).toEqual([false, false]);
    strip.advance(1e12);
    expect(strip.open[strip.now % BINS]).toBe(UNSEEN);
  });
});

describe("announcements", () => {
  it("are summaries, five seconds apart", () => {
    const announcer = new Announcer();
    expect(announcer.next(0, "Run running")).toBeNull();
    announcer.events(3);
    expect(announcer.next(0, "Run running")).toBe("3 new events. Run running");
    announcer.events(1);
    expect(announcer.next(PAUSE - 1, "Run running")).toBeNull();
    announcer.news("Events come by poll");
    announcer.news("The run is completed");
    expect(announcer.next(PAUSE, "Run completed")).toBe("The run is completed. 1 new event. Run completed");
    expect(announcer.next(9 * PAUSE, "Run completed")).toBeNull();
  });
});

describe("the sample run", () => {
  const model = new RunModel();
  const plan = samplePlan();
  model.take(plan.map(({ at, event: said }, index) => ({ run_id: "r", username: "u", seq: index + 1, timestamp: at / 1000, ...said }) as RunEvent));

  it("has seven steps in twelve seconds, some beside each other, one tried twice", () => {
    expect(model.lanes.all.map((lane) => lane.bars.length)).toEqual([1, 2, 1, 1, 1, 1, 1]);
    expect(model.lanes.all.every((lane) => lane.bars.at(-1)?.ending === "completed")).toBe(true);
    expect([model.lanes.to, model.terminal?.type]).toEqual([12, "workflow_completed"]);
  });

  it("goes forward, in time and in progress, each event with a key of its own", () => {
    const rising = (values: readonly number[]): boolean => values.every((value, index) => index === 0 || value >= values[index - 1]!);
    expect(rising(plan.map(({ at }) => at))).toBe(true);
    expect(rising(plan.flatMap(({ event: { progress } }) => (typeof progress === "number" ? [progress] : [])))).toBe(true);
    expect(new Set(plan.map(({ event: said }) => said["event_id"])).size).toBe(plan.length);
  });
});
