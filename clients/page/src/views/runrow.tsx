/** One run in the list. */
import { absolute, duration, elapsed, moment } from "../model/format.js";
import { runHref } from "../model/route.js";
import { type Row, tookOf } from "../model/runlist.js";
import { StatusMark } from "../ui/marks.js";
import { Progress } from "../ui/parts.js";

const HEADS = ["Status", "Run", "Workflow", "Progress", "Step", "Made", "Took"];

/** The heads of the columns for the eye: they stay when the rows scroll. */
export function RunHeads() {
  return <div class="run-row run-heads" aria-hidden="true">{HEADS.map((head) => <span key={head}>{head}</span>)}</div>;
}

/** The same for those who hear the table, in it. */
export function SpokenHeads() {
  return <div class="unseen" role="row" aria-rowindex={1}>{HEADS.map((head) => <span key={head} role="columnheader">{head}</span>)}</div>;
}

interface Props {
  readonly run: Row;
  readonly index: number;
  readonly top: number;
  readonly now: number;
  readonly focused: boolean;
  readonly fresh: boolean;
  readonly last: boolean;
}

export function RunRow({ run, index, top, now, focused, fresh, last }: Props) {
  const took = tookOf(run, now);
  const over = run.finished_at !== null;
  return (
    <div
      class={`run-row${fresh ? " fresh-row" : ""}${last ? " last" : ""}`} role="row" aria-rowindex={index + 2} style={{ transform: `translateY(${top}px)` }}
      data-row={run.run_id} data-index={index} data-status={run.status}
    >
      <span role="cell" class={`status status-${run.status}`}><StatusMark status={run.status} /><span>{run.status}</span></span>
      <span role="cell" class="run-id">
        <a class="mono" href={runHref(run.username, run.run_id)} title={run.run_id} tabIndex={focused ? 0 : -1} data-focus>{run.run_id}</a>
      </span>
      <span role="cell" class="run-workflow" title={run.workflow ?? undefined}>{run.workflow ?? <span class="faint" aria-label="no workflow">–</span>}</span>
      <span role="cell" class="run-progress"><Progress value={run.progress} label={`Progress of ${run.run_id}`} live={!over} /></span>
      <span role="cell" class="run-step mono" title={run.current_step ?? undefined}>{run.current_step ?? ""}</span>
      <span role="cell" class="run-when figure" title={absolute(run.created_at)}>{moment(run.created_at, now)}</span>
      <span role="cell" class="run-took figure">{took === null ? "–" : over ? duration(took) : elapsed(took)}</span>
    </div>
  );
}
