/** How events come: which way, how late, and what became of the connection; with a switch to see it fail. */
import { useConnection } from "../../../js/src/react.js";
import type { Connection as State } from "../../../js/src/client.js";
import { count, lag, moment } from "../model/format.js";
import { KIND, story } from "../model/wire.js";
import type { Session } from "../session.js";
import { useSession, useTicker } from "./hooks.js";
import { Fact } from "./parts.js";
import { Schematic } from "./schematic.js";
import { Spark } from "./spark.js";

export function Connection({ shown, close }: { shown: boolean; close: () => void }) {
  const session = useSession();
  const connection = useConnection();
  const escape = (event: KeyboardEvent): void => {
    if (event.key === "Escape" && shown) close();
  };
  return (
    <aside
      id="connection" class={shown ? "panel shown" : "panel"} aria-label="Connection" onKeyDown={escape}
      data-transport={connection.transport} data-state={connection.state} data-cut={session.cut}
    >
      <div class="panel-head">
        <h2>Connection</h2>
        <button type="button" class="quiet panel-close" onClick={close}>Close</button>
      </div>
      <Schematic transport={connection.transport} cut={session.cut} state={connection.state} />
      <Now connection={connection} />
      <Cut session={session} connection={connection} />
      <Figures session={session} connection={connection} />
      <Log session={session} />
    </aside>
  );
}

function Now({ connection }: { connection: State }) {
  const { transport, state, retryAt } = connection;
  useTicker(250, retryAt !== null);
  const wait = retryAt === null ? null : Math.max(0, retryAt - Date.now());
  return (
    <p class="now">
      <strong>{KIND[transport]}</strong>
      <span>{state === "open" || state === "idle" ? state : state === "connecting" ? "connecting" : "waiting"}</span>
      {wait !== null && <span class="figure" data-retry>next try in {(wait / 1000).toFixed(1)} s</span>}
    </p>
  );
}

function Cut({ session, connection }: { session: Session; connection: State }) {
  const { transport, state } = connection;
  const polled = session.polledSince > 0;
  return (
    <div class="cut">
      <button type="button" role="switch" aria-checked={session.cut} class="switch" data-cut-switch onClick={() => session.setCut(!session.cut)}>
        <span class="switch-track" aria-hidden="true"><span /></span>
        <span>Cut my socket</span>
      </button>
      <p class="story" data-story>{story({ cut: session.cut, transport, state, polled, back: session.back })}</p>
      <p class={session.ids.whole ? "proof" : "proof trouble"} data-ids={session.ids.whole ? "whole" : "broken"}>
        Ids that came here: <span class="mono">{session.ids.toString()}</span>
      </p>
      {connection.error !== null && <p class="story trouble">{connection.error.message}</p>}
    </div>
  );
}

function Figures({ session, connection }: { session: Session; connection: State }) {
  const { lag: late, skew } = session;
  return (
    <>
      <dl class="facts figures">
        <Fact name="Lag, last">{lag(late.last)}</Fact>
        <Fact name="Lag, median">{lag(late.median)}</Fact>
        <Fact name="Polls">{count(connection.polls)}</Fact>
        <Fact name="Cursor">{connection.cursor === null ? "–" : count(connection.cursor)}</Fact>
      </dl>
      <Spark values={late.values} version={session.version} />
      {skew !== 0 && <p class="proof">Your clock and the server's are {lag(Math.abs(skew))} apart: lags are off by that.</p>}
    </>
  );
}

function Log({ session }: { session: Session }) {
  const { entries } = session.wire;
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
