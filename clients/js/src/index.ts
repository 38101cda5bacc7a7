/** Watch runs as they happen: every event at once, in order, exactly once, whatever the network does. */
export { Runfeed, type Connection, type RunfeedOptions, type RunInfo } from "./client.js";
export { RunfeedError, type Reset, type RunEvent, type Status, type Transport } from "./protocol.js";
export type { Listener, Snapshot } from "./store.js";
export type { WebSocketClass } from "./streams.js";
export type { Watch } from "./watch.js";
