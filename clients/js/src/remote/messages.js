/**
 * The act message in JSON, as a client writes and reads it.
 *
 * In:      observations and options; then the server's answer.
 * Out:     the body of a request; a `Reply`.
 * Refuses: observations that are not finite numbers, before anything is sent (SpecViolated); an answer that reports an
 *          error, with that error.
 */

import { parseExact } from "../common/json.js";
import { RlwayError, SpecViolated, at, fromProblem } from "../contract/errors.js";
import { arrange, grow, partsOf } from "../contract/nesting.js";
import { DTYPES, describe, fromRow, isObject, isTyped, sizeOf } from "../contract/specs.js";

/** @typedef {import("../contract/manifest.js").Manifest} Manifest */
/** @typedef {import("../contract/nesting.js").Action} Action */
/** @typedef {import("../contract/nesting.js").Tree} Tree */
/** @typedef {import("../contract/policy.js").Reply} Reply */
/** @typedef {import("../contract/specs.js").TensorSpec} TensorSpec */

/**
 * @typedef {object} MoreOptions
 * @property {string[]} [outputs] names of further outputs, such as `q_values`
 * @property {number} [version] the loaded version that answers, if not the active one
 * @property {string} [label] the same by a label
 * @property {number} [deadlineMs] how long the server may take before the policy runs
 * @property {string} [episode] the id of an episode that the observation is a step of
 * @property {boolean} [first] whether the episode begins
 */
/** @typedef {import("../contract/policy.js").ActOptions & MoreOptions} AskOptions */

export const NO_POLICY_SERVER = "the server answered, but not as a policy server does; is the URL right?";

/**
 * The JSON body of a request.
 * @param {any} observations
 * @param {boolean} batched
 * @param {Manifest} manifest
 * @param {AskOptions} options
 * @returns {string}
 */
export function writeAct(observations, batched, manifest, options) {
  const tree = grow(manifest.observation);
  const name = batched ? "observations" : "observation";
  const rows = batched ? writeRows(observations, tree) : write(observations, tree, name);
  const fields = [`"${name}":${rows}`];
  const { explore, seed, version, label, deadlineMs, episode, first, outputs, timeStep } = options;
  for (const [field, value] of Object.entries({ explore, seed, version, label, deadline_ms: deadlineMs, episode })) {
    if (value !== undefined && value !== null) fields.push(`"${field}":${JSON.stringify(value)}`);
  }
  if (first) fields.push('"first":true');
  if (outputs?.length) fields.push(`"outputs":${JSON.stringify(outputs)}`);
  if (timeStep) {
    const parts = Object.entries(timeStep).map(([part, value]) => {
      return `${JSON.stringify(part)}:${write(value, null, `time_step.${part}`)}`;
    });
    fields.push(`"time_step":{${parts.join(",")}}`);
  }
  return `{${fields.join(",")}}`;
}

/**
 * Several observations: an array of them or, for a policy that observes one tensor, its rows in one typed array.
 * @param {any} observations
 * @param {Tree} tree
 */
function writeRows(observations, tree) {
  let rows = observations;
  if (isTyped(rows) && "leaf" in tree) {
    const size = sizeOf(tree.leaf);
    rows = Array.from({ length: Math.ceil(rows.length / size) }, (_, i) =>
      observations.subarray(i * size, (i + 1) * size),
    );
  }
  if (!Array.isArray(rows)) {
    throw new SpecViolated([{ path: "observations", expected: "an array of observations", got: describe(rows) }]);
  }
  return `[${rows.map((row, i) => write(row, tree, `observations[${i}]`)).join(",")}]`;
}

/**
 * A value as JSON text. What does not fit the tree is written as it is, and the server refuses it.
 * @param {any} value
 * @param {Tree | null | undefined} tree what the policy observes there
 * @param {string} where
 * @returns {string}
 */
function write(value, tree, where) {
  const spec = tree && "leaf" in tree ? tree.leaf : null;
  if (typeof value === "number" || typeof value === "bigint") {
    if (!Number.isFinite(Number(value))) throw notFinite(value, where);
    return String(value);
  }
  if (typeof value === "boolean") return String(spec && spec.dtype !== "bool" ? Number(value) : value);
  if (isTyped(value)) return writeTyped(value, spec, where);
  const branches = tree && "branches" in tree ? tree.branches : null;
  const parts = tree && "branches" in tree ? partsOf(value, tree) : isObject(value) ? value : null;
  if (parts) {
    const fields = Object.entries(parts).map(([key, part]) => {
      const branch = branches ? branches.get(key) : tree; // values by name are elements of one tensor
      return `${JSON.stringify(key)}:${write(part, branch, at(where, key))}`;
    });
    return `{${fields.join(",")}}`;
  }
  if (Array.isArray(value)) return `[${value.map((part, i) => write(part, tree, `${where}[${i}]`)).join(",")}]`;
  throw new SpecViolated([{ path: where, expected: "an array of numbers", got: describe(value) }]);
}

