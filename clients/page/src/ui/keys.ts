/** The keys that work everywhere; those of a list are the list's own. */
import { useEffect } from "preact/hooks";

/** `?` opens the help, `/` goes to the search. Not while something is typed. */
export function useShortcuts(help: () => void): void {
  useEffect(() => {
    const pressed = (event: KeyboardEvent): void => {
      if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || isTyping(event.target)) return;
      if (event.key === "?") help();
      else if (event.key !== "/") return;
      const search = document.querySelector<HTMLElement>("[data-search]");
      if (event.key === "/" && search === null) return;
      event.preventDefault();
      if (event.key === "/") search?.focus();
    };
    addEventListener("keydown", pressed);
    return () => removeEventListener("keydown", pressed);
  }, []);
}

export function isTyping(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && (target.closest("input, textarea, select, dialog") !== null || target.isContentEditable);
}
