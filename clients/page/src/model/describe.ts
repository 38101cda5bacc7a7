/** The fields of an event in a line: what a person wants to read first. Text only, and bounded. */
import type { RunEvent } from "../../../js/src/protocol.js";

const KNOWN = new Set([
  "id", "seq", "run_id", "username", "type", "timestamp", "recorded_at", "step_name", "node_id", "event_id", "total_steps",
]);
const SENTENCES = ["message", "reason", "error", "detail"];
const MOST_FIELDS = 12;
const MOST_OF_VALUE = 120; // characters
const MOST_OF_LINE = 320;

export interface Field {
  /** "": a sentence that needs no name. */
  readonly name: string;
  readonly value: string;
}

/** The fields to show, sentences first. */
export function describe(event: RunEvent): Field[] {
  const said: Field[] = [];
  const rest: Field[] = [];
  let room = MOST_OF_LINE;
  for (const name of Object.keys(event)) {
    if (KNOWN.has(name) || said.length + rest.length >= MOST_FIELDS || room <= 0) continue;
    const sentence = SENTENCES.includes(name) && typeof event[name] === "string";
    const field = { name: sentence && name === "message" ? "" : cut(name, 40), value: brief(event[name]) };
    room -= field.name.length + field.value.length;
    (sentence ? said : rest).push(field);
  }
  if (event["step_number"] !== undefined && event["total_steps"] !== undefined) return [...said, ...stepOf(event, rest)];
  return [...said, ...rest];
}

/** `step_number` among `total_steps` is one thing. */
function stepOf(event: RunEvent, rest: Field[]): Field[] {
  return rest.map((field) =>
    field.name === "step_number" ? { name: "step", value: `${brief(event["step_number"])}/${brief(event["total_steps"])}` } : field,
  );
}

function brief(value: unknown): string {
  if (typeof value === "string") return cut(oneLine(value), MOST_OF_VALUE);
  if (typeof value === "number") return String(Number.isInteger(value) ? value : Number(value.toPrecision(6)));
  if (value === null || typeof value === "boolean") return String(value);
  if (Array.isArray(value) && value.length > 20) return `[${value.length} values]`;
  return cut(JSON.stringify(value), MOST_OF_VALUE);
}

function oneLine(text: string): string {
  return text.slice(0, 2 * MOST_OF_VALUE).replace(/\s+/g, " ").trim();
}

function cut(text: string, most: number): string {
  return text.length > most ? `${text.slice(0, most - 1)}…` : text;
}

/** All that a search looks at. */
export function haystack(event: RunEvent): string {
  return JSON.stringify(event).toLowerCase();
}
