/** The feed's last minute as a recorder draws it: now is at the right, each event a knot on the line. */
import { useEffect, useRef } from "preact/hooks";
import { BINS, type Strip, UNSEEN } from "../model/strip.js";
import { CALM, useMedia, useQuietSession } from "./hooks.js";

const QUICK = 100; // ms between two pictures
const SLOW = 1_000; // where motion is unwanted, or nothing moves
const PEN = 52; // px between the pen and the right edge: the word "now" stands there

export function StripView() {
  const session = useQuietSession();
  const canvas = useRef<HTMLCanvasElement>(null);
  const calm = useMedia(CALM);
  useEffect(() => {
    const draw = new Drawing(canvas.current as HTMLCanvasElement, session.strip);
    let timer: ReturnType<typeof setTimeout>;
    const tick = (): void => {
      if (!document.hidden) draw.picture(Date.now());
      timer = setTimeout(tick, calm || !session.strip.busy ? SLOW : QUICK);
    };
    tick();
    const soon = session.subscribe(() => {
      if (session.strip.busy) return;
      clearTimeout(timer);
      timer = setTimeout(tick, QUICK);
    });
    return () => {
      clearTimeout(timer);
      soon();
      draw.end();
    };
  }, [session, calm]);
  return (
    <section class="strip" aria-label="The last minute">
      <canvas ref={canvas} role="img" aria-label="Events of the last minute; the newest is at the right" />
      <span class="strip-from" aria-hidden="true">60 s ago</span>
      <span class="strip-to" aria-hidden="true">now</span>
    </section>
  );
}

class Drawing {
  readonly #canvas: HTMLCanvasElement;
  readonly #strip: Strip;
  readonly #watch: ResizeObserver;
  #ink = "";
  #pen = "";
  #line = "";

  constructor(canvas: HTMLCanvasElement, strip: Strip) {
    this.#canvas = canvas;
    this.#strip = strip;
    this.#watch = new ResizeObserver(this.#fit);
    this.#watch.observe(canvas);
    addEventListener("runfeed-theme", this.#colours);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", this.#colours);
    this.#colours();
  }

  end(): void {
    this.#watch.disconnect();
    removeEventListener("runfeed-theme", this.#colours);
    matchMedia("(prefers-color-scheme: dark)").removeEventListener("change", this.#colours);
  }

  #fit = (): void => {
    const ratio = devicePixelRatio || 1;
    this.#canvas.width = Math.round(this.#canvas.clientWidth * ratio);
    this.#canvas.height = Math.round(this.#canvas.clientHeight * ratio);
    this.picture(Date.now());
  };

  /** Colours are the style sheet's: read from elements that have them. */
  #colours = (): void => {
    const probe = (name: string): string => {
      this.#canvas.style.color = `var(${name})`;
      return getComputedStyle(this.#canvas).color;
    };
    [this.#ink, this.#pen, this.#line] = [probe("--soft"), probe("--pen"), probe("--line-strong")];
    this.#canvas.style.color = "";
  };

  picture(now: number): void {
    const context = this.#canvas.getContext("2d");
    if (context === null) return;
    this.#strip.advance(now);
    const ratio = devicePixelRatio || 1;
    const [width, height] = [this.#canvas.width / ratio, this.#canvas.height / ratio];
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    const reach = width - PEN;
    const x = (bin: number): number => (reach * (bin + 1)) / BINS;
    this.#thread(context, x, height / 2);
    this.#knots(context, x, height);
    this.#point(context, reach, height / 2);
  }

  /** The line itself: whole where a stream was open, dashed where none was. */
  #thread(context: CanvasRenderingContext2D, x: (bin: number) => number, y: number): void {
    const { open, now } = this.#strip;
    context.lineWidth = 1;
    for (let bin = 0; bin < BINS; ) {
      const state = open[(now + 1 + bin) % BINS];
      const from = bin;
      while (bin < BINS && open[(now + 1 + bin) % BINS] === state) bin += 1;
      if (state === UNSEEN) continue;
      context.strokeStyle = state === 1 ? this.#ink : this.#line;
      context.setLineDash(state === 1 ? [] : [2, 4]);
      context.beginPath();
      context.moveTo(x(from - 1), y + 0.5);
      context.lineTo(x(bin - 1), y + 0.5);
      context.stroke();
    }
    context.setLineDash([]);
  }

  /** What came on a stream is a stroke through the line; what a poll brought hangs below it. */
  #knots(context: CanvasRenderingContext2D, x: (bin: number) => number, height: number): void {
    const { stream, poll, now } = this.#strip;
    const middle = height / 2;
    for (let bin = 0; bin < BINS; bin += 1) {
      const at = (now + 1 + bin) % BINS;
      const [came, fetched] = [stream[at] as number, poll[at] as number];
      if (came === 0 && fetched === 0) continue;
      const tall = Math.min(middle - 3, 3 + 2.5 * Math.log2(came + fetched + 1));
      context.fillStyle = this.#pen;
      if (came > 0) context.fillRect(x(bin) - 1, middle - tall, 2, 2 * tall + 1);
      if (fetched === 0) continue;
      context.fillRect(x(bin) - 0.5, middle, 1, tall);
      context.beginPath();
      context.arc(x(bin), middle + tall, 2.5, 0, 7);
      context.fill();
    }
  }

  #point(context: CanvasRenderingContext2D, x: number, y: number): void {
    const live = this.#strip.open[this.#strip.now % BINS] === 1;
    context.strokeStyle = context.fillStyle = this.#pen;
    context.lineWidth = 1.8;
    context.beginPath();
    context.arc(x + 6, y + 0.5, 4, 0, 7);
    if (live) context.fill();
    context.stroke();
  }
}
