/** Shows the document. Everything comes from the service that serves the page; nothing is kept in the browser. */
const dark = matchMedia("(prefers-color-scheme: dark)");
const follow = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", follow);
follow();

SwaggerUIBundle({
  url: new URL("openapi.json", document.baseURI).href,
  dom_id: "#docs",
  deepLinking: true, // an address for each call
  defaultModelsExpandDepth: 0,
  displayRequestDuration: true,
  validatorUrl: null, // nobody else is told of the document
});
