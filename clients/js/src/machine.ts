/**
 * A client of one user's feed: what it knows, and what it does next. Pure: it opens, asks and waits for nothing itself;
 * times are arguments, in milliseconds, and so is chance. tests/contract/client.json says what it must do.
 *
 * One cursor goes through everything. A stream brings events from the cursor on; a poll brings what is behind it; each
 * subscription reads its history once, up to where the stream is, and is then given every event once and in order.
 */
import { type Action, type Answer, errorOf, placeOf, type Request } from "./actions.js";
import { type Asked, LOAD_EVENTS, LOADS, POLL_EVENTS, Requests } from "./asked.js";
import { backoff, Link, START } from "./link.js";
import { HOLE, Order } from "./order.js";
import { Pace } from "./pace.js";
import { CLOSED, mayFilter, parseObject, RunfeedError } from "./protocol.js";
import type { Cause, RunEvent, Status, Stream, Transport } from "./protocol.js";
import { Renewal } from "./renewal.js";
import { FEED, Subscription } from "./subscription.js";
import { Watchers } from "./watchers.js";


export interface MachineOptions {
  /** ms of silence before a poll. */
  readonly pollInterval?: number;
  /** What can be opened here, the best first. */
  readonly kinds?: readonly Stream[];
  /** 0 to 1. */
  readonly random?: () => number;
}

export class Machine {
  readonly link: Link;
  epoch: string | null = null;
  failed: RunfeedError | null = null;
  /** Polls that were answered. */
  polls = 0;
  readonly #order = new Order();
  readonly #pace: Pace;
  readonly #random: () => number;
  readonly #watchers = new Watchers((action) => this.#actions.push(action));
  readonly #requests = new Requests((action) => this.#actions.push(action));
  readonly #renewal = new Renewal(this.#requests, (action) => this.#actions.push(action));
  #actions: Action[] = [];
  #startBy = 0; // until when the first history is waited for
  #resumes = true; // this hub has a history
  #wider = false; // more may be shown by now than the stream shows: somebody came, or the hub said so
  #anywhere = false; // the stream was opened without a cursor
  #pollBrought = false; // an earlier page of this poll had events

  constructor({ pollInterval = 4_000, kinds = ["websocket", "sse"], random = Math.random }: MachineOptions = {}) {
    this.link = new Link(kinds);
    this.#pace = new Pace(pollInterval);
    this.#random = random;
  }

  /** What is to be done since this was last asked, in order. */
  actions(): Action[] {
    const actions = this.#actions;
    this.#actions = [];
    return actions;
  }

  /** Everything of the feed up to this id has come; null: nobody knows yet where the feed is. */
  get cursor(): number | null {
    return this.#order.cursor;
  }

  get transport(): Transport {
    if (this.link.state === "open") return this.link.kind;
    return this.polls > 0 && this.failed === null ? "poll" : "none";
  }

