import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Access } from "../src/access.js";
import { aboutOf, endingOf, MISSING, OVER, refusalOf, sameScope, wrongWith } from "../src/model/token.js";
import { isRefused, wantsToken, wordsOf } from "../src/model/trouble.js";
import { storage, token } from "./tokens.js";

describe("a token", () => {
  it("says whose it is, of which runs and until when", () => {
    expect(aboutOf(token({ sub: "alice", exp: 9 }))).toEqual({ user: "alice", runs: null, until: 9 });
    expect(aboutOf(token({ sub: "a+b@c", run_ids: ["r:1", "r2"], exp: 1.5 }))).toEqual({ user: "a+b@c", runs: ["r:1", "r2"], until: 1.5 });
    expect(aboutOf(token({ sub: "alice", note: "äöü ✓ ÿþ" })).user).toBe("alice");
  });

  it.each([
    "", "a", "a.b", "a.b.c", "..", "a.%%%.c", `a.${"A".repeat(9_000)}.c`, token("no JSON"), token([1]), token(null), token("{"), token(7),
    token({ sub: 7, run_ids: "r", exp: "soon" }), token({ sub: "<b>", exp: null }), token({ sub: "a/b" }),
  ])("of which nothing can be read is no reason to break (%#)", (text) => {
    expect(aboutOf(text)).toEqual({ user: null, runs: null, until: null });
  });

  it("names only what can be a run", () => {
    expect(aboutOf(token({ run_ids: ["r", 7, null, "a/b", "javascript:x y"] })).runs).toEqual(["r"]);
  });

  it("is told from what is none", () => {
    expect(wrongWith(token({}))).toBeNull();
    expect(wrongWith("")).toMatch(/needed/);
    expect(wrongWith("rfk_a.b.c")).toMatch(/API key/);
    for (const text of ["a.b", "a.b.c.d", "a b.c.d", "ä.b.c", "a..c"]) expect(wrongWith(text), text).toMatch(/no token/);
    expect(wrongWith(`a.${"b".repeat(8_192)}.c`)).toMatch(/at most/);
  });

  it("is followed by one that shows the same, or not", () => {
    const [all, some] = [aboutOf(token({ sub: "a", exp: 1 })), aboutOf(token({ sub: "a", run_ids: ["r"] }))];
    expect([sameScope(all, aboutOf(token({ sub: "a", exp: 2 }))), sameScope(all, some), sameScope(all, aboutOf(token({ sub: "b" })))]).toEqual([true, false, false]);
  });

  it("is taken or not by what the API says", () => {
    const said = (status: number, code = "", detail = "the token's x"): string | null => refusalOf({ status, code, detail });
    expect([said(200), said(403, "forbidden")]).toEqual([null, null]);
    expect(said(401, "token_expired")).toBe("That token has ended.");
    expect(said(401, "token_revoked")).toBe("That token was revoked.");
    expect(said(401, "token_invalid")).toBe("The API refuses it: the token's x.");
    expect(said(0)).toMatch(/does not answer/);
    expect(said(503, "store_away", "no database")).toMatch(/cannot tell now: no database/);
  });

  it("ends in words that are true", () => {
    const end = (status: number, code: string, until: number | null = 1_000): string => endingOf({ status, code, detail: "why" }, { user: "a", runs: null, until }, 900);
    expect(end(401, "token_revoked")).toBe("The token was revoked.");
    expect(end(401, "token_expired")).toBe(OVER);
    expect(end(401, "token_invalid")).toBe("The token is refused: why.");
    expect([end(200, "", 930), end(200, "", 899), end(0, "", 899)]).toEqual([OVER, OVER, OVER]);
    expect([end(200, ""), end(200, "", null)]).toEqual(["The hub refused the token.", "The hub refused the token."]);
    expect(end(0, "")).toMatch(/does not say why/);
  });
});

describe("what is wrong", () => {
  const wrong = (code: string, status: number, message = "no") => ({ code, status, message });

  it("is said as it is", () => {
    expect(wordsOf(wrong("unreachable", 0))).toBe("The API does not answer.");
    expect(wordsOf(wrong("token_missing", 401, "this call needs a token"))).toBe("The API answers 401: this call needs a token.");
    expect(wordsOf(wrong("refused", 4403, "not yours"))).toBe("The hub refuses the stream: not yours.");
  });

  it("mends itself or not", () => {
    expect([0, 408, 429, 500, 503, 404].map((status) => isRefused(wrong("x", status)))).toEqual(Array(6).fill(false));
    expect([400, 401, 403, 4400, 4401, 4403].map((status) => isRefused(wrong("x", status)))).toEqual(Array(6).fill(true));
    expect([401, 4401, 403, 0].map((status) => wantsToken(wrong("x", status)))).toEqual([true, true, false, false]);
  });
});

