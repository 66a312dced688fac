/**
 * Values by name: the elements of a tensor have names in the manifest's meaning.
 *
 * In:      an object of these names in place of a tensor's array, in any order.
 * Out:     the values in their elements' places.
 * Refuses: names that are missing or not known, and values that do not fit, each by its name (SpecViolated).
 */

import { named } from "../common/quote.js";
import { nearest } from "../common/suggest.js";
import { LONGEST_KEY, SpecViolated, at } from "./errors.js";
import { MOST_FAULTS, readRow } from "./specs.js";

/** @typedef {import("./specs.js").TensorSpec} TensorSpec */
/** @typedef {import("./specs.js").TypedArray} TypedArray */
/** @typedef {import("./errors.js").Fault} Fault */
/** @typedef {Map<string, string[]>} Names of the elements in row-major order, by tensor */

const MOST_COMPARED = 256; // names with which an unknown one is compared

/** @param {import("./manifest.js").Manifest} manifest @returns {Names} of the tensors whose elements have names */
export const namesOf = ({ meaning }) =>
  new Map(
    Object.entries(meaning?.tensors ?? {}).flatMap(([name, { names }]) => (names?.length ? [[name, names]] : [])),
  );

/**
 * One row of the tensor.
 * @param {Record<string, any>} values
 * @param {TensorSpec} spec
 * @param {string[]} names of its elements
 * @param {string} where
 * @returns {TypedArray}
 */
export function readNamedRow(values, spec, names, where) {
  const missing = names.filter((name) => !Object.hasOwn(values, name));
  const unknown = Object.keys(values).filter((key) => !names.includes(key));
  const faults = [
    ...unknown.slice(0, MOST_FAULTS).map((key) => unknownName(key, missing, names, where)),
    ...missing.map((name) => ({ path: at(where, name), expected: spec.dtype, got: "nothing" })),
  ];
  const row = names.map((name) => (Object.hasOwn(values, name) ? values[name] : 0));
  try {
    const read = readRow(nested(row, spec.shape), spec, where);
    if (!faults.length) return read;
  } catch (error) {
    if (!(error instanceof SpecViolated)) throw error;
    for (const fault of error.faults) {
      const name = names[placeOf(fault.path.slice(where.length), spec.shape)];
      if (!missing.includes(name)) faults.push({ ...fault, path: at(where, name) });
    }
  }
  throw new SpecViolated(faults.slice(0, MOST_FAULTS));
}

/** @param {string} key @param {string[]} missing @param {string[]} names @param {string} where @returns {Fault} */
function unknownName(key, missing, names, where) {
  const alike = nearest(key.slice(0, LONGEST_KEY), missing.slice(0, MOST_COMPARED));
  const got = alike === undefined ? "an unknown name" : `a name close to ${alike}`;
  return { path: at(where, key), expected: `one of ${named(names)}`, got };
}

/** @param {any[]} values @param {number[]} shape */
function nested(values, shape) {
  for (const length of shape.slice(1).reverse()) {
    values = Array.from({ length: values.length / length }, (_, i) => values.slice(i * length, (i + 1) * length));
  }
  return shape.length ? values : values[0];
}

/** @param {string} path such as [1][0] @param {number[]} shape @returns {number} of the element, in row-major order */
const placeOf = (path, shape) =>
  [...path.matchAll(/\[(\d+)\]/g)].slice(0, shape.length).reduce((place, [, i], axis) => place * shape[axis] + +i, 0);
