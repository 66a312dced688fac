/**
 * What a tensor must look like, and where a value does not fit.
 *
 * In:      a value (a number, nested arrays, a typed array in row-major order), and a `TensorSpec`.
 * Out:     a typed array of the spec's dtype; numbers from such arrays.
 * Refuses: a value that does not fit, with the path of each such element:
 *          `observation[3]: expected finite float32, got NaN` (SpecViolated).
 */

import { SpecViolated } from "./errors.js";

/**
 * One tensor of a manifest, without the batch dimension.
 * @typedef {object} TensorSpec
 * @property {string} name its name in files
 * @property {number[]} shape
 * @property {string} dtype numpy's name
 * @property {string[]} path its keys in a nested observation, action or state; empty when it is the whole
 * @property {Bound} [minimum]
 * @property {Bound} [maximum]
 * @property {Bound} [lookup_minimum] the policy looks its values up in a table; others are refused
 * @property {Bound} [lookup_maximum]
 */
/** @typedef {number | (number | null)[] | null} Bound */
/** @typedef {number | bigint | boolean} Scalar */
/**
 * @typedef {Int8Array | Uint8Array | Uint8ClampedArray | Int16Array | Uint16Array | Int32Array | Uint32Array
 *   | Float32Array | Float64Array | BigInt64Array | BigUint64Array} TypedArray
 */
/** @typedef {Scalar | TypedArray | readonly Tensor[]} Tensor a number, nested arrays of them, or a typed array */
/** @typedef {import("./errors.js").Fault} Fault */

/**
 * A dtype: the array that holds it, and for whole numbers their range.
 * @typedef {{array: any, low: bigint | null, high: bigint | null}} Dtype
 */
/** @type {Record<string, Dtype>} */
export const DTYPES = {
  bool: { array: Uint8Array, low: null, high: null },
  ...whole(8, Int8Array, Uint8Array),
  ...whole(16, Int16Array, Uint16Array),
  ...whole(32, Int32Array, Uint32Array),
  ...whole(64, BigInt64Array, BigUint64Array),
  float16: { array: Float32Array, low: null, high: null }, // not every JavaScript has an array of its own for it
  float32: { array: Float32Array, low: null, high: null },
  float64: { array: Float64Array, low: null, high: null },
};
/** @type {Record<string, number>} What is this large is rounded to infinity. */
const INFINITE_FROM = { float16: 65520, float32: 2 ** 128 - 2 ** 103, float64: Infinity };
export const MOST_FAULTS = 20;
const LONGEST_NUMBER = 24; // characters of a whole number in a sentence; a part of it would be another number

/**
 * @param {number} bits
 * @param {any} signed
 * @param {any} unsigned
 * @returns {Record<string, Dtype>}
 */
function whole(bits, signed, unsigned) {
  const half = 1n << BigInt(bits - 1);
  return {
    [`int${bits}`]: { array: signed, low: -half, high: half - 1n },
    [`uint${bits}`]: { array: unsigned, low: 0n, high: 2n * half - 1n },
  };
}

/** @param {TensorSpec} spec @returns {number} the elements of one row */
export const sizeOf = (spec) => spec.shape.reduce((product, n) => product * n, 1);

/** @param {{dtype: string}} spec @returns {boolean} whether it holds whole numbers */
export const isWhole = ({ dtype }) => DTYPES[dtype].low !== null;

/** @param {number | bigint} value @param {string} dtype @returns {boolean} whether it is finite, rounded to the dtype */
export const isFiniteIn = (value, dtype) => Math.abs(Number(value)) < INFINITE_FROM[dtype];

/** @param {TensorSpec} spec @returns {string} the spec as people write it: `float32[4]`, `int64` for a scalar */
export const labelOf = (spec) => spec.dtype + (spec.shape.length ? listed(spec.shape) : "");

/** @param {readonly (number | string)[]} shape */
export const listed = (shape) => `[${shape.join(", ")}]`;

/** @param {any} value @returns {value is TypedArray} */
export const isTyped = (value) => ArrayBuffer.isView(value) && !(value instanceof DataView);

/** @param {any} value @returns {value is Record<string, any>} */
export const isObject = (value) =>
  typeof value === "object" && value !== null && !Array.isArray(value) && !isTyped(value);

/**
 * One row of a tensor, as an array of its own. Throws SpecViolated.
 * @param {any} value
 * @param {TensorSpec} spec
 * @param {string} where its path
 * @returns {TypedArray}
 */
export function readRow(value, spec, where) {
  const row = new DTYPES[spec.dtype].array(sizeOf(spec));
  /** @type {Fault[]} */
  const faults = [];
  fill(row, 0, value, spec, spec.shape, where, faults);
  if (faults.length) throw new SpecViolated(faults);
  return row;
}

/**
 * Writes the elements of `value` into the row from `at`, or notes what does not fit.
 * @param {any} row
 * @param {number} at
 * @param {any} value
 * @param {TensorSpec} spec
 * @param {number[]} shape of this part
 * @param {string} where
 * @param {Fault[]} faults
 */