describe("the page's token", () => {
  const ALICE = token({ sub: "alice", exp: 1_000 });
  const LATER = token({ sub: "alice", exp: 2_000 });
  let kept: Map<string, string>;
  let answers: [status: number, body: object][];
  let asked: [path: string, bearer: string | undefined][];

  beforeEach(() => {
    vi.useFakeTimers({ now: 900_000 });
    kept = new Map();
    answers = [];
    asked = [];
    vi.stubGlobal("sessionStorage", storage(kept));
    vi.stubGlobal("fetch", async (path: string, { headers }: { headers: Record<string, string> }) => {
      asked.push([path, headers["Authorization"]]);
      const [status, body] = answers.shift() ?? [200, {}];
      if (status === 0) throw new TypeError("no network");
      return { status, text: async () => JSON.stringify(body) };
    });
  });
  afterEach(() => {
    vi.useRealTimers();
    vi.unstubAllGlobals();
  });

  const settled = (): Promise<unknown> => vi.advanceTimersByTimeAsync(0);

  it("is asked for when the API refuses who has none, and taken when the API takes it", async () => {
    const access = new Access();
    access.refused(null);
    expect([access.wants, access.life]).toEqual([MISSING, 0]);
    expect(await access.offer(` ${ALICE}\n`)).toBeNull();
    expect([access.wants, access.life, access.token, access.about.user]).toEqual([null, 1, ALICE, "alice"]);
    expect(asked).toEqual([["api/v1/runs?limit=1", `Bearer ${ALICE}`]]);
    expect([...kept]).toEqual([["runfeed.token", ALICE]]);
  });

  it("is not taken when the API refuses it, nor sent when it is none", async () => {
    const access = new Access();
    access.refused(null);
    answers.push([401, { code: "token_expired", detail: "the token has expired" }]);
    expect(await access.offer(ALICE)).toBe("That token has ended.");
    expect(await access.offer("secret")).toMatch(/no token/);
    expect([access.wants, access.token, asked.length, kept.size]).toEqual([MISSING, null, 1, 0]);
  });

  it("is said to be revoked although the hub heard of it before the API", async () => {
    kept.set("runfeed.token", LATER);
    const access = new Access();
    answers.push([200, {}], [401, { code: "token_revoked", detail: "the token was revoked" }]);
    access.refused(LATER);
    await settled();
    expect([access.wants, asked.length]).toEqual(["The hub refused the token.", 1]);
    await vi.advanceTimersByTimeAsync(2_000);
    expect([access.wants, asked.length]).toEqual(["The token was revoked.", 2]);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(asked.length).toBe(2);
  });

  it("is there again after a reload, unless it was forgotten", async () => {
    kept.set("runfeed.token", ALICE);
    const access = new Access();
    expect([access.token, access.get({ renew: false })]).toEqual([ALICE, ALICE]);
    access.forget();
    expect([access.token, access.wants, access.life, kept.size]).toEqual([null, null, 1, 0]);
    access.refused(null);
    expect(access.wants).toMatch(/^The token is forgotten\./);
  });

  it("is not read where there is no storage, or it holds something else", async () => {
    kept.set("runfeed.token", "rubbish");
    expect(new Access().token).toBeNull();
    vi.stubGlobal("sessionStorage", undefined);
    const access = new Access();
    expect(await access.offer(ALICE)).toBeNull();
    expect(access.token).toBe(ALICE);
  });

  it("that ended is asked for again, once; who needs one waits, and goes on with the next", async () => {
    kept.set("runfeed.token", ALICE);
    const access = new Access();
    answers.push([401, { code: "token_revoked", detail: "the token was revoked" }]);
    const told: string[] = [];
    const waiting = [access.get({ renew: true }), access.get({ renew: true }), access.get({ renew: false })];
    for (const each of waiting) void Promise.resolve(each).then((got) => told.push(got));
    await settled();
    expect([access.wants, told, asked.length]).toEqual(["The token was revoked.", [], 1]);

    expect(await access.offer(LATER)).toBeNull();
    await settled();
    expect([told, access.life, access.wants, access.get({ renew: false })]).toEqual([[LATER, LATER, LATER], 0, null, LATER]);
  });

  it.each([
    ["another user's", token({ sub: "bob", exp: 2_000 }), false],
    ["for some runs", token({ sub: "alice", run_ids: ["r"] }), false],
    ["the same, when a client has given up", LATER, true],
  ])("that is followed by %s begins all anew", async (_, next, failed) => {
    kept.set("runfeed.token", ALICE);
    const access = new Access();
    if (failed) access.failed(ALICE);
    else void access.get({ renew: true });
    await settled();
    expect(await access.offer(next)).toBeNull();
    expect([access.life, access.token]).toEqual([1, next]);
  });

  it("is not asked for because of an older one's refusal", async () => {
    kept.set("runfeed.token", ALICE);
    const access = new Access();
    access.refused(LATER);
    access.refused(null);
    await settled();
    expect([access.wants, asked]).toEqual([null, []]);
  });

  it("is asked for at the start, where the services say that they want one", async () => {
    const access = new Access();
    answers.push([200, { auth: "insecure-username" }], [404, {}], [0, {}], [200, { auth: "jwt" }]);
    for (const wants of [null, null, null, MISSING]) {
      await access.ask();
      expect(access.wants).toBe(wants);
    }
    expect(asked).toEqual(Array(4).fill(["healthz", undefined]));
  });

  it.each([
    ["want none", [200, { auth: "insecure-username" }], null],
    ["want one", [200, { auth: "jwt" }], ALICE],
    ["do not say", [200, { status: "ok" }], ALICE],
    ["do not answer", [0, {}], ALICE],
  ] as [string, [number, object], string | null][])("that was kept is asked about, too: where the services %s", async (_, answer, token) => {
    kept.set("runfeed.token", ALICE);
    const access = new Access();
    answers.push(answer);
    await access.ask();
    expect([access.token, access.about.user, access.wants, access.life]).toEqual([token, token && "alice", null, token === null ? 1 : 0]);
    expect([asked, kept.get("runfeed.token") ?? null]).toEqual([[["healthz", undefined]], token]);
  });

  it("that another has followed meanwhile is not forgotten for an older one's answer", async () => {
    kept.set("runfeed.token", ALICE);
    const access = new Access();
    answers.push([200, { auth: "insecure-username" }]);
    const asking = access.ask();
    await access.offer(LATER);
    await asking;
    expect(access.token).toBe(LATER);
  });
});
