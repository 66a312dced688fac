/**
 * How a policy's observation and its action nest their tensors.
 *
 * In:      the specs of the tensors, each with its path; an observation, or an action's tensors.
 * Out:     the observation's tensors by name, for a policy in this process; the action as an environment takes it.
 * Refuses: an observation that has other parts than the policy observes, or values that it cannot take (SpecViolated).
 *
 * The parts of a tuple have the keys "0", "1", …, and are an array in JavaScript.
 */

import { SpecViolated, at } from "./errors.js";
import { readNamedRow } from "./named_values.js";
import { describe, fromRow, isObject, isTyped, labelOf, readRow } from "./specs.js";

/** @typedef {import("./specs.js").TensorSpec} TensorSpec */
/** @typedef {import("./specs.js").Tensor} Tensor */
/** @typedef {import("./specs.js").TypedArray} TypedArray */
/**
 * An observation as the environment has it: a tensor, or an object or an array of such parts.
 * @typedef {Tensor | readonly any[] | {readonly [key: string]: any}} Observation
 */
/**
 * A number (a BigInt beyond 2^53), a boolean, a typed array in row-major order, or an object or array of these.
 * @typedef {any} Action
 */
/** @typedef {{leaf: TensorSpec} | {branches: Map<string, Tree>}} Tree */
/** @typedef {Record<string, TypedArray>} Rows one row of each tensor, by its name */

const LONGEST_LABEL = 120;
/** @type {import("./named_values.js").Names} */
const NO_NAMES = new Map();

/**
 * The specs in the nesting of the observation, or of the action.
 * @param {TensorSpec[]} specs
 * @returns {Tree}
 */
export function grow(specs) {
  if (specs.length === 1 && !specs[0].path.length) return { leaf: specs[0] };
  /** @type {Map<string, any>} */
  const root = new Map();
  for (const spec of specs) {
    const above = spec.path.slice(0, -1);
    let branches = root;
    for (const key of above) {
      if (!branches.has(key)) branches.set(key, { branches: new Map() });
      branches = branches.get(key).branches;
    }
    branches.set(spec.path[spec.path.length - 1], { leaf: spec });
  }
  return { branches: root };
}

/**
 * One observation as a policy's inputs. Throws SpecViolated, with the path of the part that does not fit.
 * @param {any} observation
 * @param {Tree} tree
 * @param {string} [where]
 * @param {import("./named_values.js").Names} [names] of elements: an object of them may stand for a tensor
 * @returns {Rows}
 */
export function readObservation(observation, tree, where = "observation", names = NO_NAMES) {
  if ("leaf" in tree) {
    const { leaf } = tree;
    const elements = names.get(leaf.name);
    const byName = elements && isObject(observation);
    const row = byName ? readNamedRow(observation, leaf, elements, where) : readRow(observation, leaf, where);
    return { [leaf.name]: row };
  }
  const parts = partsOf(observation, tree);
  if (parts === null) throw new SpecViolated([{ path: where, expected: label(tree), got: describe(observation) }]);
  const unknown = Object.keys(parts).find((key) => !tree.branches.has(key));
  if (unknown !== undefined) {
    const expected = "nothing: the policy has no such input";
    throw new SpecViolated([{ path: at(where, unknown), expected, got: "it" }]);
  }
  /** @type {Rows} */
  const rows = {};
  for (const [key, branch] of tree.branches) {
    if (!Object.hasOwn(parts, key)) {
      throw new SpecViolated([{ path: at(where, key), expected: label(branch), got: "nothing" }]);
    }
    Object.assign(rows, readObservation(parts[key], branch, at(where, key), names));
  }
  return rows;
}

/**
 * The parts by key; null for a value that is neither an object nor an array of the tuple's length.
 * @param {any} value
 * @param {Tree} tree
 * @returns {Record<string, any> | null}
 */
export function partsOf(value, tree) {
  if (isObject(value)) return value;
  const fits = Array.isArray(value) && isTuple(tree) && value.length === tree.branches.size;
  return fits ? Object.fromEntries(value.entries()) : null;
}

/**
 * The action of one row, as an environment takes it.
 * @param {Rows} rows
 * @param {Tree} tree
 * @returns {Action}
 */
export function nestAction(rows, tree) {
  if ("leaf" in tree) return fromRow(rows[tree.leaf.name], tree.leaf);
  return arrange(
    [...tree.branches].map(([key, branch]) => [key, nestAction(rows, branch)]),
    tree,
  );
}

/**
 * The parts of an action in an object, or of a tuple in an array.
 * @param {any[][]} entries key and part
 * @param {Tree} tree
 */
export function arrange(entries, tree) {
  const parts = Object.fromEntries(entries);
  return isTuple(tree) ? entries.map((_, i) => parts[i]) : parts;
}

/** @param {Tree} tree @returns {tree is {branches: Map<string, Tree>}} whether its keys are "0", "1", … */
const isTuple = (tree) => "branches" in tree && [...tree.branches.keys()].every((_, i) => tree.branches.has(String(i)));

/**
 * An observation that stays as it is when its arrays are filled anew.
 * @param {any} value
 * @returns {any}
 */
export function copyOf(value) {
  if (isTyped(value)) return value.slice();
  if (Array.isArray(value)) return value.map(copyOf);
  return isObject(value) ? Object.fromEntries(Object.entries(value).map(([key, part]) => [key, copyOf(part)])) : value;
}

/** @param {Tree} tree @returns {string} a tensor's spec, or an array or object of them */
function label(tree) {
  if ("leaf" in tree) return labelOf(tree.leaf);
  const parts = [...tree.branches].map(
    ([key, branch]) => (isTuple(tree) ? "" : `${JSON.stringify(key)}: `) + label(branch),
  );
  const text = isTuple(tree) ? `a tuple of ${parts.length} (${parts.join(", ")})` : `a dict of ${parts.join(", ")}`;
  return text.length <= LONGEST_LABEL ? text : `${text.slice(0, LONGEST_LABEL - 1)}…`;
}