function fill(row, at, value, spec, shape, where, faults) {
  const size = shape.reduce((product, n) => product * n, 1);
  if (isTyped(value) && shape.length > 1 && value.length === size) shape = [size]; // in row-major order
  if (!shape.length) {
    const fault = faultOf(value, spec, at);
    if (fault) faults.push({ path: where, ...fault });
    else row[at] = typeof row[at] === "bigint" ? BigInt(value) : spec.dtype === "bool" ? Boolean(value) : Number(value);
    return;
  }
  const expected = spec.dtype + listed(shape);
  if (!Array.isArray(value) && !isTyped(value)) {
    faults.push({ path: where, expected, got: describe(value) });
  } else if (value.length !== shape[0]) {
    faults.push({ path: where, expected, got: `${value.length} ${value.length === 1 ? "element" : "elements"}` });
  } else {
    const rest = shape.slice(1);
    const step = size / shape[0];
    for (let i = 0; i < value.length && faults.length < MOST_FAULTS; i++) {
      // Most elements are sound, and the path of a sound one need not be written down.
      if (rest.length || faultOf(value[i], spec, at + i)) {
        fill(row, at + i * step, value[i], spec, rest, `${where}[${i}]`, faults);
      } else {
        fill(row, at + i, value[i], spec, rest, "", faults);
      }
    }
  }
}

/**
 * What is wrong with one element; null if nothing is. Any number but 0 is true, and true is 1.
 * @param {any} value
 * @param {TensorSpec} spec
 * @param {number} at its place in the row
 * @returns {{expected: string, got: string} | null}
 */
function faultOf(value, spec, at) {
  const { low, high } = DTYPES[spec.dtype];
  const got = () => describe(value);
  if (typeof value === "boolean" || spec.dtype === "bool") {
    return ["boolean", "number", "bigint"].includes(typeof value) ? null : { expected: spec.dtype, got: got() };
  }
  if (typeof value !== "number" && typeof value !== "bigint") return { expected: spec.dtype, got: got() };
  if (low === null || high === null) {
    if (!isFiniteIn(value, spec.dtype)) return { expected: `finite ${spec.dtype}`, got: got() };
  } else if (!(typeof value === "bigint" || Number.isInteger(value)) || value < low || value > high) {
    return { expected: spec.dtype, got: got() };
  }
  const [first, last] = [boundAt(spec.lookup_minimum, at), boundAt(spec.lookup_maximum, at)];
  if ((first !== null && value < first) || (last !== null && value > last)) {
    return { expected: `${describeRange(first, last)}, as the policy looks it up in a table`, got: got() };
  }
  return null;
}

/** @param {Bound | undefined} bound @param {number} at its element @returns {number | null} */
export const boundAt = (bound, at) => (Array.isArray(bound) ? bound[at] : (bound ?? null));

/** @param {number | null} low @param {number | null} high */
function describeRange(low, high) {
  if (low === null) return `at most ${high}`;
  return high === null ? `at least ${low}` : `${low} to ${high}`;
}

/**
 * The elements of a row as a caller takes them: one number for a scalar, else the typed array.
 *
 * A whole number beyond 2^53 is a BigInt; int64 and uint64 arrays always hold BigInts.
 * @param {TypedArray} row
 * @param {TensorSpec} spec
 * @returns {Scalar | TypedArray}
 */
export function fromRow(row, spec) {
  if (spec.shape.length) return row;
  return spec.dtype === "bool" ? Boolean(row[0]) : asNumber(row[0]);
}

/** @param {number | bigint} value */
const asNumber = (value) => (Number.isSafeInteger(Number(value)) ? Number(value) : value);

/**
 * A value in a word or two, for an error's sentence.
 * @param {any} value
 * @returns {string}
 */
export function describe(value) {
  if (value === null || value === undefined) return value === null ? "null" : "nothing";
  if (typeof value === "boolean") return String(value);
  if (typeof value === "bigint" || Number.isSafeInteger(value)) {
    const digits = BigInt(value).toString();
    return digits.length <= LONGEST_NUMBER ? digits : `a number of ${digits.replace("-", "").length} digits`;
  }
  if (typeof value === "number") return describeReal(value);
  if (typeof value === "string") return "a string";
  if (Array.isArray(value) || isTyped(value)) return `an array of ${value.length}`;
  return typeof value === "object" ? "an object" : `a ${typeof value}`;
}

/**
 * A number with six digits, as Python writes it.
 * @param {number} value
 * @returns {string}
 */
export function describeReal(value) {
  const [digits, exponent] = value.toExponential(5).split("e").map(Number);
  if (exponent >= -4 && exponent < 6) return Object.is(value, -0) ? "-0" : String(Number(value.toPrecision(6)));
  return Number.isFinite(value)
    ? `${digits}e${exponent < 0 ? "-" : "+"}${String(Math.abs(exponent)).padStart(2, "0")}`
    : String(value);
}
