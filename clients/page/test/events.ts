import type { RunEvent } from "../../js/src/protocol.js";

/** An event, as short as a test can say it. */
export function event(type: string, more: Record<string, unknown> = {}): RunEvent {
  return { run_id: "r", username: "u", type, ...more };
}

/** Events with seqs 1..n, a second apart. */
export function sequence(...all: readonly (readonly [type: string, more?: Record<string, unknown>])[]): RunEvent[] {
  return all.map(([type, more], index) => event(type, { id: index + 1, seq: index + 1, timestamp: 100 + index, ...more }));
}