  /** When `tick` is to be called next, or null. */
  get due(): number | null {
    if (this.failed !== null) return null;
    const waits = this.link.state === "waiting" && this.link.due !== null;
    const times = [waits ? this.#connectAt() : this.link.due];
    if (this.#mayPoll()) times.push(this.#pace.due, this.#order.holeAt);
    if (this.#requests.loads < LOADS) times.push(...this.#watchers.unread().map((each) => each.due));
    const known = times.filter((time) => time !== null);
    return known.length > 0 ? Math.min(...known) : null;
  }

  // What the application wants.

  /** after: begin behind this id; null: a run from its beginning, the feed with what comes next. */
  watch(now: number, key: string, after: number | null): void {
    if (this.failed !== null || this.#watchers.has(key)) return;
    if (this.#watchers.size === 0) this.#startBy = now + START;
    const position = key === FEED ? after : (after ?? 0);
    const subscription = new Subscription(key, position, this.cursor ?? 0, now);
    this.#watchers.add(subscription);
    if (position === null && this.cursor !== null) this.#watchers.complete(subscription, this.cursor, null);
    this.link.want(now);
    this.#wider = this.link.live;
    this.#pace.heard(now);
    this.tick(now);
  }

  unwatch(now: number, key: string): void {
    const subscription = this.#watchers.remove(key);
    if (subscription !== undefined) this.#requests.forget(subscription);
    if (this.#watchers.size === 0) {
      this.#leave();
      this.#order.begin(null);
    } else this.tick(now);
  }

  /** Ask now whether anything is missing. */
  refresh(now: number): void {
    this.#poll("forced");
    this.tick(now);
  }

  /** The page is looked at again, or there is a network again. */
  wake(now: number): void {
    if (this.link.isStale(now)) this.#lost(now, 4410, "");
    this.link.hurry(now);
    this.tick(now);
  }

  // What the stream says.

  /** It is open, and nothing will be said about that: no control frames are spoken here. */
  opened(now: number): void {
    if (this.link.state === "connecting") this.#open(now, null, this.link.kind === "sse");
    this.tick(now);
  }

  /** A text that came: an event or a control frame. Anything else is ignored, as the contract has it. */
  message(now: number, text: string): void {
    const said = parseObject(text);
    if (said === null || !this.link.live) return;
    this.link.heard(now);
    if (said["control"] === true && said["username"] === undefined) {
      this.#control(now, said);
    } else if (typeof said["run_id"] === "string" && typeof said["type"] === "string") {
      this.#pace.news(now);
      this.#arrive(now, said as unknown as RunEvent);
    }
    this.tick(now);
  }

  /** A comment of the stream's: it lives, and has been given all up to `head`. */
  beat(now: number, head: number | null): void {
    if (!this.link.live) return;
    this.link.heard(now);
    this.#pace.heard(now);
    if (head !== null) this.#head(now, head);
    this.tick(now);
  }

  closed(now: number, code: number, reason: string): void {
    if (!this.link.live) return;
    this.#lost(now, code, reason, false);
    this.tick(now);
  }

  #control(now: number, said: Record<string, unknown>): void {
    if (said["type"] === "closing") {
      if (typeof said["retry_in_ms"] === "number") this.link.told = said["retry_in_ms"];
      if (said["reason"] === "no_history") this.#resumes = false;
      return;
    }
    if (said["type"] === "auth_expiring") return this.#renewal.expiring();
    if (said["wider"]) this.#wider = true; // said by `authenticated`
    if (said["type"] === "authenticated") return this.#renewal.authenticated();
    if (said["type"] === "token_expired") return this.#expired(now);
    const told = said["type"] === "reset";
    let [epoch, head] = placeOf(said);
    if (told || this.#isForeign(epoch)) {
      if (!told && !this.#anywhere) head = null; // a replay's may be one of the numbering before
      this.#reset(now, epoch, head, head !== null);
    }
    this.epoch = epoch ?? this.epoch;
    if (said["type"] === "connected" && this.link.live) this.#open(now, head, true); // a reset may have closed it
    this.#pace.heard(now);
    if (head !== null) this.#head(now, head);
    // Where it begins beyond what has come, a poll has to bring what is between; it is then heard like any other.
    if (said["partial"] && head !== null) this.#order.partial = head <= (this.cursor as number);
  }

  /** A stream on which nothing can be sent ends with its token. */
  #expired(now: number): void {
    this.#actions.push({ do: "disconnect" });
    this.#renewal.over();
    this.link.expired(now, this.#random());
  }

  #open(now: number, head: number | null, beats: boolean): void {
    const again = this.link.everOpen;
    this.link.opened(now, beats);
    this.#renewal.opened();
    this.#pace.heard(now);
    if (!this.#anywhere || this.cursor === null) return;
    // It began where it is, and we were somewhere already. What is between a poll brings; the first time, that is a
    // history that nobody has read yet, and no loss.
    if (again) {
      if (head === null) this.#poll("ws_gap");
    } else if (head === null || head > this.cursor) {
      this.#order.begin(head);
      for (const each of this.#watchers) each.reload(head ?? 0, now);
    }
  }

  /** This is where the feed is; everything behind it is for histories to bring. */
  #anchor(now: number, head: number): void {
    this.#order.begin(head);
    this.#watchers.anchor(now, head, this.epoch);
  }

  /** The hub says how far this stream has come: further than we are means that something was lost on the way. */
  #head(now: number, head: number): void {
    if (this.cursor === null) return this.#anchor(now, head);
    this.#order.told(head);
    this.#order.watch(now + HOLE);
  }

  #arrive(now: number, event: RunEvent): void {
    if (typeof event.id !== "number") return this.#watchers.spread(event);
    if (this.cursor === null) this.#anchor(now, event.id - 1);
    for (const each of this.#order.arrive(event)) this.#watchers.spread(each);
    this.#order.watch(now + HOLE);
  }

  // What requests come to.

  answered(now: number, id: number, answer: Answer): void {
    const asked = this.#requests.answered(id);
    if (asked === undefined) return;
    if (answer.status === 200 && answer.body !== null) this.#good(now, asked, answer.body);
    else this.#bad(now, asked, answer);
    this.tick(now);
  }

  #good(now: number, asked: Asked, body: Record<string, unknown>): void {
    const [epoch, known] = placeOf(body);
    if (this.#isForeign(epoch)) return this.#reset(now, epoch, known);
    this.epoch = epoch ?? this.epoch;
    this.#renewal.answered(asked.request.id);
    const events = (Array.isArray(body["events"]) ? body["events"] : []) as RunEvent[];
    const head = known ?? 0;
    if (asked.subscription === null) this.#polled(now, asked, events, Number(body["next"] ?? 0), head);
    else this.#loaded(now, asked.subscription, asked.request, events, body, head);
  }

  #loaded(
    now: number, to: Subscription, request: Request, events: RunEvent[], body: Record<string, unknown>, head: number,
  ): void {
    to.failures = 0;
    this.#pace.heard(now);
    let status: Status | null = null;
    if (request.after !== null) {
      for (const event of events) if (to.read(event)) this.#watchers.give(to, event);
      const last = events.at(-1);
      const complete = to.key === FEED
        ? Number(body["next"] ?? 0) >= head
        : events.length < request.limit || last?.seq === body["last_seq"];
      if (!complete) return; // the next page is due at once
      if (typeof body["status"] === "string") status = body["status"] as Status;
      if (status !== null && CLOSED.includes(status)) to.ended = true;
    }
    if (this.cursor === null) this.#anchor(now, head);
    if (to.loaded || request.after === null) return; // an answer without a history only says where the feed is
    this.#watchers.complete(to, head, status);
    to.due = events.length > 0 ? now : now + HOLE; // not even what the stream told of is there yet
  }

  #polled(now: number, { request, scope }: Asked, events: RunEvent[], next: number, head: number): void {
    this.polls += 1;
    const cursor = this.cursor as number;
    if (next > cursor) this.#watchers.reload(now, next, scope); // first: what they are given now may not be the next
    for (const event of events) {
      if ((event.id as number) <= cursor) continue;
      this.#pollBrought = true;
      this.#watchers.spread(event);
    }
    for (const each of this.#order.advance(next)) this.#watchers.spread(each);
    if (next < head) return this.#poll(request.cause as Cause);
    if (this.#pollBrought) this.#pace.news(now);
    else this.#pace.nothing(now);
    this.#pollBrought = false;
    this.#order.watchLater(this.#pace.due);
  }

  #bad(now: number, { subscription, request }: Asked, { status, body, wait = 0 }: Answer): void {
    const error = errorOf({ status, body });
    if (status === 410) return this.#reset(now, ...placeOf(body ?? {}));
    const refused = status === 401 && this.#renewal.refused(request.id);
    const passing = refused || status === 0 || status === 404 || status === 408 || status === 429 || status >= 500;
    if (!passing) return this.#fail(error);
    this.#startBy = now; // no history to wait for
    if (subscription === null) {
      this.#pace.nothing(now, wait);
      this.#order.watchLater(this.#pace.due);
      return;
    }
    if (refused) return;
    this.#actions.push({ do: "problem", to: subscription.key, error });
    if (status === 404 && this.cursor !== null) return this.#watchers.missing(subscription, this.#pace.due);
    const after = status === 404 ? this.#pace.due - now : backoff(1 + subscription.failures++, this.#random());
    subscription.due = now + Math.max(after, wait, 1);
  }

  // What time brings.

  tick(now: number): void {
    if (this.failed !== null) return;
    if (this.link.isDead(now)) this.#lost(now, 4410, "");
    if (this.#order.partial && this.#wider) {
      this.#requests.forget(null); // a poll of before knows less
      this.#lost(now, 1001, "retry in 0 ms"); // for one that shows all there is
    }
    if (this.link.state === "waiting" && this.link.due !== null && now >= this.#connectAt()) this.#connect(now);
    if (this.#mayPoll()) {
      if (now >= (this.#order.holeAt ?? Infinity)) this.#poll("ws_gap");
      else if (now >= this.#pace.due) this.#poll(this.link.cause);
    }
    for (const each of this.#watchers.unread()) {
      if (now < each.due || this.#requests.loads >= LOADS) continue;
      const run = each.key === FEED ? {} : { run: each.key };
      const limit = each.position === null ? 1 : LOAD_EVENTS;
      this.#requests.ask({ ...run, after: each.position, epoch: each.position ? this.epoch : null, limit }, each);
    }
  }

  #connectAt(): number {
    return this.cursor === null ? Math.max(this.link.retryAt, this.#startBy) : this.link.retryAt;
  }

  #connect(now: number): void {
    const after = this.#resumes ? this.cursor : null;
    this.#anywhere = after === null;
    this.#order.partial = this.#wider = false;
    this.#renewal.connects();
    this.#watchers.again(now, this.cursor ?? 0);
    this.#actions.push({ do: "connect", kind: this.link.connect(now), after, epoch: after === null ? null : this.epoch });
  }

  #mayPoll(): boolean {
    return this.cursor !== null && !this.#requests.polling && this.#watchers.active().length > 0;
  }

  #poll(cause: Cause): void {
    if (!this.#mayPoll() || this.failed !== null) return;
    this.#order.holeAt = null;
    const scope = this.#watchers.active();
    const runs = scope.map((each) => each.key);
    const filter = mayFilter(runs) ? { runs } : {};
    const request = { ...filter, after: this.cursor, epoch: this.epoch, limit: POLL_EVENTS, cause };
    this.#requests.ask(request, null, new Set(scope));
  }

  // Ends.

  #isForeign(epoch: string | null): boolean {
    return epoch !== null && this.epoch !== null && epoch !== this.epoch;
  }

  /** What was shown is void. head: all goes on behind it, this stream too if it stays; null: it is yet to be heard. */
  #reset(now: number, epoch: string | null, head: number | null, stays = false): void {
    this.epoch = epoch;
    this.#order.begin(head);
    this.#forget();
    this.#pace.heard(now);
    this.#watchers.reset(now, head, epoch);
    if (head === null) {
      this.link.everOpen = false;
      this.#startBy = now + START;
    }
    if (this.link.live && !stays) this.#lost(now, 1001, "retry in 0 ms");
  }

  #lost(now: number, code: number, reason: string, disconnect = true): void {
    if (disconnect) this.#actions.push({ do: "disconnect" });
    const comeback = this.link.lost(now, code, reason, this.#random());
    if (code === 4401 && this.#renewal.over()) return;
    if (comeback === "never") this.#fail(new RunfeedError("refused", reason || `the hub closed with ${code}`, code));
    else if (comeback === "without_cursor") this.#reset(now, null, null);
  }

  #fail(error: RunfeedError): void {
    this.#leave();
    this.failed = error;
    this.#actions.push({ do: "fail", error });
  }

  #leave(): void {
    if (this.link.live) this.#actions.push({ do: "disconnect" });
    this.link.leave();
    this.#forget();
  }

  /** Whatever is answered now is of no interest any more. */
  #forget(): void {
    this.#requests.forget();
    this.#pollBrought = false;
    this.#order.holeAt = null;
  }
}
