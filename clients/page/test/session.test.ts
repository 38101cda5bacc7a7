import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Access } from "../src/access.js";
import { Session } from "../src/session.js";
import { storage, token } from "./tokens.js";

const OLD = token({ sub: "alice", exp: 1_000 });
const NEXT = token({ sub: "alice", exp: 2_000 });

/** A socket that opens when the test says so. */
class Socket extends EventTarget {
  static made: Socket[] = [];
  readonly protocol: string;
  readonly bearer: string;
  sent: string[] = [];
  onmessage: ((event: { data: string }) => void) | null = null;
  onclose: ((event: { code: number; reason: string }) => void) | null = null;

  constructor(_url: string, protocols: string[]) {
    super();
    [this.protocol, this.bearer] = protocols as [string, string];
    Socket.made.push(this);
  }

  say(control: object): void {
    this.onmessage?.({ data: JSON.stringify({ control: true, ...control }) });
  }

  connected(): void {
    this.say({ type: "connected", epoch: "e", head: 0 });
  }

  send(text: string): void {
    this.sent.push(text);
  }

  close(): void {}
}

describe("a session whose token has ended", () => {
  let revoked: string | undefined;
  let streams: number; // event streams that were asked for
  let access: Access;
  let session: Session;

  const answer = (path: string, { headers }: { headers?: Record<string, string> } = {}): Promise<Response> => {
    const said = (body: object, status = 200): Promise<Response> =>
      Promise.resolve(new Response(JSON.stringify(body), { status, headers: { "Content-Type": "application/json" } }));
    if (path.includes("/sse?")) {
      streams += 1;
      return new Promise(() => {});
    }
    if (revoked !== undefined && headers?.["Authorization"] === `Bearer ${revoked}`) return said({ code: "token_revoked", detail: "no" }, 401);
    if (path.includes("/config")) return said({ hub: "ws://page" });
    return said(path.includes("/events?") ? { events: [], next: 0, head: 0, epoch: "e" } : { runs: [], cursor: null });
  };

  beforeEach(async () => {
    vi.useFakeTimers({ now: 900_000 });
    vi.spyOn(Math, "random").mockReturnValue(0.9);
    vi.stubGlobal("sessionStorage", storage(new Map([["runfeed.token", OLD]])));
    vi.stubGlobal("document", { hidden: false, addEventListener: () => {}, removeEventListener: () => {} });
    vi.stubGlobal("location", new URL("http://page/"));
    vi.stubGlobal("WebSocket", Socket);
    vi.stubGlobal("fetch", answer);
    revoked = undefined;
    streams = 0;
    Socket.made = [];
    access = new Access();
    session = new Session("alice", access);
    session.start();
    await vi.advanceTimersByTimeAsync(1_000);
    Socket.made[0]?.connected();
    await vi.advanceTimersByTimeAsync(15_000);
  });
  afterEach(() => {
    session.stop();
    vi.useRealTimers();
    vi.restoreAllMocks();
    vi.unstubAllGlobals();
  });

  const revoke = async (): Promise<void> => {
    revoked = OLD;
    Socket.made[0]?.onclose?.({ code: 4401, reason: "revoked" });
    await vi.advanceTimersByTimeAsync(100);
  };
  const offerNext = async (): Promise<void> => {
    expect(access.wants).not.toBeNull();
    expect(await access.offer(NEXT)).toBeNull();
    await vi.advanceTimersByTimeAsync(100);
  };
  const bearers = (): string[] => Socket.made.map(({ bearer }) => bearer);

  it.each([
    ["at once", 1_000],
    ["when it would be the event stream's turn", 25_000],
    ["when the next try would be in seconds", 70_000],
  ])("opens a socket with the next one, which comes %s", async (_, after) => {
    await revoke();
    await vi.advanceTimersByTimeAsync(after);
    expect([bearers(), streams]).toEqual([[`bearer.${OLD}`], 0]);
    await offerNext();
    expect([bearers(), streams]).toEqual([[`bearer.${OLD}`, `bearer.${NEXT}`], 0]);
    Socket.made[1]?.connected();
    await vi.advanceTimersByTimeAsync(100);
    expect([session.client.connection().transport, session.client.connection().state]).toEqual(["websocket", "open"]);
  });

  it("opens none that the visitor has cut", async () => {
    await revoke();
    session.setCut(true);
    await vi.advanceTimersByTimeAsync(25_000);
    await offerNext();
    await vi.advanceTimersByTimeAsync(60_000);
    expect([bearers().length, streams]).toEqual([1, 0]);
    session.setCut(false);
    await vi.advanceTimersByTimeAsync(100);
    expect([bearers(), streams]).toEqual([[`bearer.${OLD}`, `bearer.${NEXT}`], 0]);
  });

  it("keeps the socket that is still open, and sends the next one on it", async () => {
    Socket.made[0]?.say({ type: "auth_expiring" });
    await vi.advanceTimersByTimeAsync(100);
    await offerNext();
    expect(bearers().length).toBe(1);
    expect(Socket.made[0]?.sent).toEqual([JSON.stringify({ type: "auth", token: NEXT })]);
  });

  it("opens nothing with one that shows something else: another session does", async () => {
    await revoke();
    await vi.advanceTimersByTimeAsync(25_000);
    expect(await access.offer(token({ sub: "bob" }))).toBeNull();
    await vi.advanceTimersByTimeAsync(100);
    expect([bearers().length, streams, access.life]).toEqual([1, 0, 1]);
  });
});
