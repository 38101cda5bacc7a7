/** One run, as the run's view needs it: the library's hook, and the model that follows it. */
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import type { RunInfo } from "../../../js/src/client.js";
import { parseObject, RunfeedError } from "../../../js/src/protocol.js";
import { type RunState, useRunEvents } from "../../../js/src/react.js";
import { type Filter, isAll } from "../model/filter.js";
import { type Owner, ownerOf } from "../model/owner.js";
import { RunModel } from "../model/run.js";
import { isRefused, wantsToken } from "../model/trouble.js";
import type { Session } from "../session.js";
import { useQuietSession } from "../ui/hooks.js";

const AT_ONCE = 1_000; // events taken in a frame
const SLICE = 8; // ms of a frame that a filter may read
const AGAIN = 3_000; // ms until the API is asked again

export interface Seen {
  readonly state: RunState;
  readonly model: RunModel;
  readonly info: RunInfo | null;
  readonly owner: Owner;
  /** Why the API does not say whose it is. */
  readonly away: RunfeedError | null;
}

/** The run's state, and its model caught up with it, a part at a time. Another user's run is not watched. */
export function useRun(run: string): Seen {
  const session = useQuietSession();
  const { username, shelf } = session;
  const [begun, begin] = useState(false);
  const { said, away } = useInfo(session, run, begun);
  const owner = ownerOf(username, said, shelf.list.get(run) !== undefined);
  const state = useRunEvents(owner === "ours" ? run : null);
  const model = useMemo(() => new RunModel(), [run]);
  const [, again] = useState(0);
  const all = model.take(state.events, AT_ONCE); // each event once, however often this is drawn
  useEffect(() => {
    if (state.events.length > 0) begin(true);
    if (all) return undefined;
    const frame = requestAnimationFrame(() => again((n) => n + 1));
    return () => cancelAnimationFrame(frame);
  });
  return { state, model, info: said ?? null, owner, away };
}

interface Answer {
  readonly said: RunInfo | null | undefined;
  readonly away: RunfeedError | null;
}

/** What the API says of the run beside its events: whose it is, which workflow. Asked until it answers; of a run that it
    does not know once more when that has begun. */
function useInfo(session: Session, run: string, begun: boolean): Answer {
  const [answer, setAnswer] = useState<Answer>({ said: undefined, away: null });
  useEffect(() => {
    if (answer.said) return undefined;
    const stop = new AbortController();
    let timer: ReturnType<typeof setTimeout>;
    const ask = async (): Promise<void> => {
      const said = await readInfo(session, run, stop.signal);
      if (stop.signal.aborted) return;
      const away = said instanceof RunfeedError ? said : null;
      setAnswer((known) => (said instanceof RunfeedError ? { said: known.said, away } : { said, away: null }));
      if (away !== null && (!isRefused(away) || (wantsToken(away) && session.proves))) timer = setTimeout(() => void ask(), AGAIN);
    };
    void ask();
    return () => {
      stop.abort();
      clearTimeout(timer);
    };
  }, [run, begun]);
  return answer;
}

/** null: there is no such run. */
async function readInfo(session: Session, run: string, signal: AbortSignal): Promise<RunInfo | null | RunfeedError> {
  try {
    const response = await session.ask(`runs/${run}`, signal);
    const said = parseObject(await response.text());
    if (response.ok && said !== null) return said as unknown as RunInfo;
    if (response.status === 404) return null;
    return new RunfeedError(String(said?.["code"] ?? "http"), String(said?.["detail"] ?? "no JSON"), response.status);
  } catch {
    return new RunfeedError("unreachable", "no answer");
  }
}

/** Reads a filter on, some milliseconds a frame. Whether it has read all. */
export function useReading(filter: Filter, model: RunModel): boolean {
  const [, again] = useState(0);
  const life = useRef(model.life);
  if (life.current !== model.life) {
    life.current = model.life;
    filter.want(isAll(filter.wanted) ? filter.wanted : { ...filter.wanted, lane: -1 });
  }
  const late = performance.now() + SLICE;
  const all = filter.read(model, () => performance.now() > late);
  useEffect(() => {
    if (all) return undefined;
    const frame = requestAnimationFrame(() => again((n) => n + 1));
    return () => cancelAnimationFrame(frame);
  });
  return all;
}
