/** What the React tests share: the React that is under test, a page whose frames the test gives, and a component. */
import { act, render, type RenderResult } from "@testing-library/react";
import { type ReactNode, StrictMode, version } from "react";
import { vi } from "vitest";
import type { Runfeed } from "../../src/client.js";
import { useRunEvents } from "../../src/react.js";

/** The tests run twice, each time with another React; this is the one they are to have. */
export const wanted = process.env["REACT"];
export const major = version.split(".")[0];

/** Lets everything happen that is due within so many ms, and React take it in. */
export const pass = (ms = 0): Promise<void> => act(async () => void (await vi.advanceTimersByTimeAsync(ms)));

export const strictly = (node: ReactNode): RenderResult => render(<StrictMode>{node}</StrictMode>);

/** Shows a run in one line; counts how often it was rendered. */
export function Run({ id, client, rendered }: { id: string | null; client?: Runfeed; rendered?: () => void }): ReactNode {
  const run = useRunEvents(id, client);
  rendered?.();
  const said = [run.events.length, run.status, run.progress ?? "-", run.step ?? "-", run.loaded, run.transport, run.error?.code ?? "-"];
  return <p data-testid={`run-${id}`}>{said.join(" ")}</p>;
}
