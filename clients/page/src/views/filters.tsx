/** What of a run's events is shown: by type, by step, by text. */
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import type { Wanted } from "../model/filter.js";
import { isAll } from "../model/filter.js";
import { count } from "../model/format.js";
import type { RunModel } from "../model/run.js";

const MOST = 200; // options of a list: a search finds the others
const TYPING = 120; // ms after the last key

interface Props {
  readonly model: RunModel;
  readonly wanted: Wanted;
  readonly change: (part: Partial<Wanted>) => void;
  readonly shown: number;
  readonly done: boolean;
  readonly follow: boolean;
  readonly setFollow: (on: boolean) => void;
}

export function Filters({ model, wanted, change, shown, done, follow, setFollow }: Props) {
  return (
    <div class="filters">
      <Search text={wanted.text} change={change} />
      <Types model={model} wanted={wanted} change={change} />
      <Lanes model={model} wanted={wanted} change={change} />
      <span class="filters-count figure" data-matching={shown}>
        {isAll(wanted) ? "" : done ? `${count(shown)} of ${count(model.taken)}` : "reading"}
      </span>
      <button type="button" role="switch" aria-checked={follow} class="switch" data-follow-switch onClick={() => setFollow(!follow)}>
        <span class="switch-track" aria-hidden="true"><span /></span>
        <span>Follow</span>
      </button>
    </div>
  );
}

function Search({ text, change }: { text: string; change: Props["change"] }) {
  const [typed, setTyped] = useState(text);
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined);
  useEffect(() => setTyped(text), [text]);
  useEffect(() => () => clearTimeout(timer.current), []);
  const type = (value: string): void => {
    setTyped(value);
    clearTimeout(timer.current);
    timer.current = setTimeout(() => change({ text: value }), TYPING);
  };
  const key = (event: KeyboardEvent & { currentTarget: HTMLInputElement }): void => {
    if (event.key !== "Escape") return;
    event.preventDefault();
    if (typed === "") event.currentTarget.blur();
    else type("");
  };
  return (
    <label class="search">
      <span class="unseen">Search events</span>
      <input
        type="search" value={typed} placeholder="Search" data-search autocomplete="off" spellcheck={false}
        onInput={(event) => type(event.currentTarget.value)} onKeyDown={key}
      />
      <kbd aria-hidden="true">/</kbd>
    </label>
  );
}

type PartProps = Pick<Props, "model" | "wanted" | "change">;

function Types({ model, wanted, change }: PartProps) {
  const options = useMemo(() => [...model.types.keys()].sort().slice(0, MOST), [model, model.life, model.types.size]);
  return (
    <select aria-label="Type" value={wanted.type} data-filter="type" onChange={(event) => change({ type: event.currentTarget.value })}>
      <option value="">All types</option>
      {options.map((type) => <option key={type} value={type}>{type}</option>)}
    </select>
  );
}

function Lanes({ model, wanted, change }: PartProps) {
  const { all } = model.lanes;
  const options = useMemo(() => {
    const shown = all.slice(0, MOST);
    const chosen = all[wanted.lane];
    return chosen !== undefined && chosen.index >= MOST ? [...shown, chosen] : [...shown];
  }, [model, model.life, all.length, wanted.lane]);
  return (
    <select aria-label="Step" value={String(wanted.lane)} data-filter="step" onChange={(event) => change({ lane: Number(event.currentTarget.value) })}>
      <option value="-1">All steps</option>
      {options.map((lane) => <option key={lane.index} value={String(lane.index)}>{lane.node === null ? lane.name : `${lane.name} (${lane.node})`}</option>)}
    </select>
  );
}
