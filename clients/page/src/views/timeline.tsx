/** The events of a run as they come, strung on a line. */
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { CLOSED } from "../../../js/src/protocol.js";
import type { RunState } from "../../../js/src/react.js";
import { ALL, Filter, isAll, type Wanted } from "../model/filter.js";
import { many } from "../model/format.js";
import { Rows } from "../model/rows.js";
import type { RunModel } from "../model/run.js";
import { NARROW, useMedia, useSteady } from "../ui/hooks.js";
import { Mark } from "../ui/marks.js";
import { VirtualList } from "../ui/virtual.js";
import { detailHeight, EventRow } from "./eventrow.js";
import { Filters } from "./filters.js";
import type { Look } from "./run.js";
import { useReading } from "./userun.js";

const ROW = 30;
const ROW_NARROW = 50;

interface Props {
  readonly model: RunModel;
  readonly state: RunState;
  readonly look: Look;
  readonly setLook: (look: Look) => void;
}

export function Timeline({ model, state, look, setLook }: Props) {
  const narrow = useMedia(NARROW);
  const filter = useMemo(() => new Filter(), [model]);
  if (filter.wanted !== look.wanted) filter.want(look.wanted);
  const done = useReading(filter, model);
  const [open, setOpen] = useState<ReadonlySet<number>>(new Set());
  const [active, setActive] = useState(-1); // an event's index
  const { follow, setFollow, fresh } = useFollow(state, filter, model);
  const rows = useRows(filter, model, open, narrow);
  const [shown, show] = useState<{ row: number; top: boolean } | null>(null);
  useLayoutEffect(() => {
    if (look.jump === null) return;
    setFollow(false);
    setActive(look.jump.index);
    show({ row: filter.rowOf(look.jump.index), top: true });
  }, [look.jump]);
  useEffect(() => setOpen(new Set()), [model.life]);

  const toggle = useSteady((index: number): void => {
    setActive(index);
    setOpen((old) => {
      const next = new Set(old);
      if (!next.delete(index)) next.add(index);
      return next;
    });
    if (open.has(index)) return;
    setFollow(false);
    show({ row: filter.rowOf(index), top: false });
  });
  const escape = (event: KeyboardEvent): void => {
    if (event.key !== "Escape" || event.defaultPrevented || open.size === 0) return;
    setOpen(new Set());
    document.querySelector<HTMLElement>('.events [data-focus][tabindex="0"]')?.focus({ preventScroll: true });
  };
  const change = (part: Partial<Wanted>): void => setLook({ wanted: { ...look.wanted, ...part }, jump: null });
  const closed = CLOSED.includes(state.status);
  const activeRow = active < 0 ? (follow ? rows.count - 1 : Math.min(0, rows.count - 1)) : Math.min(filter.rowOf(active), rows.count - 1);
  return (
    <div class="timeline" data-shown={rows.count} data-follow={follow} onKeyDown={escape}>
      <Filters model={model} wanted={look.wanted} change={change} shown={filter.count} done={done} follow={follow} setFollow={setFollow} />
      <div class="timeline-frame">
        <VirtualList
          class="events" role="list" label="Events" rows={rows} active={activeRow} onActive={(row) => setActive(filter.at(row))}
          follow={follow} onFollow={setFollow} show={shown}
          row={(row, top, focused) => {
            const index = filter.at(row);
            return (
              <EventRow
                key={index} event={model.events[index] as (typeof model.events)[number]} index={index} row={row} top={top} origin={model.lanes.origin}
                first={row === 0} last={row === rows.count - 1} focused={focused} open={open.has(index)} toggle={toggle} size={closed ? rows.count : -1}
              />
            );
          }}
          tail={<End state={state} model={model} shown={rows.count} wanted={look.wanted} clear={() => setLook({ wanted: ALL, jump: null })} done={done} closed={closed} />}
        />
        {!follow && fresh > 0 && (
          <button type="button" class="fresh tail-button" data-fresh={fresh} onClick={() => setFollow(true)}>{count(fresh)}</button>
        )}
      </div>
    </div>
  );
}

function count(fresh: number): string {
  return `${many(fresh, "new event")} below`;
}

/** Rows with those that are open: few, whatever comes. */
function useRows(filter: Filter, model: RunModel, open: ReadonlySet<number>, narrow: boolean): Rows {
  const height = narrow ? ROW_NARROW : ROW;
  const shown = filter.count;
  const extras = useMemo(() => {
    const found: [number, number][] = [];
    for (const index of open) {
      const row = filter.rowOf(index);
      const event = model.events[index];
      if (event !== undefined && filter.at(row) === index) found.push([row, detailHeight(event)]);
    }
    return found.sort(([a], [b]) => a - b);
  }, [open, filter.wanted, model, open.size === 0 ? 0 : shown]);
  return new Rows(shown, height, extras);
}

/** Whether the end is followed, and how many came since it was left. What had ended before is read from its beginning. */
function useFollow(state: RunState, filter: Filter, model: RunModel) {
  const [follow, set] = useState(true);
  const left = useRef(0);
  const decided = useRef(false);
  const setFollow = (on: boolean): void => {
    left.current = filter.count;
    set(on);
  };
  useLayoutEffect(() => {
    if (decided.current || !state.loaded || model.taken < state.events.length) return;
    decided.current = true;
    if (CLOSED.includes(state.status)) {
      setFollow(false);
      document.querySelector(".events")?.scrollTo({ top: 0 });
    }
  });
  left.current = Math.min(left.current, filter.count);
  return { follow, setFollow, fresh: follow ? 0 : filter.count - left.current };
}

interface EndProps {
  readonly state: RunState;
  readonly model: RunModel;
  readonly shown: number;
  readonly wanted: Wanted;
  readonly clear: () => void;
  readonly done: boolean;
  readonly closed: boolean;
}

/** What stands where the next event will be. */
function End({ state, model, shown, wanted, clear, done, closed }: EndProps) {
  if (!isAll(wanted)) {
    return (
      <p class="tail faint">
        {done ? (shown === 0 ? "No event matches. " : closed ? "" : "Events that match appear here. ") : "Reading. "}
        <button type="button" class="link" onClick={clear}>Show all events</button>
      </p>
    );
  }
  if (!state.loaded || model.taken < state.events.length) return <p class="tail faint">Reading the history.</p>;
  if (closed) return null;
  return <p class="tail waiting"><Mark kind="started" /> {shown === 0 ? "No event yet. The first one appears here." : "The next event appears here."}</p>;
}
