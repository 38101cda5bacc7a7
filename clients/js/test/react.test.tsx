// @vitest-environment happy-dom
import { act, cleanup, render, screen } from "@testing-library/react";
import { StrictMode } from "react";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { RunfeedProvider, useConnection } from "../src/react.js";
import { major, pass, Run, strictly, wanted } from "./support/react.js";
import { FakeServer, many } from "./support/server.js";

const FRAME = 16; // ms
const GRACE = 250;
let server: FakeServer;
const shown = (id: string | null = "r1"): string => screen.getByTestId(`run-${id}`).textContent as string;

beforeEach(() => {
  vi.useFakeTimers();
  vi.spyOn(Math, "random").mockReturnValue(0.5);
  server = new FakeServer();
});
afterEach(() => {
  cleanup();
  vi.useRealTimers();
  vi.restoreAllMocks();
});

test("these tests run with the React that they say", () => {
  expect(major).toBe(wanted);
});

describe("useRunEvents", () => {
  test("shows the history and what comes, by one socket, under StrictMode too", async () => {
    server.append("r1", many(2, "node_completed"), { progress: 20, node_id: "fetch" });
    strictly(<Run id="r1" client={server.client()} />);
    expect(shown()).toBe("0 queued - - false none -");
    await pass(50);
    expect(shown()).toBe("2 running 20 fetch true websocket -");

    act(() => server.append("r1", ["step", "workflow_completed"]));
    await pass(FRAME);
    expect(shown()).toBe("4 completed 100 fetch true websocket -");
    await pass(60_000);
    expect([server.sockets.length, server.asked.length]).toEqual([1, 1]);
  });

  test("renders once for 100 events within one frame", async () => {
    const rendered = vi.fn();
    render(<Run id="r1" client={server.client()} rendered={rendered} />);
    await pass(500);
    rendered.mockClear();
    act(() => server.append("r1", many(100)));
    expect(rendered).not.toHaveBeenCalled();
    await pass(FRAME);

    expect([rendered.mock.calls.length, shown()]).toEqual([1, "100 running - - true websocket -"]);
  });

  test("does not render for other runs, nor for silence", async () => {
    const rendered = vi.fn();
    render(<Run id="r1" client={server.client()} rendered={rendered} />);
    await pass(500);
    rendered.mockClear();
    await pass(3_000);
    expect(rendered).not.toHaveBeenCalled();

    act(() => server.append("r2", many(100)));
    await pass(FRAME);
    await pass(10_000); // polls as well
    expect(rendered).not.toHaveBeenCalled();
  });

  test("of many components has one socket, one history for each run, and the same events", async () => {
    server.append("r1", many(2));
    server.append("r2", many(1));
    const ids = ["r1", "r1", "r1", "r2"];
    strictly(
      <RunfeedProvider client={server.client()}>{ids.map((id, index) => <Run key={index} id={id} />)}</RunfeedProvider>,
    );
    await pass(50);

    const lines = screen.getAllByTestId("run-r1").map(({ textContent }) => textContent);
    expect(lines).toEqual(Array(3).fill("2 running - - true websocket -"));
    expect(shown("r2")).toBe("1 running - - true websocket -");
    expect([server.sockets.length, server.asked.length]).toEqual([1, 2]);
  });

  test("does nothing without a run, begins with one, and ends when it is gone again", async () => {
    const client = server.client();
    const { rerender } = strictly(<Run id={null} client={client} />);
    await pass(5_000);
    expect([shown(null), server.sockets.length, server.asked.length]).toEqual(["0 queued - - false none -", 0, 0]);

    server.append("r1", many(1));
    rerender(<StrictMode><Run id="r1" client={client} /></StrictMode>);
    await pass(50);
    expect(shown()).toBe("1 running - - true websocket -");

    rerender(<StrictMode><Run id={null} client={client} /></StrictMode>);
    await pass(GRACE + FRAME);
    expect([shown(null), server.last.closed]).toEqual(["0 queued - - false none -", true]);
  });

  test("shows nothing of the run before once another is asked for, and keeps the socket", async () => {
    server.append("r1", many(3));
    server.append("r2", many(1));
    const client = server.client();
    const { rerender } = strictly(<Run id="r1" client={client} />);
    await pass(50);
    expect(shown()).toMatch(/^3 running/);

    rerender(<StrictMode><Run id="r2" client={client} /></StrictMode>);
    expect(shown("r2")).toMatch(/^0 queued - - false/);
    await pass(1_000);
    act(() => server.append("r1", many(1)));
    await pass(FRAME);
    expect(shown("r2")).toBe("1 running - - true websocket -");
    expect([server.sockets.length, server.last.closed]).toEqual([1, false]);
  });

  test(`closes the socket ${GRACE} ms after the last component went, and not when one comes in time`, async () => {
    const client = server.client();
    const { unmount } = strictly(<Run id="r1" client={client} />);
    await pass(50);
    unmount();
    await pass(GRACE - 1);
    const { unmount: unmountAgain } = strictly(<Run id="r1" client={client} />);
    await pass(1_000);
    expect([server.sockets.length, server.last.closed]).toEqual([1, false]);

    unmountAgain();
    await pass(GRACE);
    expect(server.last.closed).toBe(true);
  });

  test("shows a numbering that began anew, and none of the old one's events", async () => {
    server.append("r1", many(3));
    strictly(<Run id="r1" client={server.client()} />);
    await pass(50);
    server.epoch = "F";
    server.events = [];
    server.append("r1", many(1), { quiet: true });
    act(() => server.last.say({ control: true, type: "reset", epoch: "F", head: 1 }));
    await pass(50);

    expect(shown()).toBe("1 running - - true websocket -");
  });
});

