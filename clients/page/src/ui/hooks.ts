/** What the components share. */
import { createContext } from "preact";
import { useContext, useEffect, useRef, useState } from "preact/hooks";
import type { Access } from "../access.js";
import { parseRoute, type Route } from "../model/route.js";
import type { Session } from "../session.js";

export const SessionContext = createContext<Session | null>(null);
export const AccessContext = createContext<Access | null>(null);

/** The page's token, and whether one is wanted; the component is drawn anew when that is another. */
export function useAccess(): Access {
  const access = useContext(AccessContext);
  if (access === null) throw new Error("there is no access here");
  const [, again] = useState(0);
  useEffect(() => access.subscribe(() => again((n) => n + 1)), [access]);
  return access;
}

/** The session; the component is drawn anew when something in it is another, every so many ms at most. */
export function useSession(ms = 0): Session {
  const session = useQuietSession();
  const [, again] = useState(0);
  useEffect(() => {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const draw = (): void => {
      timer = undefined;
      again(session.version);
    };
    const stop = session.subscribe((urgent) => {
      if (ms === 0 || urgent) draw();
      else timer ??= setTimeout(draw, ms);
    });
    draw();
    return () => {
      stop();
      clearTimeout(timer);
    };
  }, [session, ms]);
  return session;
}

/** The session, for who looks at it when something else says so. */
export function useQuietSession(): Session {
  const session = useContext(SessionContext);
  if (session === null) throw new Error("there is no session here");
  return session;
}

export function useRoute(): Route {
  const [route, setRoute] = useState(() => parseRoute(location.hash));
  useEffect(() => {
    const changed = (): void => setRoute(parseRoute(location.hash));
    addEventListener("hashchange", changed);
    return () => removeEventListener("hashchange", changed);
  }, []);
  return route;
}

/** Draws the component anew every so many ms, while `on`. */
export function useTicker(ms: number, on = true): void {
  const [, again] = useState(0);
  useEffect(() => {
    if (!on) return undefined;
    const timer = setInterval(() => {
      if (!document.hidden) again((n) => n + 1);
    }, ms);
    return () => clearInterval(timer);
  }, [ms, on]);
}

export function useMedia(query: string): boolean {
  const [matches, setMatches] = useState(() => matchMedia(query).matches);
  useEffect(() => {
    const list = matchMedia(query);
    const changed = (): void => setMatches(list.matches);
    changed();
    list.addEventListener("change", changed);
    return () => list.removeEventListener("change", changed);
  }, [query]);
  return matches;
}

export const NARROW = "(max-width: 699px)";
export const CALM = "(prefers-reduced-motion: reduce)";

/** A function that stays the same and does what the latest one does: rows that have it need not be drawn anew. */
export function useSteady<A extends unknown[]>(latest: (...args: A) => void): (...args: A) => void {
  const current = useRef(latest);
  current.current = latest;
  return useRef((...args: A) => current.current(...args)).current;
}
