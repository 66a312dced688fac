/**
 * The reference of the server's routes, and a way to try each.
 *
 * In:      `/openapi.json`.
 * Out:     the page at `/docs`.
 */

import { ask, askJson } from "./address.js";
import { element, fault, ticked } from "./element.js";
import { offerKey } from "./key.js";
import { fields, kindOf } from "./schema.js";

const MOST_SHOWN = 20_000; // characters of an answer
const content = /** @type {HTMLElement} */ (document.querySelector("#content"));

/** @param {any} described */
function page(described) {
  const schemas = described.components?.schemas ?? {};
  const groups = /** @type {Map<string, HTMLElement[]>} */ (new Map());
  for (const [path, operations] of Object.entries(described.paths)) {
    for (const [method, operation] of Object.entries(/** @type {any} */ (operations))) {
      if (method === "head") continue; // as GET, without a body
      const group = operation.tags?.[0] ?? groupOf(path);
      groups.set(group, [...(groups.get(group) ?? []), operationOf(path, method, operation, schemas)]);
    }
  }
  return element(
    "div",
    {},
    element("h1", {}, `${described.info.title} ${described.info.version}`),
    element(
      "p",
      { className: "note" },
      described.info.description,
      " Every route that answers GET answers HEAD as well.",
    ),
    [...groups].flatMap(([group, operations]) => [element("h2", { className: "group" }, group), ...operations]),
  );
}

/** @param {string} path */
const groupOf = (path) =>
  /^\/(v1\/policies|act)/.test(path) ? "Policies" : /^\/v[12]\//.test(`${path}/`) ? "Other protocols" : "The server";

/** @param {string} path @param {string} method @param {any} operation @param {any} schemas */
function operationOf(path, method, operation, schemas) {
  const made = element(
    "details",
    { className: "panel operation" },
    element(
      "summary",
      {},
      element("span", { className: "method" }, method.toUpperCase()),
      element("span", { className: "path" }, path),
      operation.summary ?? "",
    ),
  );
  made.addEventListener("toggle", () => made.append(bodyOf(path, method, operation, schemas)), { once: true });
  return made;
}

/** @param {string} path @param {string} method @param {any} operation @param {any} schemas */
function bodyOf(path, method, operation, schemas) {
  const request = operation.requestBody?.content ?? {};
  return element(
    "div",
    {},
    operation.description && element("p", {}, ticked(operation.description)),
    needsKey(operation) && element("p", { className: "note" }, "Needs an API key."),
    Object.keys(request).length ? element("h3", {}, "Request") : null,
    Object.entries(request).map(([kind, { schema }]) => media(kind, schema, schemas)),
    element("h3", {}, "Answers"),
    element(
      "div",
      { className: "answers" },
      Object.entries(operation.responses ?? {}).map(([status, { description, content: kinds = {} }]) =>
        element(
          "details",
          { className: "answer" },
          element("summary", {}, element("code", {}, status), " ", ticked(description)),
          Object.entries(kinds).map(([kind, { schema }]) => media(kind, schema, schemas)),
        ),
      ),
    ),
    path.endsWith("/stream") ? null : trial(path, method, operation, request),
  );
}

/** @param {any} operation */
const needsKey = ({ security }) =>
  security?.length > 0 && security.every((/** @type {any} */ way) => Object.keys(way).length);

/** @param {string} kind @param {any} schema @param {any} schemas */
const media = (kind, schema, schemas) =>
  element(
    "div",
    {},
    element("code", {}, kind),
    ` ${schema ? kindOf(schema) : ""} ${schema?.description ?? ""}`,
    schema && schema.format !== "binary" && fields(schema, schemas),
  );

/** @param {string} path @param {string} method @param {any} operation @param {any} request */
function trial(path, method, operation, request) {
  const inputs = (operation.parameters ?? [])
    .filter((/** @type {any} */ { in: where }) => where === "path")
    .map((/** @type {any} */ { name }) => ({ name, input: element("input", { required: true, autocomplete: "off" }) }));
  const json = request["application/json"];
  const [first] = Object.values(json?.examples ?? {});
  const value = JSON.stringify(json?.example ?? first?.value ?? {}, null, 2);
  const body = json && element("textarea", { rows: 5, spellcheck: false, value });
  const answer = element("div", { "aria-live": "polite" });

  async function send(/** @type {Event} */ event) {
    event.preventDefault();
    const filled = inputs.reduce(
      (/** @type {string} */ text, /** @type {any} */ { name, input }) =>
        text.replace(`{${name}}`, encodeURIComponent(input.value)),
      path,
    );
    try {
      const response = await ask(filled.slice(1), { method: method.toUpperCase(), body: body?.value });
      answer.replaceChildren(
        element("p", {}, `${response.status}, ${response.headers.get("content-type")}`),
        await shown(response),
      );
    } catch (error) {
      answer.replaceChildren(fault(error));
    }
  }

  return element(
    "form",
    { className: "send", onsubmit: send },
    element("h3", {}, "Try it"),
    inputs.map((/** @type {any} */ { name, input }) => element("label", {}, name, input)),
    body && element("label", {}, "Body, JSON", body),
    element("div", {}, element("button", { className: "main" }, "Send")),
    answer,
  );
}

/** @param {Response} response */
async function shown(response) {
  const kind = response.headers.get("content-type") ?? "";
  if (!/json|text/.test(kind)) return element("p", {}, `${(await response.blob()).size} octets`);
  const text = await response.text();
  const pretty = kind.includes("json") ? JSON.stringify(JSON.parse(text), null, 2) : text;
  return element("pre", { tabIndex: 0 }, pretty.length > MOST_SHOWN ? `${pretty.slice(0, MOST_SHOWN)}…` : pretty);
}

async function read() {
  content.replaceChildren(await askJson("openapi.json").then(page, fault));
}

offerKey(/** @type {HTMLElement} */ (document.querySelector("#key")), read);
await read();
