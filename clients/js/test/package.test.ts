/** The package as it is published: built, packed, and installed in an empty directory from its tarball. */
import { execFile } from "node:child_process";
import { cp, lstat, mkdtemp, readdir, readFile, realpath, rm, symlink, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

// Bytes, minified and gzipped, without React. 330 of them renew a token on the open socket: sessions outlive tokens. 80 keep
// a watcher of some runs from asking at each gap, 75 tell a refused token from the one after it, and with 100 a run that its
// token did not show is read when another does.
const MOST = { ".": 10_300, "./react": 10_800 };
const ours = fileURLToPath(new URL("..", import.meta.url));
const run = promisify(execFile);

let place: string;
let packed: { files: { path: string }[]; filename: string };

/** A program of Node's in the directory where the package is installed. */
const node = (code: string) => run(process.execPath, ["--input-type=module", "--eval", code], { cwd: place });

beforeAll(async () => {
  place = await mkdtemp(join(tmpdir(), "runfeed-package-"));
  await run("npm", ["run", "build"], { cwd: ours });
  const { stdout } = await run("npm", ["pack", "--json", "--pack-destination", place], { cwd: ours });
  packed = JSON.parse(stdout.slice(stdout.indexOf("[\n")))[0] as typeof packed;
  await writeFile(join(place, "package.json"), JSON.stringify({ private: true, type: "module" }));
  await run("npm", ["install", "--offline", "--no-audit", "--no-fund", "--omit=peer", packed.filename], { cwd: place });
}, 60_000);
afterAll(() => rm(place, { recursive: true }));

describe("the package", () => {
  test("holds what is run, what it was made from, the README and the licence, and nothing else", async () => {
    const sources = (await readdir(join(ours, "src"))).map((name) => name.replace(/\.ts$/, ""));
    const made = sources.flatMap((name) => [".js", ".js.map", ".d.ts"].map((end) => `dist/${name}${end}`));
    const wanted = [...made, ...sources.map((name) => `src/${name}.ts`), "LICENSE", "README.md", "package.json"];

    expect(packed.files.map(({ path }) => path).sort()).toEqual(wanted.sort());
  });

  test("has the licence of the whole", async () => {
    expect(await readFile(join(ours, "LICENSE"), "utf8")).toBe(await readFile(join(ours, "../../LICENSE"), "utf8"));
  });

  test("needs no other package at run time, but React where it is asked for", async () => {
    const said = JSON.parse(await readFile(join(ours, "package.json"), "utf8"));

    expect(said.dependencies).toBeUndefined();
    expect(said.peerDependenciesMeta).toEqual({ react: { optional: true } });
    expect((await readdir(join(place, "node_modules"))).filter((name) => !name.startsWith("."))).toEqual(["runfeed"]);
  });

  test("is imported by plain Node, and says what it has", async () => {
    const { stdout } = await node('console.log(Object.keys(await import("runfeed")).sort().join())');

    expect(stdout.trim()).toBe("Runfeed,RunfeedError");
  });

  test("without React fails at its React half alone, and names what is missing", async () => {
    await expect(node('await import("runfeed/react")')).rejects.toThrow(/Cannot find package 'react'/);
  });

  test("shows nothing of its insides", async () => {
    await expect(node('await import("runfeed/dist/machine.js")')).rejects.toThrow(/ERR_PACKAGE_PATH_NOT_EXPORTED/);
  });

  test("with React is imported by plain Node", async () => {
    await symlink(join(ours, "node_modules", "react"), join(place, "node_modules", "react"));
    const { stdout } = await node('console.log(Object.keys(await import("runfeed/react")).sort().join())');

    expect(stdout.trim()).toBe("Runfeed,RunfeedError,RunfeedProvider,useConnection,useRunEvents,useRunfeed");
  });
});

test("installed from its folder as the README says, it has the application's React and none of its own", async () => {
  const app = await mkdtemp(join(tmpdir(), "runfeed-app-"));
  try {
    await writeFile(join(app, "package.json"), JSON.stringify({ private: true, type: "module" }));
    await run("npm", ["install", "--install-links", "--offline", "--no-audit", "--no-fund", ours], { cwd: app });
    await cp(join(ours, "node_modules", "react"), join(app, "node_modules", "react"), { recursive: true });
    const folder = join(app, "node_modules", "runfeed");
    // As a bundler looks for it: from where the file really is, which behind a link is beside the React of our tests.
    const { resolve } = createRequire(await realpath(join(folder, "dist", "react.js")));

    expect(await readFile(join(ours, "../../README.md"), "utf8")).toMatch(/^npm install --install-links \.\/clients\/js\b/m);
    expect((await lstat(folder)).isDirectory()).toBe(true);
    expect(await readdir(folder)).not.toContain("node_modules");
    expect(resolve("react")).toBe(await realpath(join(app, "node_modules", "react", "index.js")));
  } finally {
    await rm(app, { recursive: true });
  }
}, 60_000);

test("the README's examples are good TypeScript, by the types that are published", async () => {
  const readme = await readFile(join(ours, "README.md"), "utf8");
  const examples = [...readme.matchAll(/```(tsx?)\n([^]*?)```/g)];
  for (const [index, [, end, code]] of examples.entries()) await writeFile(join(place, `example-${index}.${end}`), code as string);
  await rm(join(place, "node_modules", "@types"), { recursive: true, force: true });
  for (const name of ["@types", "ws"]) await symlink(join(ours, "node_modules", name), join(place, "node_modules", name));
  const options = ["--strict", "--noEmit", "--module", "nodenext", "--target", "es2022", "--jsx", "react-jsx"];
  const files = examples.map(([, end], index) => `example-${index}.${end}`);
  const tsc = join(ours, "node_modules", ".bin", "tsc");
  const { stdout } = await run(tsc, [...options, ...files], { cwd: place }).catch((failed: { stdout: string }) => failed);

  expect([examples.length, stdout]).toEqual([3, ""]);
});

describe("in a page's bundle", () => {
  test.each(Object.entries(MOST))("%s costs no more than %i bytes", async (entry, most) => {
    const name = entry === "." ? "index" : "react";
    const { outputFiles } = await build({
      entryPoints: [join(place, "node_modules", "runfeed", "dist", `${name}.js`)],
      bundle: true, minify: true, write: false, format: "esm", target: "es2022", external: ["react"],
    });
    const code = outputFiles[0]?.contents as Uint8Array;
    const bytes = gzipSync(code, { level: 9 }).length;
    console.info(`${entry}: ${code.length} bytes minified, ${bytes} gzipped`);

    expect(code.length).toBeGreaterThan(10_000); // it is all there
    expect(bytes).toBeLessThanOrEqual(most);
  });
});
