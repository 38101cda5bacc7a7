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

function shared(options: RunfeedOptions): Runfeed {
  const key = JSON.stringify([options.username, options.api, options.hub, options.pollInterval]);
  let client = clients.get(key);
  if (client === undefined) clients.set(key, (client = new Runfeed(options)));
  return client;
}

/** The client: the one given, that of the provider, or one that all components with the same options share. */
export function useRunfeed(source?: Runfeed | RunfeedOptions): Runfeed {
  const provided = useContext(Context);
  if (source instanceof Runfeed) return source;
  if (source !== undefined) return shared(source);
  if (provided === null) throw new RunfeedError("invalid", "useRunEvents needs a RunfeedProvider, a Runfeed or {username}");
  return provided;
}

/** How events come now. */
export function useConnection(source?: Runfeed | RunfeedOptions): Connection {
  const client = useRunfeed(source);
  return useSyncExternalStore(client.onConnection, client.connection, client.connection);
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
  const { transport, error } = useConnection(client);
  return useMemo(() => ({ ...snapshot, error: snapshot.error ?? error, transport }), [snapshot, transport, error]);
}
