/**
 * What a version answered: its action, its outputs as bars.
 *
 * In:      the answer of an act request, and the manifest.
 * Out:     elements.
 */

import { bars, short } from "./bars.js";
import { element } from "./element.js";
import { actionName, actionsOf, boundsOf, elementNames, isWhole, partOf, sizeOf } from "./spec.js";

/** @typedef {import("./spec.js").Manifest} Manifest */

const MOST_BARS = 64;

/**
 * @param {any} answer
 * @param {Manifest} manifest
 * @param {number} took_ms
 */
export function answerOf(answer, manifest, took_ms) {
  const actions = actionsOf(manifest);
  return [
    actions.map((spec) => actionPart(partOf(answer.action, spec), manifest, spec)),
    answer.guarded && element("p", { className: "fault" }, `The guard changed it: ${JSON.stringify(answer.guarded)}`),
    Object.entries(answer.outputs ?? {}).map(([name, value]) => output(name, value, answer, manifest)),
    element("p", { className: "note" }, `version ${answer.version}, answered in ${short(took_ms)} ms`),
  ].flat();
}

/** @param {any} value @param {Manifest} manifest @param {import("./spec.js").Spec} spec */
function actionPart(value, manifest, spec) {
  const title = spec.path?.length ? `${spec.path.join(".")}: ` : "";
  const elements = [value].flat(Infinity);
  if (isWhole(spec) && elements.length === 1) {
    return element("p", { className: "action" }, title, actionName(manifest, spec, elements[0]));
  }
  const names = elementNames(manifest, spec);
  const rows = elements.slice(0, MOST_BARS).map((number, i) => {
    const { name, unit } = names[i];
    return { name: unit ? `${name} [${unit}]` : name, value: Number(number) };
  });
  return element("div", {}, title && element("h3", {}, title), bars("Action", rows, { bounds: boundsOf(spec, 0) }));
}

/** @param {string} name @param {any} value @param {any} answer @param {Manifest} manifest */
function output(name, value, answer, manifest) {
  const elements = /** @type {(number | null)[]} */ ([value].flat(Infinity));
  const [action] = actionsOf(manifest);
  const perAction = name === "q_values" && isWhole(action) && sizeOf(action) === 1;
  const first = perAction ? (boundsOf(action, 0)?.[0] ?? 0) : 0;
  const chosen = perAction ? Number([answer.action].flat(Infinity)[0]) - first : null;
  const spec = manifest.outputs?.find((found) => found.name === name);
  const names = spec ? elementNames(manifest, spec) : [];
  const rows = elements.slice(0, MOST_BARS).map((number, i) => ({
    name: perAction ? actionName(manifest, action, i + first) : (names[i]?.name ?? `${name}[${i}]`),
    value: number,
  }));
  const heading = perAction ? "Q-values" : name.replaceAll("_", " ");
  return element("div", {}, element("h3", {}, heading), bars(heading, rows, { best: chosen }));
}
