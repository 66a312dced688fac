/**
 * What a manifest says of a policy, in words.
 *
 * In:      a manifest.
 * Out:     sentences, lists and tables.
 */

import { element } from "./element.js";
import { actionsOf, elementNames, label } from "./spec.js";

/** @typedef {import("./spec.js").Manifest} Manifest */

/** @param {Manifest} manifest one line */
export function headline({ algorithm, env, training }) {
  const method = algorithm && /^[a-z0-9]{2,5}$/.test(algorithm) ? algorithm.toUpperCase() : algorithm;
  const origin = [method, env].filter(Boolean).join(" for ");
  const reached = training?.final_return ?? training?.evaluated_return;
  return (
    [origin, reached === undefined ? null : `mean return ${brief(reached)}`].filter(Boolean).join(", ") ||
    "Its origin is not known"
  );
}

/** @param {Manifest} manifest what goes in and what comes out */
export const shapes = (manifest) =>
  `${manifest.observation.map(label).join(", ")} → ${actionsOf(manifest).map(label).join(", ")}`;

/** @param {any} number */
export const brief = (number) =>
  typeof number === "number" ? number.toLocaleString("en", { maximumSignificantDigits: 4 }) : String(number);

/** @param {any} description of `GET /v1/policies/{policy}/versions/{version}` */
export function facts({ manifest, runtime, guard }) {
  const { training = {}, meaning } = manifest;
  const interval = training.final_interval;
  const period = meaning?.control_period_s;
  /** @type {[string, any][]} */
  const rows = [
    ["algorithm", manifest.algorithm],
    ["environment", manifest.env],
    [
      "mean return",
      training.final_return !== undefined &&
        `${brief(training.final_return)} over ${training.final_episodes} episodes` +
          (interval ? ` (95% interval ${brief(interval[0])} to ${brief(interval[1])})` : ""),
    ],
    ["random actions", training.random_return !== undefined && `mean return ${brief(training.random_return)}`],
    ["training", training.steps !== undefined && `${brief(training.steps)} steps in ${brief(training.wall_s)} s`],
    ["preset, seed", training.preset && `${training.preset}, ${training.seed}`],
    ["control period", period && `${brief(period)} s (${brief(1 / period)} Hz)`],
    ["policy state", manifest.state?.length && manifest.state.map(label).join(", ")],
    [
      "acts",
      manifest.explore ? `by sampling: ${JSON.stringify(manifest.explore)}` : "greedily, unless asked to explore",
    ],
    ["guard", guard && "limits its actions"],
    ["runtime", runtime],
    ["exported", manifest.created?.replace("T", " ").slice(0, 16)],
    ["notes", manifest.notes?.join(" ")],
  ];
  return element(
    "dl",
    { className: "facts" },
    rows.filter(([, value]) => value).flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]),
  );
}

/** @param {Manifest} manifest */
export function tensors(manifest) {
  /** @type {[string, import("./spec.js").Spec[]][]} */
  const groups = [
    ["observation", manifest.observation],
    ["action", actionsOf(manifest)],
    ["noise", manifest.noise ? [manifest.noise] : []],
    ["output", manifest.outputs ?? []],
  ];
  const rows = groups.flatMap(([kind, specs]) =>
    specs.map((spec) =>
      element(
        "tr",
        {},
        element("th", { scope: "row" }, kind),
        element("td", {}, element("code", {}, spec.path?.length ? spec.path.join(".") : spec.name)),
        element("td", {}, element("code", {}, label(spec))),
        element("td", {}, meaningOf(manifest, spec)),
      ),
    ),
  );
  const made = table(["", "name", "shape", "stands for"], rows);
  made.classList.add("stacked");
  return made;
}

/** @param {Manifest} manifest @param {import("./spec.js").Spec} spec */
function meaningOf(manifest, spec) {
  const meant = manifest.meaning?.tensors?.[spec.name];
  if (!meant) return "";
  if (meant.choices?.length) return meant.choices.join(", ");
  const names = elementNames(manifest, spec).map(({ name, unit }) => (unit ? `${name} [${unit}]` : name));
  return names.length > 24 ? `${names.slice(0, 24).join(", ")}, …` : names.join(", ");
}

/** @param {Manifest} manifest */
export function parity(manifest) {
  const rows = (manifest.parity ?? []).map((found) =>
    element(
      "tr",
      {},
      element("th", { scope: "row" }, element("code", {}, found.file)),
      element("td", { className: "number" }, brief(found.observations)),
      element("td", { className: "number" }, found.max_difference.toExponential(1)),
      element("td", { className: "number" }, brief(found.argmax_flips)),
      element("td", {}, found.passed ? "passed" : "failed"),
    ),
  );
  return rows.length ? table(["file", "observations", "largest difference", "changed actions", ""], rows) : null;
}

/** @param {Record<string, number>} latency by the number of observations */
export function latency(latency) {
  const rows = Object.entries(latency)
    .sort(([a], [b]) => Number(a) - Number(b))
    .map(([rowCount, us]) =>
      element(
        "tr",
        {},
        element("th", { scope: "row", className: "number" }, rowCount),
        element("td", { className: "number" }, `${brief(us)} µs`),
        element("td", { className: "number" }, `${brief(us / Number(rowCount))} µs`),
      ),
    );
  return table(["observations", "a run", "for each"], rows);
}

/** @param {string[]} titles @param {HTMLElement[]} rows */
export function table(titles, rows) {
  const head = element(
    "tr",
    {},
    titles.map((title) => (title ? element("th", { scope: "col" }, title) : element("td"))),
  );
  const made = element("table", {}, element("thead", {}, head), element("tbody", {}, rows));
  return element(
    "div",
    { className: "wide", tabindex: 0, role: "region", "aria-label": titles.filter(Boolean).join(", ") },
    made,
  );
}
