// @vitest-environment node
import { renderToString } from "react-dom/server";
import { expect, test, vi } from "vitest";
import { type RunfeedOptions, useRunEvents, useRunfeed } from "../src/react.js";

function Run({ options }: { options: RunfeedOptions }) {
  const run = useRunEvents("r1", options);
  return <p>{`${run.events.length} ${run.status} ${run.transport} ${run.loaded}`}</p>;
}

const NOTHING = "<p>0 queued none false</p>";

test("a server renders a run as nothing yet, and asks nobody", () => {
  const fetch = vi.fn();

  expect(renderToString(<Run options={{ username: "u", api: "http://api", fetch }} />)).toBe(NOTHING);
  expect(fetch).not.toHaveBeenCalled();
});

test("a server renders a page that takes the API's address from its own: there is none yet", () => {
  expect(renderToString(<Run options={{ username: "u" }} />)).toBe(NOTHING);
});

test("a server keeps no client of the users for whom it renders", () => {
  const clients: unknown[] = [];
  function Client() {
    clients.push(useRunfeed({ username: "u", api: "http://api" }));
    return null;
  }
  for (let rendering = 0; rendering < 2; rendering++) renderToString(<Client />);

  expect(clients[0]).not.toBe(clients[1]);
});
