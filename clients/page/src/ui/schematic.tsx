/** Two lines lead to the visitor: the socket and the poll. The one in use is drawn whole. */
import type { Connection } from "../../../js/src/client.js";

interface Props {
  readonly transport: Connection["transport"];
  readonly state: Connection["state"];
  readonly cut: boolean;
}

export function Schematic({ transport, state, cut }: Props) {
  const streams = state === "open";
  const polls = transport === "poll";
  return (
    <svg class="schematic" viewBox="0 0 280 76" role="img" aria-label={words(transport, cut)}>
      <g class={streams ? "route used" : "route"}>
        <path d={cut ? "M66 20H132M156 20H206" : "M66 20H206"} />
        <path d="M206 20C228 20 226 38 246 38" />
        {streams && <><circle cx="104" cy="20" r="3" /><circle cx="134" cy="20" r="3" /><circle cx="182" cy="20" r="3" /></>}
        {cut && <path class="gap" d="M134 12l6 16M148 12l6 16" />}
      </g>
      <g class={polls ? "route used" : "route"}>
        <path d="M66 56H206C228 56 226 38 246 38" />
        {polls && <><circle cx="120" cy="56" r="3" /><circle cx="128" cy="56" r="3" /><circle cx="136" cy="56" r="3" /></>}
      </g>
      <circle class={streams || polls ? "you on" : "you"} cx="250" cy="38" r="5" />
      <text x="60" y="24" text-anchor="end">{transport === "sse" ? "stream" : "socket"}</text>
      <text x="60" y="60" text-anchor="end">poll</text>
      <text x="262" y="42">you</text>
    </svg>
  );
}

function words(transport: Connection["transport"], cut: boolean): string {
  const way = { websocket: "Events come on the socket", sse: "Events come on an event stream", poll: "Events come by polls", none: "Nothing comes yet" };
  return cut ? `${way[transport]}; the socket is cut` : way[transport];
}
