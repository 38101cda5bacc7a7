/** The page: which view, for whom, and what stands around it. */
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { RunfeedProvider } from "../../js/src/react.js";
import { Access } from "./access.js";
import { AccessContext, SessionContext, useAccess, useRoute } from "./ui/hooks.js";
import { Help } from "./ui/help.js";
import { useShortcuts } from "./ui/keys.js";
import { Connection } from "./ui/connection.js";
import { StripView } from "./ui/strip.js";
import { Topbar } from "./ui/topbar.js";
import { Session } from "./session.js";
import { RunView } from "./views/run.js";
import { StartView } from "./views/start.js";
import { OtherView, TokenForm, TokenView } from "./views/token.js";
import { UserView } from "./views/user.js";
import { WrongView } from "./views/wrong.js";
import type { Route } from "./model/route.js";

export function App() {
  const access = useMemo(() => new Access(), []);
  return <AccessContext.Provider value={access}><Page /></AccessContext.Provider>;
}

function Page() {
  const access = useAccess();
  const route = useRoute();
  const [help, setHelp] = useState(false);
  useShortcuts(() => setHelp(true));
  useTitle(route);
  useEffect(() => {
    if (route.view === "start" || access.token !== null) void access.ask(); // else it is known by the first refusal
  }, [access.life, route.view]);
  return (
    <>
      <a class="skip" href="#main" onClick={skip}>Skip to the content</a>
      {(route.view === "user" || route.view === "run") && mayWatch(access, route.user)
        ? <Watching key={`${access.life} ${route.user}`} route={route} help={() => setHelp(true)} />
        : <Plain route={route} help={() => setHelp(true)} />}
      <Help open={help} close={() => setHelp(false)} />
    </>
  );
}

/** Nothing is asked for whom the token does not show, and without one where one is wanted. */
function mayWatch({ token, wants, about }: Access, user: string): boolean {
  return token === null ? wants === null : about.user === null || about.user === user;
}

function Plain({ route, help }: { route: Route; help: () => void }) {
  const { token } = useAccess();
  const watched = route.view === "user" || route.view === "run";
  return (
    <div class="app plain" data-view={route.view}>
      <Topbar route={route} help={help} />
      <main id="main" tabIndex={-1}>
        {route.view === "wrong" && <WrongView {...route} />}
        {route.view === "start" && <StartView />}
        {watched && (token === null ? <TokenView user={route.user} /> : <OtherView user={route.user} />)}
      </main>
    </div>
  );
}

type Watched = Extract<Route, { user: string }>;

function Watching({ route, help }: { route: Watched; help: () => void }) {
  const access = useAccess();
  const session = useMemo(() => new Session(route.user, access), [route.user]);
  const [panel, setPanel] = useState(false);
  useEffect(() => {
    session.start();
    return () => session.stop();
  }, [session]);
  return (
    <SessionContext.Provider value={session}>
      <RunfeedProvider client={session.client}>
        <div class="app" data-view={route.view}>
          <Topbar route={route} help={help} panel={panel} togglePanel={() => setPanel(!panel)} />
          <StripView />
          <main id="main" tabIndex={-1} class={access.wants === null ? undefined : "asks"}>
            {access.wants !== null && <TokenForm user={route.user} />}
            {route.view === "run" ? <RunView key={route.run} run={route.run} /> : <UserView />}
          </main>
          <Connection shown={panel} close={() => setPanel(false)} />
        </div>
      </RunfeedProvider>
    </SessionContext.Provider>
  );
}

/** The hash is the route's: the skip link must not change it. */
function skip(event: Event): void {
  event.preventDefault();
  document.getElementById("main")?.focus();
}

/** The title names the view; after a change of view the focus is where that begins. */
function useTitle(route: Route): void {
  const first = useRef(true);
  const name = route.view === "run" ? `${route.run}, ${route.user}` : route.view === "user" ? route.user : null;
  useEffect(() => {
    document.title = name === null ? "Runfeed" : `${name} – Runfeed`;
    if (!first.current) document.getElementById("main")?.focus({ preventScroll: true });
    first.current = false;
  }, [name]);
}
