/** A long list of which only what is seen is in the document; it can follow its end, and keys move along it. */
import type { ComponentChildren, JSX } from "preact";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import type { Rows } from "../model/rows.js";

const OVER = 6; // rows beyond what is seen, on both sides
const AT_END = 6; // px from the end that still count as its end

interface Props {
  readonly rows: Rows;
  readonly row: (index: number, top: number, active: boolean) => JSX.Element;
  /** The row that keys move from; -1: none yet. It stays in the document, so that it keeps its focus. */
  readonly active: number;
  readonly onActive: (index: number) => void;
  readonly follow?: boolean;
  /** The visitor scrolled away from the end (false), or back to it (true). */
  readonly onFollow?: (on: boolean) => void;
  /** How far one has scrolled, px. */
  readonly onScroll?: (top: number) => void;
  /** Brings a row into view; another object each time. top: near the top, wherever it is. */
  readonly show?: { readonly row: number; readonly top: boolean } | null;
  readonly role: "list" | "table";
  readonly label: string;
  readonly class: string;
  /** Above the rows, and stays there. */
  readonly head?: ComponentChildren;
  /** Behind the rows. */
  readonly back?: ComponentChildren;
  readonly tail?: ComponentChildren;
  readonly attributes?: Record<string, string | number | boolean>;
}

export function VirtualList(props: Props) {
  const { rows, active, follow = false } = props;
  const scroller = useRef<HTMLDivElement>(null);
  const [view, setView] = useState({ top: 0, height: 600 });
  const focus = useRef(false);
  const y = follow ? Math.max(0, rows.total - view.height) : Math.min(view.top, Math.max(0, rows.total - view.height / 2));
  const [from, to] = rows.window(y, view.height, OVER);

  useScrolling(scroller, props, setView);
  useLayoutEffect(() => {
    const element = scroller.current as HTMLElement;
    if (follow) element.scrollTop = element.scrollHeight; // it costs a layout
  }, [follow, rows.total, view.height]);
  const { show } = props;
  useLayoutEffect(() => {
    const element = scroller.current as HTMLElement;
    if (show?.top === true) element.scrollTop = Math.max(0, rows.top(show.row) - rows.height);
    else if (show) reveal(element, rows, show.row);
  }, [show]);
  useLayoutEffect(() => {
    if (!focus.current) return;
    focus.current = false;
    const element = scroller.current as HTMLElement;
    reveal(element, rows, active);
    element.querySelector<HTMLElement>(`[data-index="${active}"] [data-focus]`)?.focus({ preventScroll: true });
  });

  const pressed = (event: KeyboardEvent): void => {
    const next = moved(event, active, rows, view.height);
    if (next === null) return;
    event.preventDefault();
    focus.current = true;
    props.onActive(next);
    setView((old) => ({ ...old }));
  };
  const shown: JSX.Element[] = [];
  if (active >= 0 && active < from) shown.push(props.row(active, rows.top(active), true));
  for (let index = from; index < to; index += 1) shown.push(props.row(index, rows.top(index), index === active));
  if (active >= to && active < rows.count) shown.push(props.row(active, rows.top(active), true));
  return (
    <div ref={scroller} class={`scroller ${props.class}`} onKeyDown={pressed}>
      {props.head}
      <div class="rows" role={props.role} aria-label={props.label} style={{ height: `${rows.total}px` }} {...props.attributes}>
        {props.back}
        {shown}
      </div>
      {props.tail}
    </div>
  );
}

type SetView = (next: (old: { top: number; height: number }) => { top: number; height: number }) => void;

/** Keeps what is seen, and tells which way the visitor scrolls. */
function useScrolling(scroller: { current: HTMLDivElement | null }, props: Props, setView: SetView): void {
  const latest = useRef(props);
  latest.current = props;
  useEffect(() => {
    const element = scroller.current as HTMLDivElement;
    let last = element.scrollTop;
    const look = (): void => {
      const { scrollTop: top, clientHeight: height } = element;
      setView((old) => (old.top === top && old.height === height ? old : { top, height }));
    };
    const scrolled = (): void => {
      const { scrollTop, clientHeight, scrollHeight } = element;
      const end = scrollTop + clientHeight >= scrollHeight - AT_END;
      const { follow, onFollow, onScroll } = latest.current;
      if (follow === true && !end && scrollTop < last - 1) onFollow?.(false);
      else if (follow === false && end && scrollTop > last + 1) onFollow?.(true);
      last = scrollTop;
      onScroll?.(scrollTop);
      look();
    };
    const sizes = new ResizeObserver(look);
    sizes.observe(element);
    element.addEventListener("scroll", scrolled, { passive: true });
    look();
    return () => {
      sizes.disconnect();
      element.removeEventListener("scroll", scrolled);
    };
  }, []);
}

function reveal(element: HTMLElement, rows: Rows, index: number): void {
  const [top, bottom] = [rows.top(index), rows.top(index + 1)];
  if (top < element.scrollTop) element.scrollTop = top;
  else if (bottom > element.scrollTop + element.clientHeight) element.scrollTop = Math.min(top, bottom - element.clientHeight);
}

/** Where a key leads; null: nowhere. */
function moved({ key, target }: KeyboardEvent, from: number, rows: Rows, view: number): number | null {
  if (rows.count === 0 || !(target instanceof HTMLElement) || target.closest("[data-own-keys]") !== null) return null;
  const screen = Math.max(1, Math.floor(view / rows.height) - 1);
  const steps: Record<string, number> = {
    ArrowDown: from + 1, ArrowUp: from - 1, PageDown: from + screen, PageUp: from - screen, Home: 0, End: rows.count - 1,
  };
  const next = steps[key];
  return next === undefined ? null : Math.max(0, Math.min(rows.count - 1, next));
}
