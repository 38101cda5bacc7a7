/** Whether a run is this user's: another's is not watched, for its ids are those of another feed. */

/** What the API said of a run. undefined: nothing yet; null: that it knows none. */
export type Said = { readonly username: string } | null | undefined;

/** wait: nobody knows yet whose it is. */
export type Owner = "ours" | "another" | "wait";

/** listed: it is in the user's list. A run that nobody has made yet may become ours: it is waited for. */
export function ownerOf(user: string, said: Said, listed: boolean): Owner {
  if (said) return said.username === user ? "ours" : "another";
  return listed || said === null ? "ours" : "wait";
}
