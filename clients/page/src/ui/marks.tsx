/** The knots on the line: each says by its shape what it is. */
import type { Status } from "../../../js/src/protocol.js";
import type { Mark as Kind } from "../model/kinds.js";

const round = (fill: string) => <circle cx="8" cy="8" r="4" fill={fill} stroke="currentColor" stroke-width="1.5" />;

const SHAPES: Record<Kind, () => preact.JSX.Element> = {
  started: () => round("var(--paper)"),
  completed: () => round("currentColor"),
  failed: () => (
    <>
      <circle cx="8" cy="8" r="7" fill="var(--paper)" />
      <path d="M3.5 3.5l9 9m0-9l-9 9" stroke="currentColor" stroke-width="2.2" />
    </>
  ),
  skipped: () => <path d="M8 3.2L12.8 8 8 12.8 3.2 8z" fill="var(--paper)" stroke="currentColor" stroke-width="1.5" />,
  cancelled: () => (
    <>
      {round("var(--paper)")}
      <path d="M4 8h8" stroke="currentColor" stroke-width="1.8" />
    </>
  ),
  retry: () => (
    <>
      <circle cx="8" cy="8" r="6" fill="var(--paper)" />
      <path d="M11.9 6.2A4.3 4.3 0 1 0 12.3 8.6" fill="none" stroke="currentColor" stroke-width="1.5" />
      <path d="M12.9 3.2v3.6H9.3" fill="none" stroke="currentColor" stroke-width="1.5" />
    </>
  ),
  progress: () => <path d="M4.5 8h7" stroke="currentColor" stroke-width="2" />,
  note: () => <circle cx="8" cy="8" r="2" fill="currentColor" />,
  end: () => <path d="M2 8h12" stroke="currentColor" stroke-width="4" />,
};

export function Mark({ kind }: { kind: Kind }) {
  return (
    <svg class={`mark mark-${kind}`} viewBox="0 0 16 16" width="16" height="16" aria-hidden="true">
      {SHAPES[kind]()}
    </svg>
  );
}

const ring = <circle cx="8" cy="8" r="5" fill="var(--paper)" stroke="currentColor" stroke-width="1.6" />;

const STATUSES: Record<Status, () => preact.JSX.Element> = {
  queued: () => <circle cx="8" cy="8" r="5" fill="var(--paper)" stroke="currentColor" stroke-width="1.6" stroke-dasharray="2.2 2" />,
  running: () => <>{ring}<path d="M8 3a5 5 0 0 1 0 10z" fill="currentColor" /></>,
  rendering: () => <>{ring}<path d="M8 8V3a5 5 0 1 1-5 5z" fill="currentColor" /></>,
  completed: () => (
    <>
      <circle cx="8" cy="8" r="5.8" fill="currentColor" />
      <path d="M5.2 8.2l2 2 3.6-4.2" fill="none" stroke="var(--paper)" stroke-width="1.6" />
    </>
  ),
  failed: () => <path d="M3 3l10 10M13 3L3 13" stroke="currentColor" stroke-width="2.6" />,
  cancelled: () => <><circle cx="8" cy="8" r="5.8" fill="currentColor" /><path d="M4.6 8h6.8" stroke="var(--paper)" stroke-width="2" /></>,
};

export function StatusMark({ status }: { status: Status }) {
  return <svg class="mark" viewBox="0 0 16 16" width="16" height="16" aria-hidden="true">{STATUSES[status]()}</svg>;
}

/** A status by shape and word. */
export function StatusWord({ status }: { status: Status }) {
  return (
    <span class={`status status-${status}`} data-status={status}>
      <StatusMark status={status} />
      <span>{status}</span>
    </span>
  );
}

/** Runfeed's own sign: a line, two knots, and the one that comes. */
export function Sign() {
  return (
    <svg class="sign" viewBox="0 0 17 32" width="17" height="32" aria-hidden="true">
      <path d="M8.5 0v21" stroke="currentColor" />
      <circle cx="8.5" cy="6" r="2.5" fill="currentColor" />
      <circle cx="8.5" cy="14" r="2.5" fill="currentColor" />
      <circle class="pen" cx="8.5" cy="26" r="4.6" fill="none" stroke-width="2.2" />
    </svg>
  );
}
