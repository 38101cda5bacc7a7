// A page of a user of `runfeed/react`: what the package says is all that it needs.
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { useRunEvents } from "../../clients/js/src/react.ts";

const query = new URLSearchParams(window.location.search);
const options = { username: query.get("username"), api: query.get("api"), hub: query.get("ws") };

function Timeline({ runId }) {
  const { events, status, transport } = useRunEvents(runId, options);
  const terminal = ["completed", "failed", "cancelled"].includes(status);
  return (
    <main>
      <h1>{runId}</h1>
      <p id="state" data-terminal={terminal} data-transport={transport}>
        {events.length} events, {status}, by {transport}
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
