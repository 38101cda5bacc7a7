/** A watch token as a page reads it: whose it is, of which runs, until when. That proves nothing: the services judge it. */
import { parseObject, RUN_ID, USERNAME } from "../../../js/src/protocol.js";

const LONGEST = 8_192; // characters
const APART = 60; // s: the services' clocks and ours

export interface About {
  readonly user: string | null;
  /** The only ones that it shows; null: all of the user's. */
  readonly runs: readonly string[] | null;
  /** Unix seconds. */
  readonly until: number | null;
}

/** What the API said of a token: 0 when it said nothing. */
export interface Judged {
  readonly status: number;
  readonly code: string;
  readonly detail: string;
}

export const NO_TOKEN: About = { user: null, runs: null, until: null };
export const MISSING = "Without one it answers 401.";
export const OVER = "The token has ended.";

/** Why this text can be no token, in a sentence; null: it may be one. */
export function wrongWith(text: string): string | null {
  if (text === "") return "A token is needed.";
  if (text.startsWith("rfk_")) return "That is an API key, which opens no stream. A key that may mint makes tokens.";
  if (text.length > LONGEST) return `A token has at most ${LONGEST} characters.`;
  return /^[\w-]+\.[\w-]+\.[\w-]+$/.test(text) ? null : "That is no token: one has three parts, with a dot between them.";
}

/** Never throws, whatever the text is. */
export function aboutOf(token: string): About {
  const claims = payloadOf(token);
  const { sub, run_ids: runs, exp } = claims ?? {};
  return {
    user: typeof sub === "string" && USERNAME.test(sub) ? sub : null,
    runs: Array.isArray(runs) ? runs.filter((each): each is string => typeof each === "string" && RUN_ID.test(each)) : null,
    until: typeof exp === "number" && Number.isFinite(exp) ? exp : null,
  };
}

function payloadOf(token: string): Record<string, unknown> | null {
  try {
    const text = atob((token.split(".")[1] ?? "").replaceAll("-", "+").replaceAll("_", "/"));
    return parseObject(new TextDecoder().decode(Uint8Array.from(text, (each) => each.charCodeAt(0))));
  } catch {
    return null;
  }
}

/** Whether both show the same: who watches by the one goes on by the other. */
export function sameScope(a: About, b: About): boolean {
  return a.user === b.user && JSON.stringify(a.runs) === JSON.stringify(b.runs);
}

/** Why a token that was offered is not taken; null: it is. */
export function refusalOf({ status, code, detail }: Judged): string | null {
  if (status === 401) {
    const known: Record<string, string> = { token_expired: "That token has ended.", token_revoked: "That token was revoked." };
    return known[code] ?? `The API refuses it: ${detail}.`;
  }
  if (status === 0) return "The API does not answer, so nobody knows whether it is good. Try again.";
  return status === 429 || status >= 500 ? `The API cannot tell now: ${detail}. Try again.` : null;
}

/** Why, as long as the API takes it. */
export const UNSAID = "The hub refused the token.";

/** Why another token is wanted, when a service says that this one ran out or takes it no longer. now: unix seconds. */
export function endingOf({ status, code, detail }: Judged, { until }: About, now: number): string {
  if (code === "token_revoked") return "The token was revoked.";
  if (code === "token_expired") return OVER;
  if (status === 401) return `The token is refused: ${detail}.`;
  if (until !== null && until - now < APART) return OVER; // the hub was first to say so
  return status === 0 ? "The token was refused, and the API does not say why." : UNSAID;
}
