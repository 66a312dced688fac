/**
 * JSON schemas as lists that unfold.
 *
 * In:      a schema, and those that it refers to by name.
 * Out:     elements.
 */

import { element, fill } from "./element.js";

/** @typedef {Record<string, any>} Schema */

/** @param {Schema} schema @param {Record<string, Schema>} all */
const resolved = (schema, all) => (schema.$ref ? (all[nameOf(schema.$ref)] ?? {}) : schema);

/** @param {string} reference */
const nameOf = (reference) => reference.split("/").pop() ?? "";

/**
 * The type in a few words: `integer`, `list of Fault`, `number or null`.
 * @param {Schema} schema
 * @returns {string}
 */
export function kindOf(schema) {
  if (schema.$ref) return nameOf(schema.$ref);
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.enum) return schema.enum.map((/** @type {any} */ value) => JSON.stringify(value)).join(" or ");
  const either = schema.anyOf ?? (schema.properties ? null : schema.oneOf);
  if (either) return either.map(kindOf).join(" or ");
  if (schema.type === "array") return `list of ${schema.items ? kindOf(schema.items) : "anything"}`;
  if (schema.format === "binary") return "octets";
  if (schema.type === "object" && schema.additionalProperties?.type)
    return `object of ${kindOf(schema.additionalProperties)}`;
  return schema.type ?? "anything";
}

/**
 * The fields of an object, each with its type; nested ones unfold.
 * @param {Schema} schema
 * @param {Record<string, Schema>} all
 * @returns {HTMLElement}
 */
export function fields(schema, all) {
  const found = resolved(schema, all);
  const required = new Set(found.required ?? []);
  const rows = Object.entries(found.properties ?? {}).map(([name, part]) => {
    const words = [kindOf(part), required.has(name) ? "required" : "", limits(part)].filter(Boolean).join(", ");
    const head = [element("code", {}, name), ` ${words}`, part.description ? `: ${part.description}` : ""];
    const inner = inside(part, all);
    if (!inner) return element("li", {}, head);
    const unfolding = element("details", {}, element("summary", {}, head));
    unfolding.addEventListener("toggle", () => fill(unfolding, fields(inner, all)), { once: true });
    return element("li", {}, unfolding);
  });
  return rows.length ? element("ul", { className: "schema" }, rows) : element("p", {}, kindOf(schema));
}

/** @param {Schema} schema @param {Record<string, Schema>} all @returns {Schema | null} the first object in it */
function inside(schema, all) {
  const parts = [schema, schema.items, schema.additionalProperties, ...(schema.anyOf ?? []), ...(schema.oneOf ?? [])];
  const found = parts.filter((part) => typeof part === "object" && part).map((part) => resolved(part, all));
  return found.find((part) => part.properties) ?? null;
}

/** @param {Schema} schema */
function limits({ minimum, maximum, default: value }) {
  const from = minimum !== undefined ? `from ${minimum}` : "";
  const to = maximum !== undefined ? `to ${maximum}` : "";
  return [from, to, value !== undefined && value !== null ? `else ${JSON.stringify(value)}` : ""]
    .filter(Boolean)
    .join(" ");
}
