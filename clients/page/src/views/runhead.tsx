/** Where a run is, in a glance. */
import type { RunInfo } from "../../../js/src/client.js";
import { CLOSED } from "../../../js/src/protocol.js";
import type { RunState } from "../../../js/src/react.js";
import { absolute, count, duration, elapsed } from "../model/format.js";
import { timeOf } from "../model/kinds.js";
import type { RunModel } from "../model/run.js";
import { useQuietSession, useTicker } from "../ui/hooks.js";
import { StatusWord } from "../ui/marks.js";
import { Copy, Fact, Progress } from "../ui/parts.js";

interface Props {
  readonly run: string;
  readonly state: RunState;
  readonly model: RunModel;
  readonly info: RunInfo | null;
  readonly unknown: boolean;
}

export function RunHead({ run, state, model, info, unknown }: Props) {
  const closed = CLOSED.includes(state.status);
  const known = state.loaded || state.events.length > 0;
  return (
    <header class="run-head">
      <div class="run-title">
        <div class="run-names">
          <h1 class={run.length > 40 ? "mono long" : "mono"}>{run}</h1>
          {info?.workflow && <span class="run-of" title={info.workflow}>{info.workflow}</span>}
        </div>
        <Copy label="Copy id" what={run} text={() => run} />
      </div>
      {!unknown && (
        <>
          <Progress value={state.progress} label="Progress of the run" live={!closed} />
          <dl class="facts">
            <Fact name="Status">{known ? <StatusWord status={state.status} /> : <span class="faint">not known yet</span>}</Fact>
            <Fact name={closed ? "Last step" : "Step"}><span class="mono bounded" title={state.step ?? undefined}>{state.step ?? "–"}</span></Fact>
            <Fact name={closed ? "Took" : "Elapsed"}><Took state={state} model={model} /></Fact>
            <Fact name="Events">
              <span data-seqs={model.seqs.whole ? "whole" : "broken"} class={model.seqs.whole ? undefined : "trouble"}>
                {count(state.events.length)} <span class="mono proof-range">{model.seqs.last === null ? "" : model.seqs.toString()}</span>
              </span>
            </Fact>
          </dl>
        </>
      )}
    </header>
  );
}

function Took({ state, model }: { state: RunState; model: RunModel }) {
  const session = useQuietSession();
  const { origin, to } = model.lanes;
  const closed = CLOSED.includes(state.status);
  useTicker(100, !closed && origin !== null);
  if (origin === null) return <span>–</span>;
  const end = closed ? (state.last && timeOf(state.last)) ?? to ?? origin : Math.max(session.now(), to ?? origin);
  const text = closed ? duration(end - origin) : elapsed(end - origin);
  return <span class="figure" title={`Began ${absolute(origin)}`}>{text}</span>;
}
