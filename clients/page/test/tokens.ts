/** Tokens, and where a tab keeps them. */

/** A token with these claims, signed by nobody. */
export function token(claims: unknown, signature = "s"): string {
  const part = (value: unknown): string => {
    const bytes = new TextEncoder().encode(typeof value === "string" ? value : JSON.stringify(value));
    return btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
  };
  return `${part({ alg: "HS256" })}.${part(claims)}.${signature}`;
}

/** A sessionStorage of these. */
export function storage(kept: Map<string, string>): Pick<Storage, "getItem" | "setItem" | "removeItem"> {
  return {
    getItem: (key) => kept.get(key) ?? null,
    setItem: (key, value) => void kept.set(key, value),
    removeItem: (key) => void kept.delete(key),
  };
}
