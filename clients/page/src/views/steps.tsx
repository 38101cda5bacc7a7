/** The steps as they happen: a lane each, time from left to right. */
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { stride, tickLabel, ticks } from "../model/axis.js";
import { many } from "../model/format.js";
import { Rows } from "../model/rows.js";
import type { RunModel } from "../model/run.js";
import { CALM, NARROW, useMedia, useQuietSession } from "../ui/hooks.js";
import { VirtualList } from "../ui/virtual.js";
import { LaneRow } from "./lanerow.js";

const LANE = 28;
const LANE_NARROW = 42;
const SEEN = 0.05; // percent of the axis: less than that moves nothing by a pixel
const TICK = 92; // px between two ticks at least

interface Props {
  readonly model: RunModel;
  readonly lane: number;
  readonly show: (lane: number, index: number) => void;
  /** It has the whole height. */
  readonly whole: boolean;
}

export function Steps({ model, lane, show, whole }: Props) {
  const { lanes } = model;
  const narrow = useMedia(NARROW);
  const rows = new Rows(lanes.all.length, narrow ? LANE_NARROW : LANE);
  const frame = useRef<HTMLElement>(null);
  const width = useWidth(frame);
  const length = useGrowth(model, frame);
  const [active, setActive] = useState(0);
  const [follow, setFollow] = useState(true);
  const plot = Math.max(80, width - (narrow ? 0 : 190) - 68);
  const lines = useMemo(() => ticks(length, plot / TICK), [length, plot]);
  return (
    <section class={whole ? "steps whole" : "steps"} aria-label="Steps" ref={frame} data-steps={lanes.all.length}>
      <div class="steps-head">
        <h2>Steps</h2>
        <span class="faint">{summary(model)}</span>
      </div>
      <VirtualList
        class="lanes" role="list" label="Steps, in the order in which they began" rows={rows} active={Math.min(active, rows.count - 1)}
        onActive={setActive} follow={follow} onFollow={setFollow}
        head={<Axis lines={lines} length={length} />} back={<Grid lines={lines} length={length} running={lanes.running.size > 0} />}
        row={(index, top, focused) => {
          const each = lanes.all[index] as (typeof lanes.all)[number];
          return (
            <LaneRow
              key={index} lane={each} top={top} from={lanes.from ?? 0} length={length} focused={focused} chosen={lane === index}
              count={model.terminal === null ? -1 : lanes.all.length} plot={plot} show={show} version={each.version}
            />
          );
        }}
        tail={lanes.all.length === 0 && <p class="tail faint">A lane appears with the first event that names a step (<code>step_name</code> or <code>node_id</code>).</p>}
      />
    </section>
  );
}

interface Lines {
  readonly lines: readonly number[];
  readonly length: number;
}

function Axis({ lines, length }: Lines) {
  return (
    <div class="axis" aria-hidden="true">
      <div>{lines.map((at) => <span key={at} style={{ left: `${(100 * at) / length}%` }}>{tickLabel(at)}</span>)}</div>
    </div>
  );
}

function Grid({ lines, length, running }: Lines & { running: boolean }) {
  return (
    <div class="grid" aria-hidden="true">
      {lines.map((at) => <span key={at} style={{ left: `${(100 * at) / length}%` }} />)}
      {running && <span class="grid-now" />}
    </div>
  );
}

function summary({ lanes }: RunModel): string {
  const running = lanes.running.size;
  return `${many(lanes.all.length, "step")}${running > 0 ? `, ${running} running` : ""}`;
}

/** Puts the running bars' ends, and the line, at this percentage of the axis. */
function grow(frame: HTMLElement, now: number): void {
  for (const bar of frame.querySelectorAll<HTMLElement>("[data-from]")) {
    bar.style.width = `${Math.max(0, now - Number(bar.dataset["from"]))}%`;
  }
  const line = frame.querySelector<HTMLElement>(".grid-now");
  if (line !== null) line.style.left = `${now}%`;
}

function useWidth(element: { current: HTMLElement | null }): number {
  const [width, setWidth] = useState(800);
  useLayoutEffect(() => {
    const sizes = new ResizeObserver(([entry]) => entry && setWidth(Math.round(entry.contentRect.width)));
    sizes.observe(element.current as HTMLElement);
    return () => sizes.disconnect();
  }, []);
  return width;
}

/**
 * The length of the axis, seconds. While something runs it goes on in strides; the running bars and the line of now are
 * moved by hand, when that shows: nothing is drawn anew for it.
 */
function useGrowth(model: RunModel, frame: { current: HTMLElement | null }): number {
  const session = useQuietSession();
  const calm = useMedia(CALM);
  const [, again] = useState(0);
  const { lanes } = model;
  const from = lanes.from ?? 0;
  const latest = Math.max(lanes.to ?? from, lanes.running.size > 0 ? session.now() : 0);
  const over = model.terminal !== null;
  const length = over ? Math.max(0.05, (lanes.to ?? from) - from) : stride(latest - from);
  useEffect(() => {
    if (lanes.running.size === 0) return undefined;
    let timer = 0;
    let drawn = -1;
    const move = (): void => {
      const now = Math.max(session.now(), model.lanes.to ?? 0) - from;
      const share = Math.min(100, (100 * now) / length);
      if (frame.current !== null && share - drawn > SEEN) grow(frame.current, (drawn = share));
      if (now > length) return again((n) => n + 1);
      timer = calm ? window.setTimeout(move, 1_000) : requestAnimationFrame(move);
    };
    move();
    return () => (calm ? clearTimeout(timer) : cancelAnimationFrame(timer));
  }, [model, length, from, calm, lanes.running.size > 0]);
  useLayoutEffect(() => {
    const now = Math.max(session.now(), model.lanes.to ?? 0) - from;
    if (frame.current !== null && lanes.running.size > 0) grow(frame.current, Math.min(100, (100 * now) / length));
  }); // a bar that was drawn just now has no width yet
  return length;
}
