/** The time axis of the steps: it grows in strides, so that what is drawn on it seldom moves. */

const STRIDES = [1, 1.5, 2, 3, 4, 5, 6, 8, 10];
const CLOCK_TICKS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400];

/** The next length that fits, with a little room: seconds. */
export function stride(length: number): number {
  const wanted = Math.max(0.1, length * 1.04);
  const power = 10 ** Math.floor(Math.log10(wanted));
  return round(power * (STRIDES.find((each) => each * power >= wanted * (1 - 1e-9)) as number));
}

/** Where lines are drawn on an axis of this length: seconds from its beginning, at most `most` of them. */
export function ticks(length: number, most: number): number[] {
  if (!(length > 0) || most < 1) return [0];
  const step = tick(length / most);
  const found: number[] = [];
  for (let n = 0; n * step <= length * (1 + 1e-9); n += 1) found.push(round(n * step));
  return found;
}

function round(value: number): number {
  return Number(value.toPrecision(12));
}

function tick(least: number): number {
  const known = least >= 1 ? CLOCK_TICKS.find((each) => each >= least) : undefined;
  if (known !== undefined) return known;
  if (least > 86400) return 86400 * Math.ceil(least / 86400);
  const power = 10 ** Math.floor(Math.log10(least));
  return power * ([1, 2, 5, 10].find((each) => each * power >= least * (1 - 1e-9)) as number);
}

/** A tick's label: 0, 500 ms, 2 s, 1:30, 2:00:00. */
export function tickLabel(seconds: number): string {
  if (seconds === 0) return "0";
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 60) return `${Number(seconds.toFixed(2))} s`;
  const two = (value: number): string => String(value).padStart(2, "0");
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes}:${two(Math.round(seconds % 60))}`;
  return `${Math.floor(minutes / 60)}:${two(minutes % 60)} h`;
}
