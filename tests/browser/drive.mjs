// Drives Debian's chromium for driver.py: a command a line on stdin, its answer a line on stdout, the end of stdin is
// the end. Each answer holds what the page shows and what the browser did until then.
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

const WAIT_MS = 15_000; // the longest that a test waits for is the hook's 4 s of silence; a busy machine adds to it
const FLAGS = [
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

class Tab {
  requests = 0;
  cost = null;
  polls = [];
  sockets = [];
  errors = [];
  crashes = [];

  constructor(page) {
    this.page = page;
    const answers = new Map();
    page.on("request", (request) => {
      const url = new URL(request.url());
      this.requests += 1;
      if (!url.pathname.endsWith("/events")) return;
      const poll = { status: null, cause: url.searchParams.get("cause") };
      answers.set(request, poll);
      this.polls.push(poll);
    });
    page.on("response", (response) => {
      const poll = answers.get(response.request());
      if (poll) poll.status = response.status();
    });
    page.on("websocket", (ws) => {
      const socket = { url: ws.url(), open: true, frames: [] };
      this.sockets.push(socket);
      ws.on("framereceived", ({ payload }) => socket.frames.push(payload));
      ws.on("close", () => (socket.open = false));
    });
    page.on("console", (message) => message.type() === "error" && this.errors.push(message.text()));
    page.on("pageerror", (error) => this.crashes.push(String(error)));
  }

  // What the browser did: looked at first, then again after each of its events, as the recorders above run before.
  async recorded(event, enough) {
    const deadline = Date.now() + WAIT_MS;
    while (!enough()) await this.page.waitForEvent(event, { timeout: Math.max(1, deadline - Date.now()) });
  }

  async state() {
    const shown = await this.page.evaluate(() => ({
      seqs: [...document.querySelectorAll("li")].map((item) => Number(item.dataset.seq)),
      types: [...document.querySelectorAll("li")].map((item) => item.dataset.type),
      terminal: document.querySelector("#state")?.dataset.terminal === "true",
      transport: document.querySelector("#state")?.dataset.transport ?? "",
    }));
    const { requests, polls, sockets, errors, crashes, cost } = this;
    return { ...shown, requests, polls, sockets, errors, crashes, cost };
  }
}

const commands = {
  async shown(tab, { count }) {
    const least = (least) => document.querySelectorAll("li").length >= least;
    await tab.page.waitForFunction(least, count, { timeout: WAIT_MS });
  },
  async ended(tab) {
    await tab.page.waitForSelector('#state[data-terminal="true"]', { timeout: WAIT_MS });
  },
  async polled(tab, { count }) {
    await tab.recorded("response", () => tab.polls.filter((poll) => poll.status !== null).length >= count);
  },
  async complained(tab, { text }) {
    await tab.recorded("console", () => tab.errors.some((error) => error.includes(text)));
  },
  // Only for time that is itself what is tested: `why` says for what, and nothing can be waited for instead.
  async pass(tab, { milliseconds }) {
    await tab.page.waitForTimeout(milliseconds);
  },
  async transport(tab, { name }) {
    await tab.page.waitForSelector(`#state[data-transport="${name}"]`, { timeout: WAIT_MS });
  },
  // No stream opens any more, or no socket: a proxy that knows nothing of them. What is open stays.
  async block(tab, { sockets }) {
    await tab.page.routeWebSocket(/\/ws\?/, (route) => route.close({ code: 1006 }));
    if (!sockets) await tab.page.route(/\/sse\?/, (route) => route.abort());
  },
  // Between the page and the hub, from the next load on: the frame of this number is lost on the way; with `silent` all
  // that comes after it, too, and the socket stays open.
  async drop(tab, { seq, silent }) {
    await tab.page.routeWebSocket(/\/ws\?/, (route) => {
      const server = route.connectToServer();
      let dead = false;
      server.onMessage((message) => {
        const lost = String(message).includes(`"seq":${seq},`);
        dead ||= silent && lost;
        if (!lost && !dead) route.send(message);
      });
    });
  },
  async online(tab, { on }) {
    await tab.page.context().setOffline(!on);
  },
  // Headless tabs are always looked at: the page is told what it would be told.
  async visible(tab, { on }) {
    await tab.page.evaluate((hidden) => {
      Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
      Object.defineProperty(document, "visibilityState", { configurable: true, get: () => (hidden ? "hidden" : "visible") });
      document.dispatchEvent(new Event("visibilitychange"));
    }, !on);
  },
  async click(tab, { selector }) {
    await tab.page.click(selector, { timeout: WAIT_MS });
  },
  async fill(tab, { selector, text }) {
    await tab.page.fill(selector, text, { timeout: WAIT_MS });
  },
  async press(tab, { key }) {
    await tab.page.keyboard.press(key);
  },
  // A secret is where nobody else finds it: not in the address, what the browser keeps for longer, or the document.
  async hides(tab, { text }) {
    const seen = await tab.page.evaluate(() => [location.href, JSON.stringify(localStorage), document.cookie, document.documentElement.outerHTML]);
    if (seen.some((each) => each.includes(text))) throw new Error(`it is seen: ${seen}`);
  },
  async find(tab, { selector }) {
    await tab.page.waitForSelector(selector, { state: "attached", timeout: WAIT_MS });
  },
  // What a page costs from here to the next time: its main thread's work, its longest task, the most rows at a time.
  async measure(tab) {
    tab.devtools ??= await tab.page.context().newCDPSession(tab.page);
    await tab.devtools.send("Performance.enable");
    const { metrics } = await tab.devtools.send("Performance.getMetrics");
    const seconds = metrics.find(({ name }) => name === "TaskDuration").value;
    const { longest, rows } = await tab.page.evaluate(() => {
      const rowsNow = () => document.querySelectorAll("[data-index]").length;
      const before = { ...window.measured };
      if (!window.measured) {
        const seen = (entries) => entries.forEach(({ duration }) => (measured.longest = Math.max(measured.longest, duration)));
        new PerformanceObserver((list) => seen(list.getEntries())).observe({ type: "longtask" });
        const count = () => (measured.rows = Math.max(measured.rows, rowsNow()));
        new MutationObserver(count).observe(document.body, { childList: true, subtree: true });
      }
      window.measured = { longest: 0, rows: rowsNow() };
      return before;
    });
    tab.cost = { seconds: seconds - (tab.seconds ?? seconds), longest_ms: longest ?? 0, rows: rows ?? 0 };
    tab.seconds = seconds;
  },
  // Another page in the place of the one that was loaded, whose address and origin it has.
  async become(tab, { path }) {
    await tab.page.setContent(await readFile(path, "utf8"));
  },
  async goto(tab, { url }) {
    await tab.page.goto(url);
  },
  async reload(tab) {
    await tab.page.reload();
  },
};

const [executablePath] = process.argv.slice(2);
const browser = await chromium.launch({ executablePath, headless: true, chromiumSandbox: false, args: FLAGS });
const tabs = new Map();

async function run({ command, tab: name, ...options }) {
  if (command === "open") {
    const context = await browser.newContext({ viewport: { width: 640, height: 640 } });
    const tab = new Tab(await context.newPage());
    tabs.set(name, tab);
    await tab.page.goto(options.url);
    return await tab.state();
  }
  const tab = tabs.get(name);
  if (command === "close") {
    await tab.page.screenshot({ path: options.screenshot });
    return await tab.page.context().close();
  }
  try {
    await commands[command](tab, options);
  } catch (error) {
    const state = await tab.state().catch(String);
    throw new Error(`${error.message}\n${JSON.stringify(state, null, 1)}`, { cause: error });
  }
  return await tab.state();
}

const say = (answer) => process.stdout.write(`${JSON.stringify(answer)}\n`);

const lines = createInterface({ input: process.stdin });
const ended = once(lines, "close");
let last = Promise.resolve();
lines.on("line", (line) => {
  last = last
    .then(() => run(JSON.parse(line)))
    .then((state) => say({ state: state ?? null }))
    .catch((error) => say({ problem: error.message }));
});
await ended;
await last;
await browser.close();