describe("what is wrong", () => {
  test("is shown while it lasts", async () => {
    server.refusals.push(503);
    strictly(<Run id="r1" client={server.client()} />);
    await pass(50);
    expect(shown()).toBe("0 queued - - false websocket store_away"); // the stream waits for no history

    await pass(2_000);
    expect(shown()).toBe("0 queued - - true websocket -");
  });

  test("and final is shown beside the events that were there", async () => {
    server.append("r1", many(2));
    const client = server.client();
    strictly(<><Run id="r1" client={client} /><Run id={null} client={client} /></>);
    await pass(50);
    act(() => server.last.shut(4403, "not yours"));
    await pass(FRAME);

    expect(shown()).toBe("2 running - - true none refused");
    expect(shown(null)).toBe("0 queued - - false none refused"); // also by who has no run yet
  });

  test("with the stream is shown as the transport: polls carry on", async () => {
    server.accepts = false;
    strictly(<Run id="r1" client={server.client()} />);
    await pass(1_000);
    expect(shown()).toMatch(/ none -$/);
    await pass(10_000);
    expect(shown()).toMatch(/ poll -$/);
  });
});

describe("clients", () => {
  function Anonymous({ id }: { id: string }) {
    return <Run id={id} />;
  }

  test("are asked for with a sentence where there is none", () => {
    vi.spyOn(console, "error").mockImplementation(() => {}); // React says it, too

    expect(() => render(<Anonymous id="r1" />)).toThrow(/needs a RunfeedProvider/);
  });

  test("are shared by components that give the same options, and only by those", async () => {
    vi.stubGlobal("fetch", server.fetch);
    vi.stubGlobal("WebSocket", server.WebSocket);
    const options = (username: string) => ({ username, api: "http://shared", hub: "ws://shared" });
    function Line({ username }: { username: string }) {
      return <i>{useConnection(options(username)).state}</i>;
    }
    function Own({ id, username }: { id: string; username: string }) {
      return <Run id={id} client={options(username) as never} />;
    }
    strictly(<><Own id="r1" username="u" /><Own id="r2" username="u" /><Own id="r3" username="v" /><Line username="u" /></>);
    await pass(50);
    vi.unstubAllGlobals();

    const users = server.sockets.map(({ url }) => new URL(url).searchParams.get("username"));
    expect(users.sort()).toEqual(["u", "v"]);
    expect(screen.getByText("open")).toBeDefined();
  });
});
