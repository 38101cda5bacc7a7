/** Which view an address asks for. */
import { RUN_ID, USERNAME } from "../../../js/src/protocol.js";

export type Route =
  | { readonly view: "start" }
  | { readonly view: "user"; readonly user: string }
  | { readonly view: "run"; readonly user: string; readonly run: string }
  | { readonly view: "wrong"; readonly what: string; readonly rule: string };

export const USER_RULE =
  "A username has 1 to 128 characters. It begins with a letter (a to z, A to Z) or a digit; after that it may also have . _ @ | : + and -";
export const RUN_RULE =
  "A run id has 1 to 128 characters. It begins with a letter (a to z, A to Z) or a digit; after that it may also have . _ : @ and -";

export function isUsername(name: string): boolean {
  return USERNAME.test(name);
}

export function userHref(user: string): string {
  return `#/users/${encodeURIComponent(user)}`;
}

export function runHref(user: string, run: string): string {
  return `${userHref(user)}/runs/${encodeURIComponent(run)}`;
}

/** The route of a hash, with or without its `#`. */
export function parseRoute(hash: string): Route {
  const parts = hash.replace(/^#?\/*/, "").replace(/\/+$/, "").split("/");
  if (parts.length === 1 && parts[0] === "") return { view: "start" };
  const [users, rawUser, runs, rawRun] = parts;
  if (users !== "users" || rawUser === undefined || parts.length > 4) return nowhere(hash);
  const user = decoded(rawUser);
  if (!isUsername(user)) return { view: "wrong", what: `“${user}” is not a username`, rule: USER_RULE };
  if (runs === undefined || (runs === "runs" && rawRun === undefined)) return { view: "user", user };
  if (runs !== "runs") return nowhere(hash);
  const run = decoded(rawRun ?? "");
  if (!RUN_ID.test(run)) return { view: "wrong", what: `“${run}” is not a run id`, rule: RUN_RULE };
  return { view: "run", user, run };
}

function nowhere(hash: string): Route {
  return { view: "wrong", what: `There is nothing at ${hash}`, rule: "Addresses here are #/users/NAME and #/users/NAME/runs/RUN" };
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}
