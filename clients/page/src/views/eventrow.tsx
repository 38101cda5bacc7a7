/** One event of the timeline: a line, and its JSON when it is open. */
import { memo } from "preact/compat";
import { useMemo } from "preact/hooks";
import type { RunEvent } from "../../../js/src/protocol.js";
import { describe } from "../model/describe.js";
import { absolute, offset } from "../model/format.js";
import { isTerminal, markOf, nameOf, timeOf } from "../model/kinds.js";
import { Mark } from "../ui/marks.js";
import { Copy } from "../ui/parts.js";

/** The lines of JSON that an open event shows at most; more scroll. */
const DETAIL = { line: 18, most: 16, around: 50 };

interface Props {
  readonly event: RunEvent;
  readonly index: number;
  readonly row: number;
  readonly top: number;
  /** What offsets count from. */
  readonly origin: number | null;
  readonly first: boolean;
  readonly last: boolean;
  readonly focused: boolean;
  readonly open: boolean;
  readonly toggle: (index: number) => void;
  readonly size: number;
}

function Row({ event, index, row, top, origin, first, last, focused, open, toggle, size }: Props) {
  const mark = markOf(event);
  const time = timeOf(event);
  const step = nameOf(event, "step_name") ?? nameOf(event, "node_id");
  const classes = ["event", `event-${mark}`, first ? "first" : "", last ? "last" : "", open ? "open" : ""].filter(Boolean).join(" ");
  return (
    <div
      class={classes} role="listitem" aria-setsize={size} aria-posinset={row + 1} style={{ transform: `translateY(${top}px)` }}
      data-index={row} data-seq={event.seq ?? ""} data-type={event.type} {...(isTerminal(event) ? { "data-terminal": event.type } : {})}
    >
      <button type="button" class="event-line" aria-expanded={open} tabIndex={focused ? 0 : -1} data-focus onClick={() => toggle(index)}>
        <span class="knot"><Mark kind={mark} /></span>
        <time class="event-time figure" title={absolute(time)}>{time === null || origin === null ? "–" : offset(time - origin)}</time>
        <span class="event-type">{event.type}</span>
        <span class="event-step mono">{step ?? ""}</span>
        <Fields event={event} />
      </button>
      {open && <Detail event={event} />}
    </div>
  );
}

function Fields({ event }: { event: RunEvent }) {
  const fields = useMemo(() => describe(event), [event]);
  return (
    <span class="event-fields">
      {fields.map(({ name, value }, index) => (
        <span key={index} class={name === "" ? "field sentence" : "field"}>{name !== "" && <i>{name}</i>} {value} </span>
      ))}
    </span>
  );
}

function pretty(event: RunEvent): string {
  return JSON.stringify(event, null, 2);
}

/** How much higher an open event is. */
export function detailHeight(event: RunEvent): number {
  return DETAIL.around + DETAIL.line * Math.min(DETAIL.most, pretty(event).split("\n").length);
}

function Detail({ event }: { event: RunEvent }) {
  const text = useMemo(() => pretty(event), [event]);
  const late = typeof event.recorded_at === "number" && typeof event.timestamp === "number" ? event.recorded_at - event.timestamp : null;
  return (
    <div class="detail" data-own-keys style={{ height: `${detailHeight(event)}px` }}>
      <p>
        <span>{absolute(timeOf(event))}{late !== null && late >= 0.001 ? `, recorded ${offset(late)} s later` : ""}</span>
        <Copy label="Copy JSON" text={() => text} />
      </p>
      <pre tabIndex={0} aria-label={`The JSON of event ${event.seq ?? ""}`}><code>{text}</code></pre>
    </div>
  );
}

export const EventRow = memo(Row);
