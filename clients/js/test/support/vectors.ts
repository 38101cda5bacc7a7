/** Plays a vector of tests/contract/client.json: what comes in, and what the machine then says and does. */
import type { Action, Request } from "../../src/actions.js";
import { Machine } from "../../src/machine.js";

export interface Step {
  at: number;
  out?: string[];
  [verb: string]: unknown;
}
export interface Vector {
  name: string;
  why: string;
  follows?: string;
  steps: Step[];
}

/** "3", "3 r2", "3 r2 workflow_completed"; "- r1" has no id. */
export function event(short: string): Record<string, unknown> {
  const [number = "-", run_id = "r1", type = "step"] = short.split(" ");
  const [id, seq = id] = number.split("#");
  const numbers = id === "-" ? {} : { id: Number(id), seq: Number(seq) };
  return { ...numbers, run_id, username: "u", type };
}

function describe(action: Action): string {
  switch (action.do) {
    case "connect":
      return `connect ${action.kind}${cursor(action)}`;
    case "get":
      return `get ${action.run ?? "feed"}${action.runs ? ` runs=${action.runs.join(",")}` : ""}${cursor(action)}${action.cause ? ` cause=${action.cause}` : ""}`;
    case "event":
      return `event ${action.to || "feed"} ${action.event.id ?? "-"}${action.event.type === "step" ? "" : ` ${action.event.type}`}`;
    case "reset":
      return `reset ${action.to || "feed"} epoch=${action.reset.epoch} head=${action.reset.head}`;
    case "loaded":
      return `loaded ${action.to || "feed"}${action.status ? ` ${action.status}` : ""}`;
    case "problem":
      return `problem ${action.to || "feed"} ${action.error.code}`;
    case "fail":
      return `fail ${action.error.code} ${action.error.status}`;
    default:
      return action.do;
  }
}

const cursor = ({ after, epoch }: { after: number | null; epoch: string | null }): string =>
  `${after === null ? "" : ` after=${after}`}${epoch ? ` epoch=${epoch}` : ""}`;

export class Player {
  readonly machine = new Machine({ random: () => 0.5 });
  now = 0;
  asked: Request[] = [];

  /** Plays one step; what came of it, each line with its time when time passed. */
  play(step: Step): string[] {
    const out: string[] = [];
    const late = "pass" in step;
    for (let due = this.machine.due; due !== null && due < step.at; due = this.machine.due) {
      this.now = Math.max(this.now, due);
      this.machine.tick(this.now);
      const lines = this.#collect().map((line) => `@${this.now} ${line}`);
      if (lines.length > 0 && !late) throw new Error(`before ${step.at}: ${lines.join("; ")}`);
      out.push(...lines);
    }
    this.now = step.at;
    this.#do(step);
    this.machine.tick(this.now);
    return [...out, ...this.#collect().map((line) => (late ? `@${this.now} ${line}` : line))];
  }

  #collect(): string[] {
    const actions = this.machine.actions();
    for (const action of actions) if (action.do === "get") this.asked.push(action);
    return actions.map(describe);
  }

  #do(step: Step): void {
    const { machine, now } = this;
    if ("watch" in step) machine.watch(now, step["watch"] as string, (step["after"] as number | undefined) ?? null);
    else if ("unwatch" in step) machine.unwatch(now, step["unwatch"] as string);
    else if ("open" in step) machine.opened(now);
    else if ("text" in step) machine.message(now, step["text"] as string);
    else if ("frame" in step) machine.message(now, JSON.stringify(event(step["frame"] as string)));
    else if ("frames" in step) {
      for (const each of step["frames"] as string[]) machine.message(now, JSON.stringify(event(each)));
    } else if ("control" in step) {
      machine.message(now, JSON.stringify({ control: true, ...(step["control"] as object) }));
    } else if ("beat" in step) machine.beat(now, step["beat"] as number | null);
    else if ("close" in step) machine.closed(now, ...(step["close"] as [number, string]));
    else if ("wake" in step) machine.wake(now);
    else if ("refresh" in step) machine.refresh(now);
    else if ("answer" in step) this.#answer(step["answer"] as Record<string, unknown>);
    else if (!("pass" in step)) throw new Error(`no verb in ${JSON.stringify(step)}`);
  }

  /** Answers the request that waits longest. */
  #answer(said: Record<string, unknown>): void {
    const request = this.asked.shift();
    if (request === undefined) throw new Error("nothing was asked");
    const { status: http = 200, wait, ...rest } = said;
    const events = ((rest["events"] ?? []) as string[]).map(event);
    const body = { epoch: "E", next: rest["head"], ...rest, events, ...("run" in rest ? { status: rest["run"] } : {}) };
    const waits = typeof wait === "number" ? { wait } : {};
    this.machine.answered(this.now, request.id, { status: http as number, body: http === 0 ? null : body, ...waits });
  }
}
