import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

const old = fileURLToPath(new URL("test/react-18/node_modules/", import.meta.url));
const react = ["test/react*.test.tsx"];

/** The React tests once more, with the oldest React that the package says it runs with. */
const react18 = {
  extends: true as const,
  resolve: {
    alias: ["react", "react-dom", "@testing-library/react"].map((name) => ({
      find: new RegExp(`^${name}(?=/|$)`), replacement: old + name,
    })),
  },
  test: { name: "react 18", include: react, env: { REACT: "18" } },
};

const has18 = existsSync(`${old}react/package.json`);
if (!has18) {
  const said = "React 18 is not here: (cd test/react-18 && npm ci)";
  if (process.env["CI"] === "true") throw new Error(said);
  console.warn(`\nSKIPPED: the React tests with React 18. ${said}\n`);
}

export default defineConfig({
  test: {
    testTimeout: 20_000,
    projects: [
      { extends: true, test: { name: "all", include: ["test/*.test.{ts,tsx}"], env: { REACT: "19" } } },
      ...(has18 ? [react18] : []),
    ],
  },
});
