/** Which part of a run is shown where not all fits. */
import type { ComponentChildren } from "preact";
import { count } from "../model/format.js";
import type { RunModel } from "../model/run.js";

export type Tab = "steps" | "events" | "frames";

interface Props {
  readonly tab: Tab;
  readonly choose: (tab: Tab) => void;
  /** The steps have a tab of their own. */
  readonly stacked: boolean;
  readonly model: RunModel;
  readonly children: ComponentChildren;
}

const WORDS: Record<Tab, string> = { steps: "Steps", events: "Events", frames: "Raw frames" };

export function Tabs({ tab, choose, stacked, model, children }: Props) {
  const tabs: Tab[] = stacked ? ["events", "steps", "frames"] : ["events", "frames"];
  const counts: Record<Tab, number | null> = { steps: model.lanes.all.length, events: model.taken, frames: null };
  const move = (event: KeyboardEvent): void => {
    const by = event.key === "ArrowRight" ? 1 : event.key === "ArrowLeft" ? -1 : 0;
    if (by === 0) return;
    event.preventDefault();
    const next = tabs[(tabs.indexOf(tab) + by + tabs.length) % tabs.length] as Tab;
    choose(next);
    document.getElementById(`tab-${next}`)?.focus();
  };
  return (
    <section class="tabbed" data-tab={tab}>
      <div class="tabs" role="tablist" aria-label="What to show of the run" onKeyDown={move}>
        {tabs.map((each) => (
          <button
            key={each} id={`tab-${each}`} type="button" role="tab" aria-selected={each === tab} aria-controls="tab-panel"
            tabIndex={each === tab ? 0 : -1} onClick={() => choose(each)}
          >
            {WORDS[each]} {counts[each] !== null && <span class="figure faint">{count(counts[each])}</span>}
          </button>
        ))}
      </div>
      <div id="tab-panel" class="tab-panel" role="tabpanel" aria-labelledby={`tab-${tab}`}>{children}</div>
    </section>
  );
}
