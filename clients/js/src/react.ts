"use client";
/** Runs in React: one socket for all components of a page, and no more renders than frames. */
import { createContext, createElement, type ReactNode, useContext, useMemo, useSyncExternalStore } from "react";
import { type Connection, Runfeed, type RunfeedOptions } from "./client.js";
import { type Reset, type RunEvent, RunfeedError, type Transport } from "./protocol.js";
import { EMPTY, type Snapshot } from "./store.js";

export type { Connection, Reset, RunEvent, RunfeedOptions, Snapshot, Transport };
export { Runfeed, RunfeedError };

const Context = createContext<Runfeed | null>(null);

/** Gives the components below it their client. */
export function RunfeedProvider({ client, children }: { client: Runfeed; children?: ReactNode }): ReactNode {
  return createElement(Context.Provider, { value: client }, children);
}

const clients = new Map<string, Runfeed>(); // one for each user and place; one that nobody watches costs nothing
const IDLE: Connection = { transport: "none", state: "idle", retryAt: null, cursor: null, polls: 0, error: null };

function shared(key: string, options: RunfeedOptions): Runfeed {
  // A server renders for many users and watches nothing: this component's own, wherever its API will be.
  if (typeof window === "undefined") return new Runfeed({ ...options, api: options.api ?? "http://localhost" });
  let client = clients.get(key);
  if (client === undefined) clients.set(key, (client = new Runfeed(options)));
  return client;
}

/** The client: the one given, that of the provider, or one that all components with the same options share. */
export function useRunfeed(source?: Runfeed | RunfeedOptions): Runfeed {
  const provided = useContext(Context);
  const options = source instanceof Runfeed || source === undefined ? null : source;
  const key = options && JSON.stringify([options.username, options.api, options.hub, options.pollInterval]);
  const made = useMemo(() => options && shared(key as string, options), [key]);
  if (source instanceof Runfeed) return source;
  if (made !== null) return made;
  if (provided === null) throw new RunfeedError("invalid", "useRunEvents needs a RunfeedProvider, a Runfeed or {username}");
  return provided;
}

/** How events come now. */
export function useConnection(source?: Runfeed | RunfeedOptions): Connection {
  const client = useRunfeed(source);
  return useSyncExternalStore(client.onConnection, client.connection, () => IDLE);
}

export interface RunState extends Snapshot {
  readonly transport: Transport;
}

/** A run as it happens. runId null: none yet. */
export function useRunEvents(runId: string | null, source?: Runfeed | RunfeedOptions): RunState {
  const client = useRunfeed(source);
  const store = useMemo(() => {
    if (runId === null) return { subscribe: () => () => {}, snapshot: () => EMPTY };
    const watch = client.run(runId);
    return { subscribe: (change: () => void) => watch.subscribe({ change }), snapshot: watch.snapshot };
  }, [client, runId]);
  const snapshot = useSyncExternalStore(store.subscribe, store.snapshot, () => EMPTY);
  // Of the connection only these two: its cursor moves with every event of every run.
  const transport = useSyncExternalStore(client.onConnection, () => client.connection().transport, () => IDLE.transport);
  const error = useSyncExternalStore(client.onConnection, () => client.connection().error, () => IDLE.error);
  return useMemo(() => ({ ...snapshot, error: snapshot.error ?? error, transport }), [snapshot, transport, error]);
}