/**
 * A typed array, nested as the tensor's shape says if it has as many elements.
 * @param {import("../contract/specs.js").TypedArray} value
 * @param {TensorSpec | null} spec
 * @param {string} where
 * @returns {string}
 */
function writeTyped(value, spec, where) {
  const bad = firstNotFinite(value);
  if (bad >= 0) throw notFinite(value[bad], `${where}[${bad}]`);
  const isFlag = spec?.dtype === "bool";
  const shape = spec && sizeOf(spec) === value.length ? spec.shape : [value.length];
  let parts = Array.from(/** @type {ArrayLike<any>} */ (value), (element) =>
    String(isFlag ? Boolean(element) : element),
  );
  for (const length of shape.slice(1).reverse()) {
    parts = Array.from({ length: parts.length / length }, (_, i) => `[${parts.slice(i * length, (i + 1) * length)}]`);
  }
  return shape.length ? `[${parts}]` : parts[0];
}

/**
 * The place of the first element that is not finite; -1 if all are.
 * @param {import("../contract/specs.js").TypedArray} value
 */
export function firstNotFinite(value) {
  if (!(value instanceof Float32Array || value instanceof Float64Array)) return -1;
  return value.findIndex((element) => !Number.isFinite(element));
}

/** @param {any} value @param {string} path */
export const notFinite = (value, path) =>
  new SpecViolated([{ path, expected: "a finite number", got: describe(value) }]);

/**
 * The JSON of an answer. Throws the error that it reports, and RlwayError if it is not JSON.
 * @param {import("./address.js").Answer} answer
 * @returns {any}
 */
export function readJson({ status, headers, body }) {
  let content = null;
  try {
    content = parseExact(new TextDecoder().decode(body));
  } catch {} // told below
  if (status >= 400) throw fromProblem(status, isObject(content) ? content : {}, headers.get("retry-after"));
  if (content === null) {
    throw new RlwayError(`the server answered with status ${status} and no JSON; is it a policy server?`);
  }
  return content;
}

/**
 * The reply in the JSON of an answer, with the types that the manifest says.
 * @param {any} content
 * @param {Manifest} manifest
 * @returns {Reply}
 */
export function readReply(content, manifest) {
  const batched = content?.actions !== undefined;
  if (!isObject(content) || !(batched || content.action !== undefined)) throw new RlwayError(NO_POLICY_SERVER);
  const tree = grow([manifest.action].flat());
  const action = batched
    ? content.actions.map((/** @type {any} */ row) => readAction(row, tree))
    : readAction(content.action, tree);
  const specs = new Map(manifest.outputs.map((spec) => [spec.name, spec]));
  const outputs = Object.entries(content.outputs ?? {}).map(([name, value]) => {
    const spec = specs.get(name);
    const read = (/** @type {any} */ row) => (spec ? readTensor(row, spec) : row);
    return [name, batched ? value.map(read) : read(value)];
  });
  const guarded = content.guarded ?? (batched ? [] : {});
  return { action, version: content.version ?? null, outputs: Object.fromEntries(outputs), guarded };
}

/**
 * An action in JSON as an environment takes it. Where another version of the policy nests it otherwise, as it came.
 * @param {any} value
 * @param {Tree} tree
 * @returns {Action}
 */
function readAction(value, tree) {
  if ("leaf" in tree) return readTensor(value, tree.leaf);
  if (!isObject(value)) return value;
  return arrange(
    [...tree.branches].map(([key, branch]) => [key, readAction(value[key], branch)]),
    tree,
  );
}

/**
 * @param {any} value
 * @param {TensorSpec} spec
 */
function readTensor(value, spec) {
  const elements = [value].flat(Infinity);
  if (elements.length !== sizeOf(spec)) return value;
  const { array: Row } = DTYPES[spec.dtype];
  const isWide = Row === BigInt64Array || Row === BigUint64Array;
  const convert = (/** @type {any} */ element) => (isWide ? BigInt(element) : element === null ? NaN : Number(element));
  try {
    return fromRow(Row.from(elements, convert), spec);
  } catch {
    return value; // of another kind, as another version of the policy has it
  }
}
