/** Plays the sample run: reports its events to the API, as a worker would. */
import { parseObject } from "../../js/src/protocol.js";
import { samplePlan, WORKFLOW } from "./model/sample.js";

const TRIES = 8;

/** Makes the run; its id. The rest is reported in the background, for as long as the page is open. */
export async function playSample(username: string): Promise<string> {
  const id = `sample-${Math.random().toString(36).slice(2, 8).padEnd(6, "0")}`;
  await post("runs", { username, run_id: id, workflow: WORKFLOW, metadata: { sample: true } });
  void report(id);
  return id;
}

async function report(id: string): Promise<void> {
  const began = performance.now();
  const abandon = (): void => {
    const end = { type: "workflow_cancelled", reason: "the page that played it was closed", event_id: "closed" };
    navigator.sendBeacon(`api/v1/runs/${id}/events`, JSON.stringify(end));
  };
  addEventListener("pagehide", abandon);
  try {
    for (const { at, event } of samplePlan()) {
      await sleep(at - (performance.now() - began));
      await insist(`runs/${id}/events`, event);
    }
  } catch (error) {
    console.error(error); // the run stays as it is: everybody sees how far it came
  } finally {
    removeEventListener("pagehide", abandon);
  }
}

/** Each event has its key, so repeating it is safe. */
async function insist(path: string, body: unknown): Promise<void> {
  for (let tries = 1; ; tries += 1) {
    try {
      return await post(path, body);
    } catch (error) {
      if (tries === TRIES || (error instanceof Refused && error.status < 500)) throw error;
      await sleep(400 * tries);
    }
  }
}

class Refused extends Error {
  readonly status: number;

  constructor(message: string, status: number) {
    super(message);
    this.status = status;
  }
}

async function post(path: string, body: unknown): Promise<void> {
  const headers = { "Content-Type": "application/json", Accept: "application/json" };
  let response: Response;
  try {
    response = await fetch(`api/v1/${path}`, { method: "POST", headers, body: JSON.stringify(body) });
  } catch {
    throw new Refused("The API does not answer.", 503);
  }
  if (response.ok) return;
  const said = parseObject(await response.text());
  throw new Refused(String(said?.["detail"] ?? `The API answered ${response.status}.`), response.status);
}

function sleep(ms: number): Promise<void> {
  return new Promise((wake) => setTimeout(wake, Math.max(0, ms)));
}
