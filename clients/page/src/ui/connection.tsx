/** How events come: which way, how late, and what became of the connection; with a switch to see it fail. */
import { memo } from "preact/compat";
import { useConnection } from "../../../js/src/react.js";
import type { Connection as State } from "../../../js/src/client.js";
import { forgetToken } from "../access.js";
import { count, lag, many, moment } from "../model/format.js";
import { KIND, story } from "../model/wire.js";
import { useAccess, useSession, useTicker } from "./hooks.js";
import { Fact } from "./parts.js";
import { Schematic } from "./schematic.js";
import { Spark } from "./spark.js";

const PACE = 250; // ms between two figures: nobody reads faster

export function Connection({ shown, close }: { shown: boolean; close: () => void }) {
  const connection = useConnection();
  const { transport, state, retryAt, error } = connection;
  const escape = (event: KeyboardEvent): void => {
    if (event.key === "Escape" && shown) close();
  };
  return (
    <aside
      id="connection" class={shown ? "panel shown" : "panel"} aria-label="Connection" onKeyDown={escape}
      data-transport={transport} data-state={state}
    >
      <div class="panel-head">
        <h2>Connection</h2>
        <button type="button" class="quiet panel-close" onClick={close}>Close</button>
      </div>
      <Now transport={transport} state={state} retryAt={retryAt} error={error} />
      <Figures />
      <Held />
      <Log />
    </aside>
  );
}

type How = Pick<State, "transport" | "state" | "retryAt" | "error">;

/** Drawn anew when the way is another, not with each event. */
const Now = memo(function Now({ transport, state, retryAt, error }: How) {
  const session = useSession(PACE);
  const waits = useAccess().wants !== null;
  const { cut, back, ids, partial } = session;
  const fine = ids.whole || (partial && ids.repeated === 0);
  return (
    <>
      <Schematic transport={transport} cut={cut} state={state} />
      <p class="now">
        <strong>{KIND[transport]}</strong>
        <span>{waits && state !== "open" ? "waits for a token" : state}</span>
        {retryAt !== null && !waits && <Countdown to={retryAt} />}
      </p>
      <div class="cut" data-cut={cut}>
        <button type="button" role="switch" aria-checked={cut} class="switch" data-cut-switch onClick={() => session.setCut(!cut)}>
          <span class="switch-track" aria-hidden="true"><span /></span>
          <span>Cut my socket</span>
        </button>
        <p class="story" data-story>{story({ cut, transport, state, polled: session.polledSince > 0, back, waits })}</p>
        <p class={fine ? "proof" : "proof trouble"} data-ids={fine ? "whole" : "broken"}>
          Ids that came here: <span class="mono">{partial ? `${ids.range}, of some runs` : ids.toString()}</span>
        </p>
        {error !== null && <p class="story trouble">{error.message}</p>}
      </div>
    </>
  );
});

function Countdown({ to }: { to: number }) {
  useTicker(200);
  return <span class="figure" data-retry>socket again in {(Math.max(0, to - Date.now()) / 1000).toFixed(1)} s</span>;
}

function Figures() {
  const { lag: late, skew, version, client } = useSession(PACE);
  const { polls, cursor } = client.connection();
  return (
    <>
      <dl class="facts figures">
        <Fact name="Lag, last">{lag(late.last)}</Fact>
        <Fact name="Lag, median">{lag(late.median)}</Fact>
        <Fact name="Polls">{count(polls)}</Fact>
        <Fact name="Cursor">{cursor === null ? "–" : count(cursor)}</Fact>
      </dl>
      <Spark values={late.values} version={version} />
      {skew !== 0 && <p class="proof">Your clock and the server's are {lag(Math.abs(skew))} apart: lags are off by that.</p>}
    </>
  );
}

/** The token in use, and the way to be rid of it. */
function Held() {
  const access = useAccess();
  const { user, runs, until } = access.about;
  if (access.token === null) return null;
  return (
    <section class="held" aria-label="Token" data-held>
      <p class="proof">
        Token of <strong class="mono">{user ?? "nobody known"}</strong>{runs === null ? "" : `, for ${many(runs.length, "run")}`}
        {until !== null && `, until ${moment(until, Date.now() / 1000)}`}
      </p>
      <button type="button" data-forget onClick={() => forgetToken(access)}>Forget the token</button>
    </section>
  );
}

function Log() {
  const { wire: { entries } } = useSession(PACE);
  const now = Date.now() / 1000;
  return (
    <section class="log" aria-label="Changes of the connection">
      <h3>Changes</h3>
      <ol data-log tabIndex={0} aria-label="Changes of the connection, latest first">
        {entries.length === 0 && <li class="faint">None yet</li>}
        {entries.map(({ at, text, times }) => (
          <li key={`${at}${text}`}>
            <time class="figure">{moment(at / 1000, now)}</time>
            <span>{text}{times > 1 ? ` ×${times}` : ""}</span>
          </li>
        ))}
      </ol>
    </section>
  );
}
