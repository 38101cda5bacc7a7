/** A user's runs, newest first. */
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { many } from "../model/format.js";
import { runHref } from "../model/route.js";
import { Rows } from "../model/rows.js";
import type { Wish } from "../model/runlist.js";
import { isRefused, wantsToken, wordsOf } from "../model/trouble.js";
import type { Session } from "../session.js";
import { NARROW, useMedia, useSession, useTicker } from "../ui/hooks.js";
import { Live } from "../ui/live.js";
import { Notice } from "../ui/parts.js";
import { VirtualList } from "../ui/virtual.js";
import { EmptyView } from "./empty.js";
import { RunHeads, RunRow, SpokenHeads } from "./runrow.js";
import { Sample } from "./sample.js";

const WISHES: readonly Wish[] = ["all", "queued", "running", "rendering", "completed", "failed", "cancelled"];
const ROW = 44;
const ROW_NARROW = 84;

export function UserView() {
  const session = useSession();
  const { shelf, username } = session;
  const [wish, setWish] = useState<Wish>("all");
  useEffect(() => shelf.want(wish), [wish]);
  if (session.partial) return <SomeRuns username={username} runs={session.access.about.runs ?? []} />;
  const page = shelf.page(wish);
  const empty = wish === "all" && shelf.list.size === 0 && page.cursor !== undefined;
  return (
    <div class="user">
      <header class="user-head">
        <h1><span class="faint">Runs of</span> <span class="mono name">{username}</span></h1>
        {!empty && <Sample quiet />}
      </header>
      {shelf.error !== null && <Away session={session} />}
      {empty ? <EmptyView /> : (
        <>
          <Wishes wish={wish} choose={setWish} />
          <List key={wish} session={session} wish={wish} />
        </>
      )}
    </div>
  );
}

/** A token for some runs: the API lists none, so those that it names stand here. */
function SomeRuns({ username, runs }: { username: string; runs: readonly string[] }) {
  return (
    <div class="user">
      <header class="user-head">
        <h1><span class="faint">Some runs of</span> <span class="mono name">{username}</span></h1>
      </header>
      <div class="some" data-some={runs.length}>
        <p class="lead">The token shows {many(runs.length, "run")}, and no list of the others.</p>
        <ul>
          {runs.map((run) => <li key={run}><a class="mono" href={runHref(username, run)} data-some-run={run}>{run}</a></li>)}
        </ul>
      </div>
    </div>
  );
}

function Away({ session }: { session: Session }) {
  const { error, list } = session.shelf;
  if (error === null || wantsToken(error)) return null; // a token is asked for
  const again = isRefused(error) ? "" : " This page tries again by itself.";
  return (
    <Notice kind="trouble">
      {wordsOf(error)}{list.size > 0 ? " What you see is from before." : ""}{again}{" "}
      <button type="button" class="link" onClick={() => session.shelf.retry()}>Try now</button>
    </Notice>
  );
}

function Wishes({ wish, choose }: { wish: Wish; choose: (wish: Wish) => void }) {
  return (
    <fieldset class="wishes">
      <legend class="unseen">Status</legend>
      {WISHES.map((each) => (
        <label key={each}>
          <input type="radio" name="wish" value={each} checked={each === wish} onChange={() => choose(each)} />
          <span>{each}</span>
        </label>
      ))}
    </fieldset>
  );
}

