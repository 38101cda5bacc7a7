// A page of a user of `runfeed/react`: what the package says is all that it needs.
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { useRunEvents } from "../../clients/js/src/react.ts";

const query = new URLSearchParams(window.location.search);
const tokens = query.get("tokens"); // where this page's own backend gives them
let token = null;
const getToken = async ({ renew }) => (token = (!renew && token) || (await (await fetch(tokens)).text()));
const options = {
  username: query.get("username"),
  api: query.get("api"),
  hub: query.get("ws"),
  ...(tokens ? { getToken } : {}),
};

function Timeline({ runId }) {
  const { events, status, transport, error } = useRunEvents(runId, options);
  const terminal = ["completed", "failed", "cancelled"].includes(status);
  return (
    <main>
      <h1>{runId}</h1>
      <p id="state" data-terminal={terminal} data-transport={transport} data-error={error?.code}>
        {events.length} events, {status}, by {transport} {error?.message}
      </p>
      <ol>
        {events.map((event, index) => (
          <li key={index} data-seq={event.seq} data-type={event.type}>
            <b>{event.seq}</b> {event.type}
          </li>
        ))}
      </ol>
    </main>
  );
}

createRoot(document.getElementById("root")).render(
  <StrictMode>
    {query.getAll("run_id").map((runId) => (
      <Timeline key={runId} runId={runId} />
    ))}
  </StrictMode>,
);
