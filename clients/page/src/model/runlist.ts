/** The runs of a user, newest first: what the API listed, and what events said since. */
import type { RunInfo } from "../../../js/src/client.js";
import { CLOSED, type RunEvent, type Status } from "../../../js/src/protocol.js";
import { add } from "../../../js/src/summary.js";

export type Row = RunInfo;

export type Wish = Status | "all";

export class RunList {
  readonly #rows = new Map<string, Row>();
  readonly #guesses = new Set<string>();
  #order: string[] = [];
  #sorted = true;
  version = 0;

  get size(): number {
    return this.#rows.size;
  }

  get(id: string): Row | undefined {
    return this.#rows.get(id);
  }

  /** Runs of which only events are known, and that the API may still tell of. */
  get guesses(): string[] {
    return [...this.#guesses];
  }

  /** The newest runs were listed, and these are not among them: they are older, and are not asked for again. */
  settle(ids: readonly string[]): void {
    for (const id of ids) this.#guesses.delete(id);
  }

  /** Ids, newest first. */
  ids(): readonly string[] {
    if (!this.#sorted) {
      this.#order = [...this.#rows.values()].sort(newer).map((row) => row.run_id);
      this.#sorted = true;
    }
    return this.#order;
  }

  /** Ids of the runs of a status that were made since then, newest first. */
  matching(wish: Wish, since = -Infinity): string[] {
    return this.ids().filter((id) => {
      const row = this.#rows.get(id) as Row;
      return row.created_at >= since && (wish === "all" || row.status === wish);
    });
  }

  /** What the API says; what events said after that stays. */
  listed(infos: readonly RunInfo[]): void {
    for (const info of infos) {
      const known = this.#rows.get(info.run_id);
      this.#guesses.delete(info.run_id);
      const live = known !== undefined && known.last_seq > info.last_seq;
      this.#put(live ? { ...info, ...liveOf(known) } : info);
    }
  }

  /** An event came. */
  happened(event: RunEvent): void {
    const known = this.#rows.get(event.run_id) ?? this.#begun(event);
    if (event.seq !== undefined && event.seq <= known.last_seq) return;
    const summary = add({ status: known.status, progress: known.progress, step: known.current_step }, event);
    const at = event.recorded_at ?? event.timestamp ?? known.updated_at;
    this.#put({
      ...known,
      status: summary.status,
      progress: summary.progress,
      current_step: summary.step,
      last_seq: event.seq ?? known.last_seq,
      started_at: known.started_at ?? at,
      finished_at: CLOSED.includes(summary.status) ? (known.finished_at ?? at) : null,
      updated_at: at,
    });
  }

  clear(): void {
    this.#rows.clear();
    this.#guesses.clear();
    this.#order = [];
    this.version += 1;
  }

  #begun(event: RunEvent): Row {
    this.#guesses.add(event.run_id);
    return begun(event);
  }

  #put(row: Row): void {
    const known = this.#rows.get(row.run_id);
    if (known === undefined || known.created_at !== row.created_at) this.#sorted = false;
    this.#rows.set(row.run_id, row);
    this.version += 1;
  }
}

function newer(a: Row, b: Row): number {
  return b.created_at - a.created_at || (a.run_id < b.run_id ? 1 : -1);
}

/** A run of which an event is the first that we hear. */
function begun(event: RunEvent): Row {
  const at = event.recorded_at ?? event.timestamp ?? 0;
  return {
    run_id: event.run_id, username: event.username, workflow: null, status: "queued", progress: null, current_step: null,
    last_seq: 0, created_at: at, started_at: null, finished_at: null, updated_at: at, metadata: null,
  };
}

function liveOf(row: Row): Partial<RunInfo> {
  const { status, progress, current_step, last_seq, started_at, finished_at, updated_at } = row;
  return { status, progress, current_step, last_seq, started_at, finished_at, updated_at };
}

/** How long a run took, or has taken until now: seconds; null: it has not begun. */
export function tookOf(row: RunInfo, now: number): number | null {
  if (row.started_at === null) return null;
  return Math.max(0, (row.finished_at ?? now) - row.started_at);
}
