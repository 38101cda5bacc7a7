/** One run: where it is, its steps as a picture, its events as they come. */
import { useEffect, useState } from "preact/hooks";
import { runHref, userHref } from "../model/route.js";
import { ALL, type Wanted } from "../model/filter.js";
import type { RunInfo } from "../../../js/src/client.js";
import type { RunfeedError } from "../../../js/src/protocol.js";
import type { RunState } from "../../../js/src/react.js";
import { percent } from "../model/format.js";
import type { RunModel } from "../model/run.js";
import { isRefused, wantsToken, wordsOf } from "../model/trouble.js";
import { KIND } from "../model/wire.js";
import { useMedia, useQuietSession, useSteady } from "../ui/hooks.js";
import { Live } from "../ui/live.js";
import { Notice } from "../ui/parts.js";
import { Frames } from "./frames.js";
import { RunHead } from "./runhead.js";
import { Steps } from "./steps.js";
import { Tabs, type Tab } from "./tabs.js";
import { Timeline } from "./timeline.js";
import { useRun } from "./userun.js";

const STACKED = "(max-width: 699px)";

/** What of the run is looked at, and from where. jump: go to this event; another object each time. */
export interface Look {
  readonly wanted: Wanted;
  readonly jump: { readonly index: number } | null;
}

export function RunView({ run }: { run: string }) {
  const session = useQuietSession();
  const { state, model, info, owner, away } = useRun(run);
  const stacked = useMedia(STACKED);
  const [chosen, choose] = useState<Tab>("events");
  const [look, setLook] = useState<Look>({ wanted: ALL, jump: null });
  useEffect(() => setLook({ wanted: ALL, jump: null }), [model.life]);
  const tab = !stacked && chosen === "steps" ? "events" : chosen;
  const showLane = useSteady((lane: number, index: number): void => {
    setLook({ wanted: { ...ALL, lane }, jump: { index } });
    choose("events");
  });
  if (owner === "another" && info !== null) return <Foreign run={run} info={info} state={state} model={model} />;
  const unknown = state.events.length === 0 && info === null && state.error?.code === "run_unknown";
  return (
    <div class="run" data-run={run} data-status={state.status} data-events={state.events.length} data-loaded={state.loaded}>
      <RunHead run={run} state={state} model={model} info={info} unknown={unknown} />
      {unknown ? <Unknown user={session.username} run={run} proves={session.proves} /> : <Trouble state={state} away={owner === "wait" ? away : null} />}
      {(!stacked || tab === "steps") && !unknown && <Steps model={model} lane={look.wanted.lane} show={showLane} whole={stacked} />}
      {!unknown && (
        <Tabs tab={tab} choose={choose} stacked={stacked} model={model}>
          {tab === "events" && <Timeline model={model} state={state} look={look} setLook={setLook} />}
          {tab === "frames" && <Frames model={model} run={run} />}
        </Tabs>
      )}
      <Live count={model.taken} state={spoken(state)} news={news(state)} />
    </div>
  );
}

function spoken(state: RunState): string {
  const step = state.step === null ? "" : `, step ${state.step}`;
  return `Run ${state.status}${state.progress === null ? "" : `, ${percent(state.progress)}`}${step}`;
}

/** What is worth saying although no event says it. */
function news({ status, transport }: RunState): string | null {
  if (status === "completed" || status === "failed" || status === "cancelled") return `The run is ${status}`;
  return transport === "none" ? null : `Events come by ${KIND[transport]}`;
}

/** Another user's run: not watched here, only named. */
function Foreign({ run, info, state, model }: { run: string; info: RunInfo; state: RunState; model: RunModel }) {
  return (
    <div class="run" data-run={run} data-foreign>
      <RunHead run={run} state={state} model={model} info={info} unknown />
      <Notice kind="word">
        This is a run of <strong class="mono">{info.username}</strong>: what happens comes on that user's feed.{" "}
        <a href={runHref(info.username, run)}>Watch it there</a>
      </Notice>
    </div>
  );
}

/** proves: of another's run, and of one that the token does not show, the API says the same. */
function Unknown({ user, run, proves }: { user: string; run: string; proves: boolean }) {
  return (
    <div class="unknown" data-unknown>
      <div class="thread broken" aria-hidden="true" />
      <h2>{proves ? "No such run for this token" : "Nobody has made this run"}</h2>
      <p class="lead">
        The API {proves ? "shows this token" : "knows"} no run <strong class="mono">{run}</strong>. If it is about to be made for {user}, stay: it appears here with
        its first event.
      </p>
      <p><a href={userHref(user)}>The runs of {user}</a></p>
    </div>
  );
}

function Trouble({ state, away }: { state: RunState; away: RunfeedError | null }) {
  const { error, events } = state;
  const wrong = error?.code === "run_unknown" ? away : (error ?? away);
  if (wrong === null || wantsToken(wrong)) return null; // a token is asked for
  const before = events.length > 0 ? " What you see is from before; it goes on by itself." : " It is asked again by itself.";
  return <Notice kind="trouble">{`${wordsOf(wrong)}${isRefused(wrong) ? "" : before}`}</Notice>;
}
