import { render } from "preact";
import { App } from "./app.js";
import { applyTheme, storedTheme } from "./theme.js";

applyTheme(storedTheme()); // before anything is painted

addEventListener("DOMContentLoaded", () => {
  render(<App />, document.getElementById("app") as HTMLElement);
});
