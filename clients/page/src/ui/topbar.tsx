/** The page's head: where one is, the connection in a word, the theme and the help. */
import { useState } from "preact/hooks";
import { useConnection } from "../../../js/src/react.js";
import { KIND } from "../model/wire.js";
import { lag } from "../model/format.js";
import { type Route, userHref } from "../model/route.js";
import { setTheme, storedTheme, type Theme } from "../theme.js";
import { useSession } from "./hooks.js";
import { Sign } from "./marks.js";

interface Props {
  readonly route: Route;
  readonly help: () => void;
  readonly panel?: boolean;
  readonly togglePanel?: () => void;
}

export function Topbar({ route, help, panel, togglePanel }: Props) {
  return (
    <header class="topbar">
      <a class="wordmark" href="#/" aria-label="Runfeed, start"><Sign /><span>Runfeed</span></a>
      {(route.view === "user" || route.view === "run") && <Trail route={route} />}
      <div class="topbar-end">
        {togglePanel && <Chip shown={panel ?? false} toggle={togglePanel} />}
        <ThemeSwitch />
        <button type="button" class="quiet square" aria-label="Keys and marks" title="Keys and marks (?)" onClick={help}>?</button>
      </div>
    </header>
  );
}

function Trail({ route }: { route: Extract<Route, { user: string }> }) {
  return (
    <nav class="trail" aria-label="Where you are">
      <a href={userHref(route.user)} aria-current={route.view === "user" ? "page" : undefined} title={route.user}>{route.user}</a>
      {route.view === "run" && <span class="trail-run" aria-current="page" title={route.run}>{route.run}</span>}
    </nav>
  );
}

/** Where there is no room for the panel: how events come, and how late. */
function Chip({ shown, toggle }: { shown: boolean; toggle: () => void }) {
  const { transport, state } = useConnection();
  return (
    <button
      type="button" class="chip" aria-expanded={shown} aria-controls="connection" data-transport={transport} data-state={state}
      aria-label={`Connection: ${KIND[transport]}, ${state}. ${shown ? "Close" : "Open"} the panel with the switch that cuts the socket`}
      title={`${shown ? "Close" : "Open"} the connection panel`} onClick={toggle}
    >
      <span class="lamp" aria-hidden="true" />
      <span class="chip-words">
        <span class="chip-what">Connection</span>
        <span>{KIND[transport]} <ChipLag /></span>
      </span>
      <svg class="chip-more" viewBox="0 0 10 6" width="10" height="6" aria-hidden="true"><path d="M1 1l4 4 4-4" /></svg>
    </button>
  );
}

function ChipLag() {
  const session = useSession(250);
  return <span class="figure chip-lag">{lag(session.lag.last)}</span>;
}

const NEXT: Record<Theme, Theme> = { auto: "light", light: "dark", dark: "auto" };

function ThemeSwitch() {
  const [theme, set] = useState(storedTheme);
  const change = (): void => {
    setTheme(NEXT[theme]);
    set(NEXT[theme]);
  };
  return (
    <button type="button" class="quiet theme" aria-label={`Theme: ${theme}. Change to ${NEXT[theme]}`} title={`Theme: ${theme}`} data-theme-switch={theme} onClick={change}>
      <svg viewBox="0 0 16 16" width="16" height="16" aria-hidden="true">
        <circle cx="8" cy="8" r="6" fill={theme === "dark" ? "currentColor" : "none"} stroke="currentColor" stroke-width="1.5" />
        {theme === "auto" && <path d="M8 2a6 6 0 0 1 0 12z" fill="currentColor" />}
      </svg>
      <span class="theme-word">{theme}</span>
    </button>
  );
}
