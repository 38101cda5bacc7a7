/** Light or dark: what the system says, unless the visitor said otherwise. */

export type Theme = "auto" | "light" | "dark";

const KEY = "runfeed.theme";

export function storedTheme(): Theme {
  const said = recall(KEY);
  return said === "light" || said === "dark" ? said : "auto";
}

export function applyTheme(theme: Theme): void {
  document.documentElement.dataset["theme"] = theme;
}

export function setTheme(theme: Theme): void {
  applyTheme(theme);
  remember(KEY, theme === "auto" ? null : theme);
  dispatchEvent(new Event("runfeed-theme"));
}

/** localStorage, where there is one: a page may be forbidden to have it. */
export function recall(key: string): string | null {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}

export function remember(key: string, value: string | null): void {
  try {
    if (value === null) localStorage.removeItem(key);
    else localStorage.setItem(key, value);
  } catch {
    // Then it is forgotten.
  }
}
