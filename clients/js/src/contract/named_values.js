/**
 * Observations whose values come by name: the elements of a tensor have names in the manifest's meaning.
 *
 * In:      an observation, with an object of names in place of a tensor's array.
 * Out:     the observation with each value in its element's place.
 * Refuses: names that are missing or not known (SpecViolated, by their path).
 */

import { named } from "../common/quote.js";
import { SpecViolated } from "./errors.js";
import { at, partsOf } from "./nesting.js";
import { MOST_FAULTS, isObject } from "./specs.js";

/** @typedef {import("./nesting.js").Tree} Tree */
/** @typedef {Map<string, string[]>} Names of the elements in row-major order, by tensor */

/** @param {import("./manifest.js").Manifest} manifest @returns {Names} of the tensors whose elements have names */
export const namesOf = ({ meaning }) =>
  new Map(
    Object.entries(meaning?.tensors ?? {}).flatMap(([name, { names }]) => (names?.length ? [[name, names]] : [])),
  );

/**
 * The observation with arrays in place of objects whose keys are the names of a tensor's elements.
 * @param {any} observation other parts stay as they are
 * @param {Tree} tree
 * @param {Names} names
 * @param {string} [where]
 * @returns {any}
 */
export function inOrder(observation, tree, names, where = "observation") {
  if ("branches" in tree) {
    const entries = Object.entries(partsOf(observation, tree) ?? {}).map(([key, part]) => {
      const branch = tree.branches.get(key);
      return [key, branch ? inOrder(part, branch, names, at(where, key)) : part];
    });
    return entries.length ? Object.fromEntries(entries) : observation;
  }
  const { name, shape, dtype } = tree.leaf;
  const elements = names.get(name);
  if (!elements || !isObject(observation)) return observation;
  const missing = elements.filter((element) => !Object.hasOwn(observation, element));
  const unknown = Object.keys(observation).filter((key) => !elements.includes(key));
  const faults = [
    ...missing.map((element) => ({ path: at(where, element), expected: dtype, got: "nothing" })),
    ...unknown.map((key) => ({ path: at(where, key), expected: `one of ${named(elements)}`, got: "an unknown name" })),
  ];
  if (faults.length) throw new SpecViolated(faults.slice(0, MOST_FAULTS));
  let values = elements.map((element) => observation[element]);
  for (const length of shape.slice(1).reverse()) {
    values = Array.from({ length: values.length / length }, (_, i) => values.slice(i * length, (i + 1) * length));
  }
  return shape.length ? values : values[0];
}
