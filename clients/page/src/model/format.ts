/** How figures and times are written. Pure: what depends on the place (time zone, language) is the browser's own. */

const NONE = "–";

/** A length of time: 412 ms, 3.1 s, 2:05, 1:02:05. */
export function duration(seconds: number | null): string {
  if (seconds === null || !Number.isFinite(seconds)) return NONE;
  const s = Math.max(0, seconds);
  if (s < 0.9995) return `${Math.round(s * 1000)} ms`;
  if (s < 59.95) return `${s.toFixed(1)} s`;
  return clock(Math.round(s));
}

/** A length of time that grows while it is looked at: whole seconds from ten on. */
export function elapsed(seconds: number | null): string {
  if (seconds === null || !Number.isFinite(seconds)) return NONE;
  const s = Math.max(0, seconds);
  return s < 60 ? `${s.toFixed(1)} s` : clock(Math.floor(s));
}

function clock(s: number): string {
  const two = (value: number): string => String(value).padStart(2, "0");
  const minutes = Math.floor(s / 60);
  if (minutes < 60) return `${minutes}:${two(s % 60)}`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return `${hours}:${two(minutes % 60)}:${two(s % 60)}`;
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

/** A moment, seconds from a run's beginning: 0.000, 12.034, 2:05.034. */
export function offset(seconds: number | null): string {
  if (seconds === null || !Number.isFinite(seconds)) return NONE;
  const ms = Math.round(Math.abs(seconds) * 1000);
  const sign = seconds < 0 && ms > 0 ? "−" : "";
  const rest = (ms % 60_000) / 1000;
  const minutes = Math.floor(ms / 60_000);
  if (minutes === 0) return `${sign}${rest.toFixed(3)}`;
  const seconds2 = rest.toFixed(3).padStart(6, "0");
  if (minutes < 60) return `${sign}${minutes}:${seconds2}`;
  return `${sign}${Math.floor(minutes / 60)}:${String(minutes % 60).padStart(2, "0")}:${seconds2}`;
}

/** A lag: 4 ms, 1.2 s. Negative ones are shown: the clocks differ. */
export function lag(ms: number | null): string {
  if (ms === null || !Number.isFinite(ms)) return NONE;
  const value = Math.abs(ms);
  const sign = ms < 0 && Math.round(value) > 0 ? "−" : "";
  if (value < 999.5) return `${sign}${Math.round(value)} ms`;
  if (value < 99_950) return `${sign}${(value / 1000).toFixed(1)} s`;
  return `${sign}${clock(Math.round(value / 1000))}`;
}

/** 12,345 */
export function count(value: number): string {
  return String(Math.trunc(value)).replace(/\B(?=(\d{3})+$)/g, ",");
}

/** 1 event, 2 events */
export function many(value: number, one: string, more = `${one}s`): string {
  return `${count(value)} ${value === 1 ? one : more}`;
}

export function percent(value: number | null): string {
  return value === null ? NONE : `${Math.floor(value)} %`;
}

/** A moment on today's clock, with the date when it is another day's. */
export function moment(seconds: number | null, now: number): string {
  if (seconds === null || !Number.isFinite(seconds)) return NONE;
  const date = new Date(seconds * 1000);
  if (Number.isNaN(date.getTime())) return NONE;
  const time = [date.getHours(), date.getMinutes(), date.getSeconds()].map((part) => String(part).padStart(2, "0")).join(":");
  if (date.toDateString() === new Date(now * 1000).toDateString()) return time;
  const day = [date.getFullYear(), date.getMonth() + 1, date.getDate()].map((part) => String(part).padStart(2, "0")).join("-");
  return `${day} ${time.slice(0, 5)}`;
}

const LOCAL = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

/** A moment in full, for a title. */
export function absolute(seconds: number | null | undefined): string {
  if (typeof seconds !== "number" || !Number.isFinite(seconds)) return "no time";
  const date = new Date(seconds * 1000);
  return Number.isNaN(date.getTime()) ? "no time" : `${LOCAL.format(date)} (${date.toISOString()})`;
}
