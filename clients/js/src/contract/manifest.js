/**
 * The description that a bundle carries, and the tensors of its files by name and in order.
 *
 * In:      the text of `manifest.json`, or the manifest in a server's description of a policy.
 * Out:     `Manifest`; `Interface`.
 * Refuses: another schema version, or specs that are none (BundleInvalid).
 */

import { BundleInvalid } from "./errors.js";
import { DTYPES, isWhole, sizeOf } from "./specs.js";

/** @typedef {import("./specs.js").TensorSpec} TensorSpec */
/** @typedef {import("./exploration.js").Draw} Draw */
/** @typedef {import("./exploration.js").Explore} Explore */

/**
 * What a client reads of `manifest.json`; docs/manifest.schema.json has every field.
 * @typedef {object} Manifest
 * @property {1} schema_version
 * @property {string} policy
 * @property {number} version
 * @property {TensorSpec[]} observation
 * @property {TensorSpec | TensorSpec[]} action
 * @property {TensorSpec | null} noise
 * @property {Draw[]} draws
 * @property {Explore | null} explore
 * @property {TensorSpec[]} time_step
 * @property {TensorSpec[]} state
 * @property {TensorSpec[]} outputs
 * @property {{tensors?: Record<string, {names?: string[]}>} | null} [meaning] what the numbers stand for
 * @property {Record<string, string>} files relative path → SHA-256
 */

/**
 * A policy's tensors. `noise` is null if it is greedy only; `state` is empty if it keeps none between steps.
 * @typedef {object} Interface
 * @property {TensorSpec[]} actions
 * @property {TensorSpec[]} inputs of every exported file
 * @property {TensorSpec[]} results the outputs of every exported file
 * @property {Draw[]} draws what `noise` consists of
 */

const SCHEMA = 1;
export const RESET = { name: "reset", shape: [], dtype: "bool", path: [] };
export const NEXT = "next_"; // before the name of the policy state that comes out

/**
 * @param {string} text
 * @param {string} where its place, for the sentence
 * @returns {Manifest}
 */
export function parseManifest(text, where) {
  /** @type {any} */
  let raw;
  try {
    raw = JSON.parse(text);
  } catch (error) {
    throw new BundleInvalid(`${where}: not JSON: ${/** @type {Error} */ (error).message}.`);
  }
  return checkManifest(raw, where);
}

/**
 * @param {any} raw
 * @param {string} where
 * @returns {Manifest}
 */
export function checkManifest(raw, where) {
  if (raw?.schema_version !== SCHEMA) {
    throw new BundleInvalid(
      `${where}: manifest schema version ${JSON.stringify(raw?.schema_version) ?? "none"} is not known here ` +
        `(expected ${SCHEMA}); use the RLway that wrote it, or export again.`,
    );
  }
  const manifest = { noise: null, draws: [], explore: null, time_step: [], state: [], outputs: [], files: {}, ...raw };
  const specs = [
    manifest.observation,
    manifest.action,
    manifest.noise ?? [],
    manifest.time_step,
    manifest.state,
    manifest.outputs,
  ];
  const odd = specs.flat().find((spec) => !isSpec(spec));
  if (odd !== undefined || !Array.isArray(manifest.observation) || !manifest.observation.length) {
    const got = odd === undefined ? "no observation" : JSON.stringify(odd).slice(0, 80);
    throw new BundleInvalid(
      `${where}: expected tensors with name, shape and dtype, got ${got}; export the policy again.`,
    );
  }
  for (const spec of specs.flat()) {
    spec.path ??= [];
    const names = manifest.meaning?.tensors?.[spec.name]?.names ?? [];
    if (names.length && names.length !== sizeOf(spec)) {
      const fault = `${spec.name}.names: expected ${sizeOf(spec)}, one per element, got ${names.length}`;
      throw new BundleInvalid(`${where}: ${fault}; export the policy again.`);
    }
  }
  return manifest;
}

/** @param {any} spec */
const isSpec = (spec) =>
  typeof spec?.name === "string" &&
  Object.hasOwn(DTYPES, spec.dtype) &&
  Array.isArray(spec.shape) &&
  spec.shape.every((/** @type {any} */ n) => Number.isInteger(n) && n >= 1);

/**
 * @param {Manifest} manifest
 * @returns {Interface}
 */
export function interfaceOf(manifest) {
  const { observation, noise, time_step, state, outputs } = manifest;
  const actions = [manifest.action].flat();
  const next = state.map((spec) => ({ ...spec, name: NEXT + spec.name }));
  /** @type {Draw[]} */
  let draws = [];
  if (noise) {
    const isDiscrete = actions.every(isWhole);
    draws = manifest.draws.length
      ? manifest.draws
      : [{ distribution: isDiscrete ? "gumbel" : "normal", size: noise.shape[0] }];
  }
  const inputs = [...observation, ...(noise ? [noise] : []), ...time_step, ...(state.length ? [...state, RESET] : [])];
  return { actions, inputs, results: [...actions, ...outputs, ...next], draws };
}
