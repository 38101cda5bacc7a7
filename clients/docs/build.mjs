/** Builds the page into orchestrator_api/docs: Swagger UI as its makers built it, and what is ours beside it. */
import { copyFile, mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const out = join(here, "../../orchestrator_api/docs");
const swagger = join(here, "node_modules/swagger-ui-dist");

await mkdir(out, { recursive: true });
for (const name of ["index.html", "docs.js", "docs.css"]) await copyFile(join(here, "src", name), join(out, name));
await copyFile(join(swagger, "swagger-ui-bundle.js"), join(out, "swagger-ui-bundle.js"));
// The map is not served: who opens the browser's tools would see it missing.
const style = await readFile(join(swagger, "swagger-ui.css"), "utf8");
await writeFile(join(out, "swagger-ui.css"), style.replace(/\n*\/\*# sourceMappingURL=.*\*\/\n*$/, "\n"));
// Its licenses come with it.
const licenses = ["NOTICE", "LICENSE", "swagger-ui-bundle.js.LICENSE.txt"];
const texts = await Promise.all(licenses.map((name) => readFile(join(swagger, name), "utf8")));
await writeFile(join(out, "swagger-ui-bundle.js.LICENSE.txt"), texts.join("\n\n"));
