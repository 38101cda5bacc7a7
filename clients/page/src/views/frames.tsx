/** The frames as they came: one line of JSON an event. */
import { useState } from "preact/hooks";
import type { RunEvent } from "../../../js/src/protocol.js";
import { count } from "../model/format.js";
import { Rows } from "../model/rows.js";
import type { RunModel } from "../model/run.js";
import type { Session } from "../session.js";
import { useQuietSession } from "../ui/hooks.js";
import { Copy } from "../ui/parts.js";
import { VirtualList } from "../ui/virtual.js";

const LINE = 24;
const MOST = 2_000; // characters of a frame that are drawn; a copy has them all

/** The text of an event as it came; where that is not kept any more, written again. */
function textOf(session: Session, event: RunEvent): string {
  return session.frames.get(event.id) ?? JSON.stringify(event);
}

export function Frames({ model, run }: { model: RunModel; run: string }) {
  const session = useQuietSession();
  const [active, setActive] = useState(0);
  const [follow, setFollow] = useState(model.terminal === null);
  const rows = new Rows(model.taken, LINE);
  const all = (): string => model.events.map((event) => textOf(session, event)).join("\n") + "\n";
  return (
    <div class="frames" data-frames={model.taken}>
      <div class="filters">
        <p class="faint frames-word">One line a frame, byte for byte as it came. ≈ marks one that was written again: it came on an event stream, or its text is no longer kept.</p>
        <Copy label={`Copy ${count(model.taken)} lines`} text={all} />
        <a class="raw" href={`api/v1/runs/${run}/events`} target="_blank" rel="noreferrer">History as JSON</a>
      </div>
      <VirtualList
        class="raw-lines" role="list" label="Raw frames" rows={rows} active={Math.min(active, rows.count - 1)} onActive={setActive}
        follow={follow} onFollow={setFollow}
        row={(index, top, focused) => {
          const event = model.events[index] as RunEvent;
          const exact = session.frames.get(event.id) !== undefined;
          const text = textOf(session, event);
          return (
            <div
              key={index} class="raw-line mono" role="listitem" aria-setsize={rows.count} aria-posinset={index + 1} data-index={index} data-seq={event.seq ?? ""} data-exact={exact}
              style={{ transform: `translateY(${top}px)` }}
            >
              <span class="raw-seq figure" aria-hidden="true">{exact ? "" : "≈"}{event.seq ?? ""}</span>
              <code tabIndex={focused ? 0 : -1} data-focus>{text.length > MOST ? `${text.slice(0, MOST)}…` : text}</code>
            </div>
          );
        }}
      />
    </div>
  );
}
