/** Small things that many places use. */
import { useEffect, useRef, useState } from "preact/hooks";
import { count, percent } from "../model/format.js";

/** Copies a text; says that it did. `text` is asked for when it is wanted. */
export function Copy({ text, label, what }: { text: () => string; label: string; what?: string }) {
  const [said, setSaid] = useState<string | null>(null);
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined);
  useEffect(() => () => clearTimeout(timer.current), []);
  const copy = async (): Promise<void> => {
    const done = await toClipboard(text());
    setSaid(done ? "Copied" : "Could not copy");
    clearTimeout(timer.current);
    timer.current = setTimeout(() => setSaid(null), 2_000);
  };
  return (
    <button type="button" class="copy" aria-label={said ?? (what === undefined ? label : `${label} ${what}`)} data-copy onClick={() => void copy()}>
      {said ?? label}
    </button>
  );
}

async function toClipboard(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return byCommand(text); // a page that is not on https or localhost has no clipboard
  }
}

function byCommand(text: string): boolean {
  const area = document.createElement("textarea");
  area.value = text;
  area.style.position = "fixed";
  area.style.opacity = "0";
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  return done;
}

/** How far a run is: a line that is drawn, with its figure. */
export function Progress({ value, label, live }: { value: number | null; label: string; live: boolean }) {
  return (
    <span class={`progress${live && value !== null ? " live" : ""}`}>
      <span
        class="progress-line" role="progressbar" aria-label={label} aria-valuemin={0} aria-valuemax={100}
        {...(value === null ? {} : { "aria-valuenow": Math.floor(value) })}
      >
        <span class="progress-done" style={{ width: `${value ?? 0}%` }} />
      </span>
      <span class="progress-figure">{percent(value)}</span>
    </span>
  );
}

export function Fact({ name, children, wide }: { name: string; children: preact.ComponentChildren; wide?: boolean }) {
  return (
    <div class={wide ? "fact wide" : "fact"}>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}

/** Something is wrong, or worth a word. */
export function Notice({ kind, children }: { kind: "trouble" | "word"; children: preact.ComponentChildren }) {
  return <div class={`notice ${kind}`} role={kind === "trouble" ? "alert" : "status"} data-notice={kind}>{children}</div>;
}

export function Count({ value }: { value: number }) {
  return <span class="figure">{count(value)}</span>;
}
