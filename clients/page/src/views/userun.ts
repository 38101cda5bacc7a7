/** One run, as the run's view needs it: the library's hook, and the model that follows it. */
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import type { RunInfo } from "../../../js/src/client.js";
import { parseObject } from "../../../js/src/protocol.js";
import { type RunState, useRunEvents } from "../../../js/src/react.js";
import { type Filter, isAll } from "../model/filter.js";
import { RunModel } from "../model/run.js";

const AT_ONCE = 1_000; // events taken in a frame
const SLICE = 8; // ms of a frame that a filter may read
const AGAIN = 3_000; // ms until the API is asked again

/** The run's state, and its model caught up with it, a part at a time. */
export function useRun(run: string): { state: RunState; model: RunModel } {
  const state = useRunEvents(run);
  const model = useMemo(() => new RunModel(), [run]);
  const [, again] = useState(0);
  const all = model.take(state.events, AT_ONCE); // each event once, however often this is drawn
  useEffect(() => {
    if (all) return undefined;
    const frame = requestAnimationFrame(() => again((n) => n + 1));
    return () => cancelAnimationFrame(frame);
  });
  return { state, model };
}

/** What the API says of the run beside its events: whose it is, which workflow. Asked until it answers. */
export function useInfo(run: string, begun: boolean): RunInfo | null {
  const [info, setInfo] = useState<RunInfo | null>(null);
  useEffect(() => {
    const stop = new AbortController();
    let timer: ReturnType<typeof setTimeout>;
    const ask = async (): Promise<void> => {
      try {
        const response = await fetch(`api/v1/runs/${run}`, { signal: stop.signal, cache: "no-store" });
        const said = parseObject(await response.text());
        if (response.ok && said !== null) return setInfo(said as unknown as RunInfo);
        if (response.status === 404) return;
      } catch {
        if (stop.signal.aborted) return;
      }
      timer = setTimeout(() => void ask(), AGAIN);
    };
    void ask();
    return () => {
      stop.abort();
      clearTimeout(timer);
    };
  }, [run, begun]);
  return info;
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
