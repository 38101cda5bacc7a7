/** What is wrong, in words that are true: who did not answer, who refused, and whether it mends itself. */
import type { RunfeedError } from "../../../js/src/protocol.js";

type Wrong = Pick<RunfeedError, "code" | "status" | "message">;

/** Nobody may, who asks so: asking again changes nothing. 44..: the hub's close codes. */
export function isRefused({ status }: Wrong): boolean {
  return [400, 401, 403, 422].includes(status) || (status >= 4400 && status < 4500);
}

/** A token is wanted, or another one. */
export function wantsToken({ status }: Wrong): boolean {
  return status === 401 || status === 4401;
}

export function wordsOf({ code, status, message }: Wrong): string {
  if (code === "unreachable") return "The API does not answer.";
  if (code === "refused") return `The hub refuses the stream: ${message}.`;
  return status > 0 ? `The API answers ${status}: ${message}.` : `${message}.`;
}
