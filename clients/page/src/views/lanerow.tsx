/** One step's lane. */
import { memo } from "preact/compat";
import { duration } from "../model/format.js";
import { type Bar, type Lane, type Stretch, stretches, told } from "../model/lanes.js";
import type { Mark as Kind } from "../model/kinds.js";
import { Mark } from "../ui/marks.js";

const LABEL = 54; // px that a duration takes
const LEAST = 5; // px that a bar needs to be told from its neighbour

interface Props {
  readonly lane: Lane;
  readonly top: number;
  /** The axis: where it begins, how long it is, how many px it has. */
  readonly from: number;
  readonly length: number;
  readonly plot: number;
  readonly focused: boolean;
  readonly chosen: boolean;
  readonly count: number;
  readonly show: (lane: number, index: number) => void;
  readonly version: number;
}

function Row({ lane, top, from, length, plot, focused, chosen, count, show }: Props) {
  const last = lane.bars.at(-1);
  const state = last === undefined ? "mentioned" : (last.ending ?? "running");
  return (
    <div
      class={chosen ? "lane chosen" : "lane"} role="listitem" aria-setsize={count} aria-posinset={lane.index + 1}
      style={{ transform: `translateY(${top}px)` }} data-index={lane.index} data-lane={lane.name} data-state={state}
    >
      <button
        type="button" class="lane-name mono" tabIndex={focused ? 0 : -1} data-focus aria-pressed={chosen}
        title={lane.node === null ? lane.name : `${lane.name} (${lane.node})`}
        aria-label={`${lane.name}: ${told(lane, duration)}. Show its events`} onClick={() => show(lane.index, lane.bars[0]?.first ?? 0)}
      >
        {lane.name}{lane.node !== null && <span class="faint"> {lane.node}</span>}
      </button>
      <div class="lane-plot">
        {lane.dropped > 0 && <Before lane={lane} from={from} length={length} />}
        {stretches(lane, (LEAST * length) / plot).map((each, index, all) => each.many > 1
          ? <Dense key={each.bar.attempt} {...each} from={from} length={length} show={() => show(lane.index, each.bar.first)} />
          : (
            <BarView
              key={each.bar.attempt} bar={each.bar} from={from} length={length} lane={lane.name}
              label={room(each.bar, all[index + 1]?.bar, plot / length)} show={() => show(lane.index, each.bar.first)}
            />
          ))}
      </div>
    </div>
  );
}

/** Whether a duration has room behind its bar. */
function room(bar: Bar, next: Bar | undefined, scale: number): boolean {
  return bar.started && (next === undefined || (next.start - (bar.end ?? next.start)) * scale > LABEL);
}

const MARKS: Record<NonNullable<Bar["ending"]>, Kind> = {
  completed: "completed", failed: "failed", skipped: "skipped", cancelled: "cancelled", again: "retry", open: "note",
};

interface BarProps {
  readonly bar: Bar;
  readonly from: number;
  readonly length: number;
  readonly lane: string;
  readonly label: boolean;
  readonly show: () => void;
}

/** A running bar is as wide as its step has taken: who draws the axis sees to that, see Steps. */
function BarView({ bar, from, length, lane, label, show }: BarProps) {
  const left = (100 * (bar.start - from)) / length;
  const took = bar.end === null ? null : bar.end - bar.start;
  const width = took === null ? {} : { width: `${(100 * took) / length}%` };
  const words = took === null ? "running" : bar.started ? `${duration(took)}, ${bar.ending}` : `${bar.ending}, its start was not seen`;
  return (
    <button
      type="button" class={`bar bar-${bar.ending ?? "running"}${bar.started ? "" : " point"}`} tabIndex={-1} data-bar={bar.ending ?? "running"}
      title={`${lane}${bar.attempt > 1 ? `, try ${bar.attempt}` : ""}: ${words}`} aria-hidden="true"
      style={{ left: `${left}%`, ...width }} data-from={took === null ? left : undefined} onClick={show}
    >
      <span class="bar-line" />
      {bar.ending !== null && <span class="bar-end"><Mark kind={MARKS[bar.ending]} /></span>}
      {label && took !== null && <span class="bar-took figure">{duration(took)}</span>}
    </button>
  );
}

function Dense({ bar, end, many, from, length, show }: Stretch & { from: number; length: number; show: () => void }) {
  const left = (100 * (bar.start - from)) / length;
  const width = (100 * ((end as number) - bar.start)) / length;
  return <button type="button" class="bar dense" tabIndex={-1} aria-hidden="true" title={`${many} tries`} style={{ left: `${left}%`, width: `${width}%` }} onClick={show} />;
}

/** Tries that are too many to be drawn one by one. */
function Before({ lane, from, length }: { lane: Lane; from: number; length: number }) {
  const left = (100 * (lane.droppedFrom - from)) / length;
  const width = (100 * Math.max(0, lane.droppedTo - lane.droppedFrom)) / length;
  return <span class="before" title={`${lane.dropped} tries before`} style={{ left: `${left}%`, width: `${width}%` }} />;
}

export const LaneRow = memo(Row);
