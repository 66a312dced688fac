/**
 * The guard of a bundle: limits between the policy and the motors, and what happens where an action violates one.
 *
 * In:      the text of `guard.json`; the specs of the policy's action.
 * Out:     `Guard`, whose limits fit the specs.
 * Refuses: what Python's client refuses, limits with its sentences: unknown fields and tensors, limits that can never act,
 *          that exclude every action, or that contradict one another; a missing `safe` (BundleInvalid).
 *
 * `guarding.js` applies it.
 */

import { parseExact } from "../common/json.js";
import { named, shortName } from "../common/quote.js";
import { BundleInvalid } from "./errors.js";
import { DTYPES, boundAt, describe, describeReal, isFiniteIn, isObject, isWhole, labelOf, sizeOf } from "./specs.js";

/** @typedef {import("./specs.js").TensorSpec} TensorSpec */
/** @typedef {Record<string, string[]>} Violations the rules that an action violates, by action tensor */
/**
 * The limits of one action tensor, one per element, and its part of the safe action; null where there is none. Numbers
 * of the tensor's dtype, BigInts if that is of whole numbers; `change_per_second` is a number in either case.
 * @typedef {{spec: TensorSpec} & Record<"minimum" | "maximum" | "change_per_step" | "change_per_second" | "safe", any[]>}
 *   TensorLimits
 */
/**
 * @typedef {object} Guard
 * @property {TensorLimits[]} tensors
 * @property {Record<string, string>} reactions by rule
 * @property {boolean} limitsChanges whether a limit depends on the action before
 */

const SCHEMA = 1;
export const REACTIONS = ["clamp", "hold", "safe", "refuse"]; // the strictest last
const USUAL = { out_of_range: "clamp", too_fast: "clamp", non_finite: "hold" };
const CHANGES = ["change_per_step", "change_per_second"];
const LIMITS = ["minimum", "maximum", ...CHANGES];
const UNLIMITED = ["bool", "uint64"]; // a flag has no order, and the arithmetic of whole numbers is that of int64

/** What does not fit, in words that follow on the place of the guard. */
class Unfit extends Error {}

/**
 * @param {string} text
 * @param {string} where its place, for the sentence
 * @param {TensorSpec[]} specs of the policy's action
 * @returns {Guard}
 */
export function parseGuard(text, where, specs) {
  try {
    return readGuard(parseExact(text), specs);
  } catch (error) {
    if (error instanceof Unfit) throw new BundleInvalid(`${where}: ${error.message}.`);
    throw new BundleInvalid(`${where}: not JSON: ${/** @type {Error} */ (error).message}.`);
  }
}

/**
 * Whether a limit depends on the action before, so that every action has to be part of an episode.
 * @param {any} guard as in JSON; null if there is none
 */
export const limitsChanges = (guard) =>
  Object.values(guard?.actions ?? {}).some((limits) =>
    CHANGES.some((name) => [limits[name] ?? null].flat().some((limit) => limit !== null)),
  );

/**
 * @param {any} raw
 * @param {TensorSpec[]} specs
 * @returns {Guard}
 */
function readGuard(raw, specs) {
  if (raw?.schema_version !== SCHEMA) {
    const got = JSON.stringify(raw?.schema_version) ?? "none";
    throw new Unfit(`expected a guard of schema_version ${SCHEMA}, got ${got}; docs/guard.md shows one`);
  }
  checkFields("guard", raw, ["schema_version", "actions", ...Object.keys(USUAL)]);
  checkFields("actions", raw.actions, null);
  /** @type {Record<string, string>} */
  const reactions = {};
  for (const [rule, usual] of Object.entries(USUAL)) {
    const reaction = (reactions[rule] = Object.hasOwn(raw, rule) ? raw[rule] : usual);
    const allowed = rule === "non_finite" ? REACTIONS.slice(1) : REACTIONS; // NaN cannot be clamped
    if (!allowed.includes(reaction)) {
      throw new Unfit(`${rule}: expected one of ${allowed.join(", ")}, got ${JSON.stringify(reaction)}`);
    }
  }
  const unknown = Object.keys(raw.actions).find((name) => !specs.some((spec) => spec.name === name));
  if (unknown !== undefined) {
    const names = named(specs.map((spec) => spec.name));
    throw new Unfit(`actions: expected names of the policy's action tensors (${names}), got '${shortName(unknown)}'`);
  }
  const tensors = specs.map((spec) =>
    readLimits(Object.hasOwn(raw.actions, spec.name) ? raw.actions[spec.name] : {}, spec),
  );
  const needs = Object.entries(reactions).find(([, reaction]) => reaction === "hold" || reaction === "safe");
  const missing = tensors.find(({ safe }) => safe[0] === null);
  if (needs && missing) {
    throw new Unfit(`${placeOf(missing.spec)}.safe: expected an action, which ${needs.join(": ")} needs, got none`);
  }
  return { tensors, reactions, limitsChanges: limitsChanges(raw) };
}

/**
 * @param {string} where
 * @param {any} value
 * @param {string[] | null} names of the fields that there are; null for any
 */
function checkFields(where, value, names) {
  if (!isObject(value)) throw new Unfit(`${where}: expected an object, got ${describe(value)}`);
  const odd = Object.keys(value).find((name) => names && !names.includes(name));
  if (odd !== undefined) throw new Unfit(`${where}: expected ${names?.join(", ")}, got the field '${shortName(odd)}'`);
}

/** @param {TensorSpec} spec */
const placeOf = (spec) => `actions.${shortName(spec.name)}`;

/**
 * @param {any} given
 * @param {TensorSpec} spec
 * @returns {TensorLimits}
 */
