/** The last 60 lags as dots strung on a line: the higher, the later. */
import { memo } from "preact/compat";
import { lag } from "../model/format.js";

const W = 280;
const H = 44;
const MOST = 60;

function Dots({ values }: { values: readonly number[]; version: number }) {
  const top = Math.max(50, ...values);
  const y = (value: number): number => H - 5 - (H - 10) * (scale(Math.max(0, value)) / scale(top));
  const x = (index: number): number => W - 4 - ((values.length - 1 - index) * (W - 8)) / (MOST - 1);
  return (
    <figure class="spark">
      <svg viewBox={`0 0 ${W} ${H}`} role="img" aria-label={`Lag of the last ${values.length} events, at most ${lag(values.length > 0 ? Math.max(...values) : null)}`}>
        <path class="base" d={`M0 ${H - 4.5}H${W}`} />
        <path class="rise" d={values.map((value, index) => `M${x(index).toFixed(1)} ${H - 5}V${y(value).toFixed(1)}`).join("")} />
        <path class="dots" d={values.map((value, index) => `M${x(index).toFixed(1)} ${y(value).toFixed(1)}h.01`).join("")} />
      </svg>
      <figcaption><span>{values.length === 0 ? "no event has come yet" : `lag of the last ${values.length}`}</span><span class="figure">top {lag(top)}</span></figcaption>
    </figure>
  );
}

/** Milliseconds and seconds both show. */
function scale(ms: number): number {
  return Math.log10(1 + ms);
}

export const Spark = memo(Dots, (a, b) => a.version === b.version);
