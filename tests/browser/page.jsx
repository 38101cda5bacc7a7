import { createRoot } from "react-dom/client";
import { useWorkflowEvents } from "./useWorkflowEvents.js";

const query = new URLSearchParams(window.location.search);

// No key may come from the event: React would warn about a double one, and a double must be shown as what it is.
function Timeline({ runId, username }) {
  const { events, isTerminal } = useWorkflowEvents(runId, username);
  return (
    <main>
      <h1>{runId}</h1>
      <p id="state" data-terminal={isTerminal}>
        {events.length} events, {isTerminal ? "ended" : "watching"}
      </p>
      <ol>
        {events.map((event, index) => (
          <li key={index} data-seq={event.seq} data-type={event.type}>
            <b>{event.seq}</b> {event.type} <i>{event.node_id}</i>
          </li>
        ))}
      </ol>
    </main>
  );
}

createRoot(document.getElementById("root")).render(
  <Timeline runId={query.get("run_id")} username={query.get("username")} />,
);