/** The runs to show. While the visitor is further down or points at a row, new ones wait: nothing jumps. */
function useShown(session: Session, wish: Wish, busy: { current: boolean }) {
  const { list } = session.shelf;
  const begun = useRef<Set<string>>(new Set());
  const seen = useRef<Set<string>>(new Set());
  const { since } = session.shelf.page(wish);
  const all = useMemo(() => list.matching(wish, since), [list.version, wish, since]);
  const settled = session.shelf.page(wish).cursor !== undefined;
  const oldest = Math.min(...[...seen.current].map((id) => list.get(id)?.created_at ?? Infinity));
  const fresh = all.filter((id) => !seen.current.has(id) && (list.get(id)?.created_at ?? 0) >= oldest);
  const holds = settled && busy.current && seen.current.size > 0;
  if (!holds) for (const id of fresh) if (seen.current.size > 0) begun.current.add(id);
  const held = holds ? fresh : [];
  const shown = held.length > 0 ? all.filter((id) => !held.includes(id)) : all;
  for (const id of shown) seen.current.add(id);
  const release = (): void => {
    for (const id of held) {
      begun.current.add(id);
      seen.current.add(id);
    }
  };
  return { shown, held, release, isNew: (id: string) => begun.current.has(id) };
}

function List({ session, wish }: { session: Session; wish: Wish }) {
  const { shelf } = session;
  const narrow = useMedia(NARROW);
  const away = useRef(false);
  const pointed = useRef(false);
  const busy = useRef(false);
  busy.current = away.current || pointed.current;
  const { shown, held, release, isNew } = useShown(session, wish, busy);
  const [active, setActive] = useState(0);
  const [, again] = useState(0);
  useTicker(1_000);
  const rows = new Rows(shown.length, narrow ? ROW_NARROW : ROW);
  const page = shelf.page(wish);
  const now = session.now();
  const show = (): void => {
    release();
    document.querySelector(".runs")?.scrollTo({ top: 0 });
    again((n) => n + 1);
  };
  return (
    <>
      <div class="list-line">
        {held.length > 0
          ? <button type="button" class="fresh" data-fresh={held.length} onClick={show}>{many(held.length, "new run")}</button>
          : <span class="faint">{page.cursor === undefined ? "Asking for the runs" : `${many(shown.length, "run")} here${page.cursor === null ? "" : ", older ones below"}`}</span>}
      </div>
      <div class="runs-frame" onPointerEnter={() => (pointed.current = true)} onPointerLeave={() => (pointed.current = false)}>
        <VirtualList
          class="runs" role="table" label={`Runs, newest first${wish === "all" ? "" : `, ${wish}`}`} rows={rows}
          head={<RunHeads />} back={<SpokenHeads />} active={Math.min(active, shown.length - 1)} onActive={setActive} onScroll={(top) => (away.current = top > 4)}
          attributes={{ "aria-rowcount": shown.length + 1, "aria-colcount": 7 }}
          row={(index, top, focused) => {
            const run = shelf.list.get(shown[index] as string);
            return run === undefined ? <div key={index} /> : (
              <RunRow key={run.run_id} run={run} index={index} top={top} now={now} focused={focused} fresh={isNew(run.run_id)} last={index === shown.length - 1 && page.cursor === null} />
            );
          }}
          tail={<Tail session={session} wish={wish} shown={shown.length} />}
        />
      </div>
      <Live count={0} state="" news={held.length > 0 ? `${many(held.length, "new run")}` : newest(session, shown)} />
    </>
  );
}

/** The newest run, for the ear. */
function newest(session: Session, shown: readonly string[]): string | null {
  const run = shown[0] === undefined ? undefined : session.shelf.list.get(shown[0]);
  return run === undefined ? null : `Newest run ${run.workflow ?? run.run_id}: ${run.status}`;
}

function Tail({ session, wish, shown }: { session: Session; wish: Wish; shown: number }) {
  const { cursor, loading } = session.shelf.page(wish);
  if (typeof cursor === "string") {
    return (
      <div class="tail">
        <button type="button" data-more disabled={loading} onClick={() => void session.shelf.more()}>{loading ? "Asking" : "Older runs"}</button>
      </div>
    );
  }
  if (cursor === null && shown === 0) return <p class="tail faint">No run is {wish} now. One that becomes so appears here by itself.</p>;
  return cursor === null ? <p class="tail faint">These are all.</p> : null;
}
