/** Nobody has reported a run: how to, for this very address and user. */
import { useMemo } from "preact/hooks";
import { useQuietSession } from "../ui/hooks.js";
import { Copy } from "../ui/parts.js";
import { Sample } from "./sample.js";

interface Step {
  readonly title: string;
  readonly command: string;
}

/** proves: these services want to know who reports. */
function commands(origin: string, user: string, run: string, proves: boolean): Step[] {
  const events = `${origin}/api/v1/runs/${run}/events`;
  const curl = proves ? 'curl -sS -H "Authorization: Bearer $RUNFEED_API_KEY"' : "curl -sS";
  return [
    { title: "Make a run", command: `${curl} -d '{"username":"${user}","run_id":"${run}"}' ${origin}/api/v1/runs` },
    { title: "Start a step", command: `${curl} -d '{"type":"step_started","step_name":"first"}' ${events}` },
    { title: "Say how far it is", command: `${curl} -d '{"type":"step_progress","step_name":"first","progress":50}' ${events}` },
    { title: "Complete it", command: `${curl} -d '{"events":[{"type":"step_completed","step_name":"first"},{"type":"workflow_completed"}]}' ${events}` },
  ];
}

export function EmptyView() {
  const { username, proves } = useQuietSession();
  const steps = useMemo(() => commands(location.origin, username, `hello-${Math.random().toString(16).slice(2, 6)}`, proves), [username, proves]);
  return (
    <div class="empty" data-empty>
      <p class="lead">No run yet. The first one appears here the moment it is made.</p>
      {!proves && (
        <div class="empty-play">
          <Sample />
          <p>Seven steps in twelve seconds, some beside each other, one of them tried twice. Real events, through the same API.</p>
        </div>
      )}
      <h2>{proves ? "Report one, with an API key that may write" : "Or report one yourself"}</h2>
      <ol class="commands">
        {steps.map(({ title, command }) => (
          <li key={title}>
            <h3>{title}</h3>
            <Copy label="Copy" what={`the command: ${title}`} text={() => command} />
            <pre tabIndex={0} aria-label={title}><code>{command}</code></pre>
          </li>
        ))}
      </ol>
    </div>
  );
}
