/** The keys, and how to read the line. */
import { useEffect, useRef } from "preact/hooks";
import type { Mark as Kind } from "../model/kinds.js";
import { Mark } from "./marks.js";

const KEYS: readonly (readonly [keys: readonly string[], does: string])[] = [
  [["/"], "Go to the search of a run's events"],
  [["?"], "Show this"],
  [["Esc"], "Close what is open; in the search, clear it"],
  [["↑", "↓"], "Move along events, steps, runs or frames"],
  [["Page Up", "Page Down"], "Move a screen"],
  [["Home", "End"], "Go to the first, to the last"],
  [["Enter"], "Open or close an event; show a step's events; open a run"],
];

const MARKS: readonly (readonly [kind: Kind, means: string])[] = [
  ["started", "started"],
  ["completed", "completed"],
  ["failed", "failed"],
  ["skipped", "skipped"],
  ["cancelled", "cancelled"],
  ["retry", "tried again"],
  ["progress", "progress"],
  ["note", "anything else"],
  ["end", "the run's end"],
];

export function Help({ open, close }: { open: boolean; close: () => void }) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    if (open && dialog.current?.open === false) dialog.current.showModal();
    if (!open) dialog.current?.close();
  }, [open]);
  return (
    <dialog ref={dialog} class="help" aria-labelledby="help-title" onClose={close} onClick={(event) => event.target === dialog.current && close()}>
      <div class="help-inside">
        <header>
          <h2 id="help-title">Keys, and how to read the line</h2>
          <button type="button" class="quiet" onClick={close}>Close</button>
        </header>
        <dl class="keys">
          {KEYS.map(([keys, does]) => (
            <div key={does}>
              <dt>{keys.map((key) => <kbd key={key}>{key}</kbd>)}</dt>
              <dd>{does}</dd>
            </div>
          ))}
        </dl>
        <Legend />
      </div>
    </dialog>
  );
}

/** Every knot with its meaning, strung on a line. */
export function Legend() {
  return (
    <ul class="legend" aria-label="What the marks mean">
      {MARKS.map(([kind, means]) => <li key={kind}><Mark kind={kind} /><span>{means}</span></li>)}
    </ul>
  );
}
