/** tests/contract: what the services and all clients are tested against. */
import { readFileSync } from "node:fs";

function read(name: string): unknown {
  return JSON.parse(readFileSync(new URL(`../../../../tests/contract/${name}`, import.meta.url), "utf8"));
}

interface Name {
  pattern: string;
  valid: string[];
  invalid: string[];
}

export const contract = read("contract.json") as {
  names: { run_id: Name; username: Name };
  terminal: Record<string, string>;
  statuses: string[];
  poll_causes?: string[];
  limits: { run_filters: number; history_events_max: number; frame_bytes: number };
  close_codes: Record<string, { retry: string }>;
};

export const summaries = read("summary.json") as {
  runs: { why: string; events: Record<string, unknown>[]; status: string; progress: number | null; step: string | null; repeat?: [string, number] }[];
};
