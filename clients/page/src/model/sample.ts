/** A run that is made up, to see what a run looks like: seven steps, about twelve seconds. */

export interface Beat {
  /** ms from the run's beginning. */
  readonly at: number;
  readonly event: Readonly<Record<string, unknown>> & { readonly type: string };
}

export const WORKFLOW = "trip_planner";
const STEPS = 7;

function node(at: number, type: string, name: string, number: number, more: Record<string, unknown> = {}): Beat {
  return { at, event: { type: `node_${type}`, node_id: name, step_number: number, total_steps: STEPS, ...more } };
}

function note(at: number, type: string, name: string, more: Record<string, unknown>): Beat {
  return { at, event: { type, node_id: name, ...more } };
}

const BEATS: readonly Beat[] = [
  { at: 0, event: { type: "workflow_started", total_steps: STEPS, message: "Plan three days in Lisbon for two" } },
  node(150, "started", "read_request", 1),
  node(1100, "completed", "read_request", 1, { progress: 8, took_ms: 940, details: { city: "Lisbon", nights: 3, travellers: 2 } }),

  node(1200, "started", "fetch_flights", 2, { attempt: 1, message: "Asking four airlines" }),
  node(1250, "started", "fetch_hotels", 3, { message: "Asking for rooms in Alfama and Baixa" }),
  node(1300, "started", "fetch_weather", 4),
  note(1900, "node_progress", "fetch_hotels", { progress: 14, found: 12 }),
  note(2300, "node_progress", "fetch_flights", { progress: 18, airlines_answered: 2, airlines: 4 }),
  node(2700, "completed", "fetch_weather", 4, { progress: 24, took_ms: 1390, details: { high_c: [21, 22, 19], rain: false } }),
  note(3000, "node_progress", "fetch_hotels", { progress: 29, found: 31 }),
  node(3400, "failed", "fetch_flights", 2, { attempt: 1, reason: "timed_out", message: "The third airline did not answer within 2 s" }),
  note(3500, "node_retrying", "fetch_flights", { attempt: 2, wait_ms: 600 }),
  node(4100, "started", "fetch_flights", 2, { attempt: 2 }),
  note(4300, "node_progress", "fetch_hotels", { progress: 36, found: 48 }),
  node(4900, "completed", "fetch_hotels", 3, { progress: 43, took_ms: 3650, details: { rooms: 48, from_eur: 92 } }),
  note(5300, "node_progress", "fetch_flights", { progress: 48, airlines_answered: 4, airlines: 4 }),
  node(5700, "completed", "fetch_flights", 2, { attempt: 2, progress: 52, took_ms: 1600, details: { offers: 27, best_eur: 184 } }),

  node(5800, "started", "compare_offers", 5, { message: "27 flights with 48 rooms" }),
  note(6400, "node_progress", "compare_offers", { progress: 57, compared: 420, of: 1296 }),
  note(7000, "node_progress", "compare_offers", { progress: 62, compared: 980, of: 1296 }),
  node(7500, "completed", "compare_offers", 5, { progress: 67, took_ms: 1690, details: { kept: 3 } }),

  { at: 7600, event: { type: "steps_completed", message: "All is found; what is left is to draw it" } },
  node(7700, "started", "draw_map", 6),
  node(7800, "started", "write_summary", 7),
  note(8400, "node_progress", "draw_map", { progress: 72, tiles: 16, of: 64 }),
  note(9100, "node_progress", "draw_map", { progress: 78, tiles: 34, of: 64 }),
  note(9500, "node_progress", "write_summary", { progress: 84, words: 210 }),
  node(10200, "completed", "write_summary", 7, { progress: 90, took_ms: 2400, details: { words: 388 } }),
  note(10600, "node_progress", "draw_map", { progress: 94, tiles: 58, of: 64 }),
  node(11500, "completed", "draw_map", 6, { progress: 98, took_ms: 3790, details: { tiles: 64, kib: 812 } }),
  { at: 12000, event: { type: "workflow_completed", message: "Three days, one map, 612 EUR", steps: STEPS } },
];

/** What is reported, in order, each with its key: to repeat one does no harm. */
export function samplePlan(): Beat[] {
  return BEATS.map(({ at, event }, index) => ({ at, event: { ...event, event_id: `beat-${index + 1}` } }));
}