function readLimits(given, spec) {
  const where = placeOf(spec);
  checkFields(where, given, [...LIMITS, "safe"]);
  if (UNLIMITED.includes(spec.dtype) && LIMITS.some((name) => (given[name] ?? null) !== null)) {
    throw new Unfit(`${where}: expected only \`safe\`, since an action of ${spec.dtype} has no limits, got limits`);
  }
  const read = (/** @type {string} */ name, dtype = spec.dtype) =>
    readElements(given[name] ?? null, spec, `${where}.${name}`, dtype, name !== "safe");
  const limits = {
    spec,
    minimum: read("minimum"),
    maximum: read("maximum"),
    change_per_step: read("change_per_step"),
    change_per_second: read("change_per_second", isWhole(spec) ? "float64" : spec.dtype), // may be a fraction
    safe: read("safe"),
  };
  if (spec.dtype !== "bool") for (let i = 0; i < sizeOf(spec); i++) checkElement(limits, i, where);
  return limits;
}

/**
 * One number per element, in the dtype; null where there is none.
 * @param {any} given one number for all elements, or an array
 * @param {TensorSpec} spec
 * @param {string} where
 * @param {string} dtype
 * @param {boolean} isPartial whether some elements may have none
 * @returns {any[]}
 */
function readElements(given, spec, where, dtype, isPartial) {
  const size = sizeOf(spec);
  if (!Array.isArray(given)) {
    const value = given === null ? null : round(given, dtype, where);
    return Array.from({ length: size }, () => value);
  }
  if (given.length !== size) {
    throw new Unfit(`${where}: expected one number, or ${size} for ${labelOf(spec)}, got ${given.length}`);
  }
  return given.map((value, i) => (value === null && isPartial ? null : round(value, dtype, `${where}[${i}]`)));
}

/**
 * @param {any} value
 * @param {string} dtype
 * @param {string} where
 * @returns {number | bigint | boolean}
 */
function round(value, dtype, where) {
  const refuse = (/** @type {string} */ expected) =>
    new Unfit(`${where}: expected ${expected}, got ${describe(value)}`);
  if (dtype === "bool" || (typeof value !== "number" && typeof value !== "bigint")) {
    if (dtype === "bool" && typeof value === "boolean") return value;
    throw refuse(dtype === "bool" ? "true or false" : dtype);
  }
  if (!isWhole({ dtype })) {
    if (!isFiniteIn(value, dtype)) throw refuse(`finite ${dtype}`);
    return DTYPES[dtype].array.of(Number(value))[0];
  }
  if (!isFiniteIn(value, "float64")) throw refuse(`finite ${dtype}`);
  if (typeof value === "number" && !Number.isInteger(value)) {
    throw refuse(`a whole number, as the action is ${dtype}`);
  }
  return BigInt(value);
}

/**
 * Holds the limits of one element against each other, and against the policy's bounds.
 * @param {TensorLimits} limits
 * @param {number} i
 * @param {string} where
 */
function checkElement({ spec, minimum, maximum, change_per_step, change_per_second, safe }, i, where) {
  const place = minimum.length > 1 ? `[${i}]` : "";
  const refuse = (/** @type {string} */ name, /** @type {string} */ expected, /** @type {any} */ got, why = "") =>
    new Unfit(`${where}.${name}${place}: expected ${expected}, got ${inWords(got)}${why}`);
  const [least, most] = boundsOf(spec, i);
  const [low, high] = [minimum[i], maximum[i]];
  const bounds = `${inWords(least)} to ${inWords(most)}, the policy's bounds`;
  if (low !== null && !(least <= low && low <= most)) {
    throw refuse("minimum", bounds, low, low < least ? ": never acts" : ": refuses every action");
  }
  if (high !== null && !(least <= high && high <= most)) {
    throw refuse("maximum", bounds, high, high > most ? ": never acts" : ": refuses every action");
  }
  if (low !== null && high !== null && low > high) {
    throw refuse("minimum", `at most ${inWords(high)}, the maximum`, low);
  }
  for (const [name, change] of Object.entries({
    change_per_step: change_per_step[i],
    change_per_second: change_per_second[i],
  })) {
    if (change !== null && change <= 0) throw refuse(name, "a change above 0", change);
  }
  const step = change_per_step[i];
  if (step !== null && step > most - least) {
    throw refuse(
      "change_per_step",
      `at most ${inWords(most - least)}, as wide as the policy's bounds`,
      step,
      ": never acts",
    );
  }
  const [lowest, highest] = [low ?? least, high ?? most];
  if (safe[i] !== null && !(lowest <= safe[i] && safe[i] <= highest)) {
    const range = `${inWords(lowest)} to ${inWords(highest)}, within the limits and the policy's bounds`;
    throw refuse("safe", range, safe[i]);
  }
}

/**
 * The lowest and the highest value of an element, in its dtype.
 * @param {TensorSpec} spec
 * @param {number} i
 * @returns {any[]}
 */
function boundsOf(spec, i) {
  const [first, last] = [boundAt(spec.minimum, i), boundAt(spec.maximum, i)];
  const { array, low, high } = DTYPES[spec.dtype];
  if (low === null || high === null) return [...array.of(first ?? -Infinity, last ?? Infinity)];
  const [least, most] = [first, last].map((bound) => (bound === null ? null : BigInt(Math.trunc(bound))));
  return [least !== null && least > low ? least : low, most !== null && most < high ? most : high];
}

/** @param {number | bigint} value a limit, or a value of an action */
export const inWords = (value) => (typeof value === "number" ? describeReal(value) : describe(value));
